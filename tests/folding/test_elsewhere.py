"""A fold into modules is right at every size that the model takes, or is not made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fieldwise.onnx
from benchmarks.fold_subjects import randomise
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.errors import UsageError
from fieldwise.folding import Folded, fold
from fieldwise.folding.elsewhere import captured_elsewhere
from fieldwise.folding.graph_module import GraphModule
from tests.folding.onnx_networks import network

SHAPES = [(2, 3, 8, 8), (1, 3, 8, 8), (3, 3, 11, 14)]


class Between(nn.Module):
    """Something between a convolution and a norm, and between a norm and a convolution."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step
        self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.stem = nn.Conv2d(3, 4, 1)
        self.norm, self.head = nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bn(self.step(self.conv(x))), self.head(self.step(self.norm(self.stem(x))))


def padded_to_multiple(y: Tensor) -> Tensor:
    return F.pad(y, (0, -y.shape[3] % 8, 0, -y.shape[2] % 8))


def padded_if_odd(y: Tensor) -> Tensor:
    return F.pad(y, (0, 1)) if y.shape[3] % 2 else y


DIFFERENT = {
    "a sum over rows": lambda y: y.sum(2, keepdim=True),
    "a sum over the batch": lambda y: y.sum(0, keepdim=True),
    "a number made of a size": lambda y: y * y.shape[3],
    "a number that is 1 here": lambda y: y / (y.shape[2] / 8),
    "a pad that pads nothing here": padded_to_multiple,
    "a pad that is not made here": padded_if_odd,
}
ALIKE = {
    "a mean written out": lambda y: y.sum((2, 3), keepdim=True) / (y.shape[2] * y.shape[3]),
    "a sum of as many at any size": lambda y: y[:, :, :2].sum(2, keepdim=True),
    "a constant": lambda y: y * 0.125,
    "a crop of half": lambda y: y[:, :, : y.shape[2] // 2],
    "another copy if odd": lambda y: y.clone() if y.shape[3] % 2 else y,
}


def folded(model: nn.Module, example: Tensor, **options: bool) -> Folded:
    """Folded without the comparison that undoes what is wrong."""
    return fold(randomise(model).double().eval(), example, verify=False, **options)


def names(found: Folded) -> list[str]:
    return [item.module for item in found.report.items if item.folded]


@pytest.mark.parametrize("name", [*DIFFERENT, *ALIKE])
def test_what_is_folded_is_right_at_any_size(name):
    model = Between({**DIFFERENT, **ALIKE}[name])
    found = folded(model, torch.zeros(SHAPES[0], dtype=torch.float64))
    for shape in SHAPES:
        x = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(found.model(x), model(x), rtol=1e-10, atol=1e-10)
    assert {"bn", "norm"} & {*names(found)} == ({"bn", "norm"} if name in ALIKE else set())


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_would_be_wrong_elsewhere_goes_in_a_graph_module(name):
    model = Between(DIFFERENT[name])
    x = torch.randn(SHAPES[0], dtype=torch.float64)
    stays = folded(model, x).report.items
    assert all(
        "at an input of " in (item.because or "") and "allow_graph=True" in (item.because or "")
        for item in stays
        if item.module in ("bn", "norm")
    )
    found = folded(model, x, allow_graph=True)
    assert {"bn", "norm"} <= {*names(found)}
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-10, atol=1e-10)
    other = torch.randn(SHAPES[-1], dtype=torch.float64)
    with pytest.raises(UsageError, match=r"on 2x3x8x8, and at an input of .* for 3x3x11x14 fold"):
        found.model(other)


