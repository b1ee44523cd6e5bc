"""The check of a folded model, what it undoes, and what it warns of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from fieldwise.fold import fold
from fieldwise.fold import run as running
from fieldwise.fold.run import _culprits
from fieldwise.fold.verify import Truth, drawn, truth

IMAGE = torch.randn(1, 3, 8, 8)


def net(**options: float) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3),
                          nn.BatchNorm2d(4)).eval()  # fmt: skip
    for name, value in options.items():
        getattr(model[1], name)[2] = value
    return model


# -------------------------------------------------------------------- the inputs


def test_inputs_are_the_example_s_values_in_another_order() -> None:
    found = drawn(net(), IMAGE, seed=0)
    assert not torch.equal(found, IMAGE)
    assert torch.equal(found.flatten().sort().values, IMAGE.flatten().sort().values)


@pytest.mark.parametrize("example", [torch.zeros(2, 3), torch.empty(2, 3, device="meta")])
def test_an_example_without_news_gives_normal_inputs(example: Tensor) -> None:
    assert drawn(net(), example, seed=0).unique().numel() == 6


def test_integers_are_kept() -> None:
    tokens = torch.arange(5)
    assert torch.equal(drawn(net(), tokens, seed=0), tokens)


# -------------------------------------------------------------------- the judgement


def test_a_model_is_as_right_as_itself() -> None:
    found = truth(net(), IMAGE).judge(net())
    assert found.passed
    assert found.max_rel == found.unfolded_rel < 1e-6


def test_a_wrong_model_fails() -> None:
    other = net()
    other[0].bias.data += 1e-3
    assert not truth(net(), IMAGE).judge(other).passed


def test_a_model_that_returns_nan_fails() -> None:
    other = net()
    other[0].bias.data[0] = torch.nan
    assert not truth(net(), IMAGE).judge(other).passed


def test_outputs_near_zero_are_judged_by_a_floor() -> None:
    exact = (torch.zeros(3, dtype=torch.float64),)
    nearly = Truth(IMAGE, exact, torch.zeros(3), 0.0)
    assert nearly.judge(lambda x: torch.full((3,), 1e-13)).passed  # type: ignore[arg-type]
    assert not nearly.judge(lambda x: torch.full((3,), 1e-3)).passed  # type: ignore[arg-type]


# -------------------------------------------------------------------- undoing


def test_a_fold_that_makes_the_model_wrong_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rebuilt = net(), running.rebuilt

    def spoiled(*given):
        copy, layers = rebuilt(*given)
        if any(one.layer.name == "2" for one, *_ in layers):
            copy[2].weight.data += 1
        return copy, layers

    monkeypatch.setattr(running, "rebuilt", spoiled)
    report = fold(model, IMAGE).report
    assert [item.folded for item in report.items] == [True, False]
    assert "undone" in (report.items[1].because or "")
    assert report.verify is not None
    assert report.verify.passed


def test_a_model_that_looks_at_its_modules_keeps_them() -> None:
    class Curious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.bn(self.conv(x))
            return y * 2 if isinstance(self.bn, nn.BatchNorm2d) else y

    found = fold(Curious().eval(), IMAGE)
    assert isinstance(found.model.bn, nn.BatchNorm2d)
    assert "undone" in (found.report.items[0].because or "")


@pytest.mark.parametrize("guilty", [{3}, {0, 7}, {2, 3, 4}])
def test_halving_finds_the_culprits(guilty: set[int]) -> None:
    folds = [SimpleNamespace(number=number) for number in range(8)]

    def passes(undone) -> bool:
        return guilty <= {fold.number for fold in undone}

    assert {fold.number for fold in _culprits(folds, passes)} == guilty


def test_without_a_check_nothing_is_verified() -> None:
    assert fold(net(), IMAGE, verify=False).report.verify is None


# -------------------------------------------------------------------- warnings


def test_a_tiny_variance_is_a_warning_with_the_channel() -> None:
    model = net(running_var=1e-12)
    model[1].eps = 1e-12
    report = fold(model, IMAGE).report
    assert report.warnings[0].startswith("An affine op scales channel 2 of '0' by")
    assert "channel 2 of '0'" in report.warnings[1]
    assert "quantisation" in report.warnings[1]


def test_an_overflow_is_not_folded_and_a_warning_names_the_channel() -> None:
    model = net(running_var=1e-12)
    model[1].eps = 1e-12
    model[1].weight.data.fill_(1e-3)
    model[1].running_mean.fill_(1e3)
    report = fold(model.half(), IMAGE.half()).report
    assert not report.items[0].folded
    assert report.warnings[0].startswith("Not folded: channel 2 of '0' would reach")
    assert "beyond 65504" in report.warnings[0]
