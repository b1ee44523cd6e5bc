"""Attention behind hand-written masks: pull, closed form, gradients and the real derivative."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.axes import IndexSet, Region
from fieldwise.capture.torch.factors import MANY_SUMS
from fieldwise.field import receptive_fields
from fieldwise.field.probes import GradientProbe

INF = float("inf")
LENGTH = 6


class Attention(nn.Module):
    """A convolution, then attention over its positions behind a mask."""

    def __init__(self, mask: Tensor, how: str) -> None:
        super().__init__()
        self.conv, self.qkv = nn.Conv1d(2, 4, 3, padding=1), nn.Linear(4, 24)
        self.register_buffer("mask", mask)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        x = self.qkv(self.conv(x).transpose(1, 2))
        q, k, v = x.unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        weights = nn.functional.dropout(self.weights(q @ k.transpose(-1, -2) / 2), 0.1, False)
        return (weights @ v).transpose(1, 2).flatten(2)

    def weights(self, scores: Tensor) -> Tensor:
        if self.how == "filled":
            return scores.masked_fill(~self.mask, -INF).softmax(-1)
        if self.how == "chosen":
            return torch.where(self.mask, scores, -INF).softmax(-1)
        if self.how == "added":
            return (scores + torch.zeros(self.mask.shape).masked_fill(~self.mask, -INF)).softmax(-1)
        if self.how == "assigned":
            scores[:, :, ~self.mask] = -INF
            return scores.softmax(-1)
        if self.how == "exponentials":
            scores = scores.masked_fill(~self.mask, -INF).exp()
            return scores / scores.sum(-1, keepdim=True)
        return scores.tril() if self.how == "linear" else scores.softmax(-1)


PAST = torch.ones(LENGTH, LENGTH).tril(1).bool()
NEAR = PAST & PAST.T
HOWS = ["filled", "chosen", "added", "assigned", "exponentials", "linear", "open"]


def derivative(model: nn.Module, example: Tensor, position: int) -> np.ndarray:
    """What one position of the output depends on: plain autograd through the real model."""
    example = torch.rand_like(example).requires_grad_()
    (found,) = torch.autograd.grad(model(example)[0, position].sum(), example)
    return (found != 0).any(0).any(0).numpy()


@pytest.mark.parametrize("mask", [PAST, NEAR], ids=["past", "near"])
@pytest.mark.parametrize("how", HOWS)
def test_four_answers_agree_on_what_a_hand_written_mask_hides(how, mask):
    torch.manual_seed(0)
    model = Attention(mask, how).double().eval()
    example = torch.zeros(1, 2, LENGTH, dtype=torch.float64)
    report = receptive_fields(model, example)
    probe = GradientProbe.of_graph(report.graph)
    for name, value in report.graph.values.items():
        dims = report.roles(name).unit
        for unit in np.ndindex(*(value.shape[dim] for dim in dims)):
            seen, measured = report[name].at(*unit), probe.field(name, unit, dims=dims)
            assert seen.exact
            assert measured.exact
            np.testing.assert_array_equal(seen.mask(), measured.mask, err_msg=f"{name} {unit}")
            assert Region(seen.products).issubset(Region(report[name].unbounded(*unit)))
    for position in range(LENGTH):
        seen = report[report.graph.outputs[0]].at(position)
        np.testing.assert_array_equal(seen.mask(), derivative(model, example, position))


def test_the_row_of_masked_attention_is_exact_at_this_size_and_not_full():
    report = receptive_fields(Attention(NEAR, "filled").eval(), torch.zeros(1, 2, LENGTH))
    row = report.rows[-1]
    assert (row.exact, row.at_this_size, row.full, row.extent) == (True, True, (False,), (5,))


def test_a_finite_mask_hides_nothing_and_marks_nothing():
    """Swin adds −100: the weights are small, not zero, so all is seen."""

    class Finite(Attention):
        def weights(self, scores: Tensor) -> Tensor:
            return (scores - 100.0 * ~self.mask).softmax(-1)

    report = receptive_fields(Finite(PAST, "").eval(), torch.zeros(1, 2, LENGTH))
    probe = GradientProbe.of_graph(report.graph)
    seen = report[report.graph.outputs[0]].at(0)
    assert seen.exact
    assert seen.count == LENGTH
    assert report.rows[-1].full == (True,)
    assert probe.field(None, (0,), dims=(1,)).mask.all()


@pytest.mark.parametrize(("size", "exact", "count"), [(4, True, 10), (66, False, 66 * 66)])
def test_a_mask_over_two_summed_dimensions_is_a_bound_where_it_leaves_many_parts(
    size, exact, count
):
    class Both(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            weights = x[:, :1, :1].expand(x.shape).tril()
            return torch.einsum("nij,nij->n", weights, x)

    report = receptive_fields(Both(), torch.zeros(1, size, size), axes=(1, 2))
    why = None if exact else MANY_SUMS
    row, seen = report.rows[-1], report[report.rows[-1].name].at()
    assert (row.exact, row.why) == (exact, why)
    assert (seen.exact, seen.why, seen.count) == (exact, why, count)


class Blocks(nn.Module):
    """Two layers of attention behind one mask, each with a residual, after a convolution."""

    def __init__(self, mask: Tensor, *, image: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, 2, 1) if image else nn.Conv1d(1, 2, 3, padding=1)
        self.layers = nn.ModuleList(nn.Linear(2, 6) for _ in range(2))
        self.register_buffer("bias", torch.zeros(mask.shape).masked_fill(~mask, -INF))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            q, k, v = layer(x).chunk(3, -1)
            x = x + (q @ k.transpose(1, 2) + self.bias).softmax(-1) @ v
        return x


def _random(tokens: int, share: float) -> Tensor:
    dice = torch.Generator().manual_seed(tokens)
    return (torch.rand(tokens, tokens, generator=dice) < share) | torch.eye(tokens).bool()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_an_arbitrary_mask_is_exact_for_every_token(share):
    report = receptive_fields(Blocks(_random(40, share)).eval(), (1, 1, 40))
    probe, name = GradientProbe.of_graph(report.graph), report.graph.outputs[0]
    assert report.find(name).exact
    for unit in range(40):
        seen, measured = report[name].at(unit), probe.field(name, (unit,), dims=(1,))
        np.testing.assert_array_equal(seen.mask(), measured.mask)
        products = report[name].unbounded(unit)
        (closed,) = Region.of((side.clip(40),) for (side,) in products).hull()
        np.testing.assert_array_equal(sorted(closed), measured.mask.nonzero()[0])


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_an_arbitrary_mask_over_an_image_is_a_bound_of_all_and_exact_for_the_middle(
    share,
):
    report = receptive_fields(Blocks(_random(100, share), image=True).eval(), (1, 1, 20, 20))
    name = report.graph.outputs[0]
    measured = GradientProbe.of_graph(report.graph).field(name, (50,), dims=(1,))
    row = report.find(name)
    assert (row.of_unit, row.exact) == ((50,), True)
    assert row.extent == tuple(hi - lo + 1 for lo, hi in zip(measured.lo, measured.hi, strict=True))
    np.testing.assert_array_equal(report[name].at(50).mask(), measured.mask)
    closed = Region(report[name].unbounded(50))
    assert Region(report[name].at(50).products).issubset(closed)


@pytest.mark.parametrize("image", [False, True])
def test_what_is_kept_of_a_mask_grows_with_the_tokens_and_not_with_their_pairs(image):
    tokens = 144
    shape = (1, 1, 24, 24) if image else (1, 1, tokens)
    report = receptive_fields(Blocks(_random(tokens, 0.2), image=image).eval(), shape)
    kept = [len(closed.state.products) for closed in report._closed.values()]
    assert max(kept) <= 4 * tokens
    assert kept[-1] <= 4


def test_a_bias_of_attention_that_is_no_number_hides_nothing():
    class Biased(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(5, 5))
            self.bias.data[1, 3] = value

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x, self.bias)

    seen = {
        str(value): receptive_fields(Biased(value), (1, 1, 5, 4), axes=(2,))["output"]
        .at(1)
        .products
        for value in (0.0, float("nan"), float("-inf"))
    }
    assert seen["0.0"] == seen["nan"] == ((IndexSet.range(0, 5),),)
    assert seen["-inf"] == ((IndexSet.of([0, 1, 2, 4]),),)


class Neighbours(nn.Module):
    """Attention of every pixel to those around it, each layer with a residual."""

    def __init__(self, layers: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.ModuleList(nn.Conv2d(4, 12, 1) for _ in range(layers))

    def around(self, x: Tensor) -> Tensor:
        found = nn.functional.unfold(x, self.size, padding=self.size // 2)
        return found.unflatten(1, (x.shape[1], -1))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            q, k, v = layer(x).chunk(3, 1)
            scores = (q.flatten(2).unsqueeze(2) * self.around(k)).sum(1, keepdim=True)
            inside = self.around(torch.ones_like(x))[:, :1]
            seen = scores.masked_fill(inside == 0, -INF).softmax(2)
            x = x + (seen * self.around(v)).sum(2).view_as(x)
        return x


@pytest.mark.parametrize(
    ("layers", "size", "side"), [(2, 3, 8), pytest.param(2, 5, 10, marks=pytest.mark.slow)]
)
def test_neighbourhood_attention_sees_its_neighbours_neighbours(layers, size, side):
    """Every place has a guard of its own; of more rectangles than can be compared none are kept."""
    report = receptive_fields(Neighbours(layers, size).eval(), (1, 4, side, side))
    reach = layers * (size // 2)
    for unit in ((side // 2, side // 2), (0, side - 1)):
        seen = report["output"].at(*unit)
        sides = [min(at + reach + 1, side) - max(at - reach, 0) for at in unit]
        assert (seen.exact, seen.count) == (True, sides[0] * sides[1])
