"""What is recorded under autocast computes what the model computes under it, in the same dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fieldwise
from fieldwise.capture.torch import capture
from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.capture.torch.tree import named_tensors
from fieldwise.errors import CaptureError
from fieldwise.graph.graph import Graph
from fieldwise.shift import certify
from tests.capture.torch.replay import Net, replayed
from tests.capture.torch.test_state import ramp, untouched

HALF = torch.bfloat16


def autocast(dtype: torch.dtype | None = HALF) -> torch.autocast:
    """Autocast on the CPU to this dtype; switched off for None."""
    return torch.autocast("cpu", dtype or HALF, enabled=dtype is not None)


def _weight() -> Tensor:
    return ramp(4, 4) + 0.1


class Decorated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    @torch.autocast("cpu", HALF)
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * 2


class Exact(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight


def _nested(x: Tensor) -> tuple[Tensor, ...]:
    weight = _weight()
    with autocast(HALF):
        low = x @ weight
        with autocast(None):
            full = x.float() @ weight
        with autocast(torch.float16):
            half = x @ weight
        return low, full, half, low @ weight


def _part_of_a_forward(self: Any, x: Tensor) -> Tensor:
    x = self.first(x)
    with autocast(HALF):
        x = self.second(x).relu()
    return self.first(x.float()) + x


def _attention(self: Any, x: Tensor) -> Tensor:
    return self.attention(x, x, x)[0]


def _asks(x: Tensor) -> Tensor:
    return x @ _weight() if torch.is_autocast_enabled("cpu") else x * 2


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Conv1d(3, 2, 3)),
        (1, 2, 9),
    ),
    "linear layers": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2)),
        (2, 4),
    ),
    "a decorated forward": (Decorated, (2, 4)),
    "custom_fwd": (lambda: Net(lambda x: Exact.apply(x + 1, _weight())), (2, 4)),
    "nested": (lambda: Net(_nested), (2, 4)),
    "a part of the forward": (
        lambda: Net(_part_of_a_forward, first=nn.Linear(4, 4), second=nn.Linear(4, 4)),
        (2, 4),
    ),
    "an LSTM": (lambda: nn.LSTM(4, 3, batch_first=True), (1, 5, 4)),
    "a GRU": (lambda: nn.GRU(4, 3, batch_first=True), (1, 5, 4)),
    "attention": (
        lambda: Net(_attention, attention=nn.MultiheadAttention(4, 2, batch_first=True)),
        (1, 5, 4),
    ),
    "sdpa": (lambda: Net(lambda x: F.scaled_dot_product_attention(x, x, x)), (1, 2, 5, 4)),
    "einsum": (lambda: Net(lambda x: torch.einsum("bij,jk->bik", x, _weight())), (1, 5, 4)),
    "tensordot": (lambda: Net(lambda x: torch.tensordot(x, _weight(), 1)), (2, 4)),
    "mixed dtypes": (lambda: Net(lambda x: torch.cat([x, x.to(HALF), x.double()], 1)), (1, 5, 4)),
    "in full precision": (
        lambda: Net(lambda x: F.mse_loss(x.to(HALF), torch.ones(5, 4)) + x.to(HALF).prod(1)),
        (5, 4),
    ),
    "constants": (lambda: Net(lambda x: x + _weight() @ _weight()), (4, 4)),
    "out=": (lambda: Net(lambda x: torch.mm(x, _weight(), out=torch.empty(2, 4)) + x), (2, 4)),
    "a look at the state": (lambda: Net(_asks), (2, 4)),
    "resampling": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Upsample(scale_factor=2, mode="bilinear")),
        (1, 1, 8, 8),
    ),
}


@pytest.mark.parametrize("around", [None, HALF, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_the_graph_computes_what_the_model_does_under_autocast(name, around):
    make, shape = CASES[name]
    torch.manual_seed(0)
    model, x = make().eval(), ramp(*shape)
    with autocast(around):
        try:
            with torch.no_grad():
                wanted = dict(named_tensors(model(x.clone())))
        except RuntimeError as error:
            if "could not create a primitive" in str(error):
                pytest.skip("this processor has no kernel for it; a capture runs none")
            with pytest.raises(CaptureError, match="The model failed"):
                capture(model, x)
            return
        with untouched(model):
            graph = capture(model, x)
    for state in (None, HALF):  # of autocast, while the graph runs
        with autocast(state), as_recorded():
            values = replayed(graph, x.clone())
        for output, value in zip(graph.output_names, graph.outputs, strict=True):
            assert values[value].dtype == wanted[output].dtype
            assert torch.equal(values[value], wanted[output])


def test_casts_are_nodes_and_the_rest_is_as_without():
    model, x = CASES["convolutions"][0]().eval(), ramp(1, 2, 9)

    def ops(graph: Graph) -> list[str]:
        return [node.op for node in graph.nodes]

    plain = capture(model, x)
    with autocast():
        cast = capture(model, x)
    assert [op for op in ops(cast) if op != "to"] == ops(plain)
    assert "to" in ops(cast)
    assert {value.dtype for value in cast.values.values()} == {"float32", "bfloat16"}
    assert ops(capture(model, x)) == ops(plain)
    one, other = (fieldwise.receptive_fields(graph) for graph in (plain, cast))
    assert one[plain.outputs[0]].at(0) == other[cast.outputs[0]].at(0)


def test_no_cast_weight_is_left_in_the_cache_of_autocast():
    model = nn.Linear(4, 4)
    with autocast():
        capture(model, ramp(2, 4))
        model(ramp(2, 4)).sum().backward()
    assert model.weight.grad is not None


def test_what_autocast_refuses_is_told_as_the_models():
    def banned(x: Tensor) -> Tensor:
        with torch.autocast("cpu", HALF):
            return torch.ones(4).to(HALF).add_(x).matmul(x.view(7))

    with pytest.raises(CaptureError, match="The model failed on input 4"):
        capture(Net(banned), ramp(4))


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 2, 3, padding=1)
    ).eval()


class Inside(nn.Module):
    """A model that switches autocast on in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = _net(), nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        with autocast():
            x = self.body(x)
        return self.head(x.float())


@pytest.mark.parametrize("make", [_net, Inside])
@pytest.mark.parametrize("around", [None, HALF])
def test_every_verb_gives_what_the_model_gives_under_autocast(make, around):
    model, x = make(), ramp(1, 1, 48)
    stream, tiles = (
        fieldwise.streamed(model, x, axis=2, band=8),
        fieldwise.tiled(model, x, tile=16),
    )
    certificate = _certified(model, x)
    for state in (around, None):  # the same stream in either state
        with autocast(state), torch.no_grad():
            wanted = model(x)
            folded = fieldwise.fold(model, x).model
            for found in (stream(x), tiles(x), folded(x)):
                torch.testing.assert_close(found, wanted, rtol=2e-2, atol=2e-2)
            assert _certified(model, x) == certificate


def _certified(model: nn.Module, x: Tensor) -> list[Any]:
    """What the theorems say of the outputs, for each axis."""
    axes = [axis for output in certify(model, x).outputs for axis in output.axes]
    return [(a.circular.holds, a.circular.period, a.undecided, a.interior.range) for a in axes]