class Written(nn.Module):
    """Arithmetic in the forward, which no module does, and a step."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step, self.conv = step, nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self.conv(x) * 2 + 1)


@pytest.mark.parametrize("step", [torch.relu, lambda y: F.avg_pool2d(y, 2), lambda y: y[:, :, 1:]])
def test_a_graph_module_of_the_same_calls_at_any_size_runs_at_any(step):
    model = Written(step)
    found = folded(model, torch.zeros(SHAPES[0]).double(), allow_graph=True)
    assert type(found.model) is GraphModule
    for shape in SHAPES:
        x = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(found.model(x), model(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (lambda y: F.interpolate(y, size=(y.shape[2] * 2, y.shape[3])), "is another call"),
        (lambda y: y[:, :, : y.shape[2] // 2], "is another call"),
        (lambda y: y * torch.arange(y.shape[3]), "is another call"),
        (lambda y: y if y.shape[2] < 9 else torch.relu(y), "it makes 1 more call"),
    ],
)
def test_a_graph_module_of_other_calls_at_another_size_refuses_that(step, why):
    model = Written(step)
    x = torch.randn(SHAPES[0]).double()
    found = folded(model, x, allow_graph=True)
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-10, atol=1e-10)
    with pytest.raises(UsageError, match=why):
        found.model(torch.randn(SHAPES[-1]).double())


def test_the_reason_says_what_stands_in_the_way_at_which_size():
    found = folded(Between(padded_to_multiple), torch.zeros(SHAPES[0]).double())
    (_, because) = (item.because or "" for item in found.report.items)
    shape, why = because.removeprefix("at an input of ").split(", ", 1)
    assert any(int(size) % 8 for size in shape.split("x")[2:])
    assert "pads with zeros, which a shift does not pass" in why


def test_a_model_of_one_size_folds_as_at_that_size():
    class OneSize(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = Between(padded_to_multiple), nn.Linear(2 * 8 * 8, 5)

        def forward(self, x: Tensor) -> Tensor:
            one, two = self.body(x)
            return self.head(two.flatten(1)) + one.mean()

    x = torch.zeros(SHAPES[0], dtype=torch.float64)
    assert names(folded(OneSize(), x)) == ["body.bn", "body.norm"]


def sizes(model: nn.Module, *shapes: tuple[int, ...]) -> list[tuple[tuple[int, ...], ...]]:
    call = ModelCall.of(model.eval(), tuple(torch.zeros(shape) for shape in shapes))
    return [other.shapes for other in captured_elsewhere(call, call.graph())]


def test_the_other_sizes_are_such_as_the_model_takes():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.PixelUnshuffle(4), nn.PixelShuffle(4))
    found = sizes(net, (1, 3, 18, 18))
    assert found
    for (shape,) in found:
        assert shape[1] == 3
        assert [(size - 2) % 4 for size in shape[2:]] == [0, 0]
        assert min(shape[0] - 1, shape[2] - 18, shape[3] - 18) > 0


def test_inputs_that_have_to_be_alike_grow_together():
    class Added(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    for one, two in sizes(Added(), (2, 8), (2, 8)):
        assert one == two != (2, 8)


def test_squares_stay_squares_where_they_have_to():
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x

    found = sizes(Square(), (1, 8, 8))
    assert found
    assert all(one[1] == one[2] > 8 for (one,) in found)


@pytest.mark.parametrize(("size", "goes"), [("N, 3, H, W", []), ("2, 3, 8, 8", ["z"])])
def test_a_file_folds_what_is_right_at_the_sizes_that_it_leaves_open(tmp_path: Path, size, goes):
    norm = dict.fromkeys(("g", "b", "m", "v"), (4,))
    text = (
        f"net (float[{size}] x) => (float[A, 4, B, C] z) "
        "{ c = Conv (x, w) y = ReduceSum <keepdims = 1> (c, axes) "
        "z = BatchNormalization (y, g, b, m, v) }"
    )
    model = network(text, w=(4, 3, 1, 1), **norm)
    model.graph.initializer.append(onnx.numpy_helper.from_array(torch.tensor([2]).numpy(), "axes"))
    onnx.save(model, tmp_path / "net.onnx")
    found = fold(fieldwise.onnx.load(tmp_path / "net.onnx"), torch.zeros(2, 3, 8, 8), verify=False)
    assert len(names(found)) == len(goes)
