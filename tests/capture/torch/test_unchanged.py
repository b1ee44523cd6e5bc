"""A model that has changed since it was captured is found out; one that has not is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fieldwise.capture.torch.unchanged import ModelMark
from fieldwise.errors import CaptureError
from fieldwise.tile import StreamedModel, TiledCallable, streamed, tiled

X = torch.randn(1, 3, 40, 24, generator=torch.Generator().manual_seed(0))


class Scaled(nn.Module):
    """A convolution whose weight is computed of others, behind a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3, padding=1), nn.Parameter(torch.ones(4, 1, 1, 1))
        self.norm, self.doubles = nn.BatchNorm2d(4), False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.conv2d(x, self.conv.weight * self.scale, padding=1)
        return self.norm(x) * 2 if self.doubles else self.norm(x)


def _trained(model: Scaled) -> None:
    model.scale.mul_(3)


def _loaded(model: Scaled) -> None:
    model.load_state_dict({name: x + 1 for name, x in model.state_dict().items()})


def _swapped(model: Scaled) -> None:
    model.norm = nn.Upsample(scale_factor=2)  # type: ignore[assignment]


def _with_another_weight(model: Scaled) -> None:
    model.conv.weight = nn.Parameter(torch.randn(4, 3, 3, 3))


def _doubled(model: Scaled) -> None:
    model.doubles = True


def _hooked(model: Scaled) -> None:
    model.norm.register_forward_hook(lambda module, args, out: out * 3)


CHANGES = [_trained, _loaded, _swapped, _with_another_weight, _doubled, _hooked]
Run = StreamedModel | TiledCallable
ENGINES: list[Callable[[nn.Module], Run]] = [
    lambda model: streamed(model, X, band=8, verify=True),
    lambda model: tiled(model, X, tile=16, verify=True),
]


@pytest.mark.parametrize("engine", ENGINES, ids=["streamed", "tiled"])
@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_a_run_gives_what_the_model_is_now(change: Callable[[Scaled], None], engine):
    torch.manual_seed(0)
    model = Scaled().eval()
    run, before = engine(model), model(X)
    torch.testing.assert_close(run(X), before, atol=1e-5, rtol=1e-5)
    change(model)
    now = model(X)
    assert now.shape != before.shape or not torch.allclose(now, before, atol=1e-2)
    torch.testing.assert_close(run(X), now, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES, ids=["streamed", "tiled"])
def test_a_model_that_went_back_to_training_is_refused(engine):
    model = Scaled().eval()
    run = engine(model)
    run(X)
    model.train()
    with pytest.raises(CaptureError, match=r"call model\.eval\(\) first"):
        run(X)


@pytest.mark.parametrize("engine", ENGINES, ids=["streamed", "tiled"])
def test_runs_and_forward_passes_leave_what_was_planned_and_certified(engine):
    model = Scaled().eval()
    run = engine(model)
    run(X)
    plan, (certificate,) = run.plan(tuple(X.shape)), run.certificates.values()
    model(X)
    run(X)
    assert run.certificates[tuple(X.shape),] is certificate
    if isinstance(run, TiledCallable):
        assert run.plan(tuple(X.shape)) is plan


def test_writes_through_data_are_not_counted_and_those_in_place_are():
    net = nn.Conv2d(1, 1, 1)
    mark = ModelMark(net, values=True)
    net.weight.data.mul_(2)
    assert mark.holds()
    with torch.no_grad():
        net.weight.mul_(2)
    assert not mark.holds()


def test_an_attribute_that_has_another_name_is_a_change():
    model = Scaled()
    mark = ModelMark(model)
    assert mark.holds()
    del model.doubles
    model.triples = False
    assert not mark.holds()
    model.limit = None
    mark = ModelMark(model)
    model.limit = 3
    assert not mark.holds()
