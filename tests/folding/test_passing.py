"""What an affine op passes, by how the op between combines what it reads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.folding import fold
from fieldwise.folding.walk import Walk, walked

PICKED = torch.tensor([2, 0, 1, 1])
CONSTANT = torch.linspace(0.5, 2, 4).reshape(4, 1, 1)


class Between(nn.Module):
    """A convolution, something, and a BatchNorm."""

    def __init__(self, between, *, rises: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.bn.running_mean.normal_()
        self.bn.running_var.uniform_(0.5, 2)
        self.bn.weight.data.uniform_(0.5, 2)
        self.bn.bias.data.normal_()
        if not rises:
            self.bn.weight.data[1] *= -1
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.between(self.conv(x)))


def folded(between, *, allow_graph: bool = False, rises: bool = True):
    model = Between(between, rises=rises).eval().double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = fold(model, x, allow_graph=allow_graph)
    assert found.report.verify is not None
    assert found.report.verify.verdict == "right"
    assert torch.allclose(found.model(x), model(x), rtol=1e-10, atol=1e-10)
    return found.report.items


BY_PLACE = {
    "rot90": lambda y: torch.rot90(y, 1, (2, 3)),
    "index_select": lambda y: y.index_select(2, PICKED),
    "channels picked": lambda y: y.index_select(1, torch.tensor([3, 1, 0, 2])),
    "index": lambda y: y[:, :, PICKED],
    "tile": lambda y: y.tile(1, 1, 2, 2),
    "repeat_interleave": lambda y: y.repeat_interleave(2, 3),
    "gather": lambda y: torch.take_along_dim(y, torch.zeros(1, 1, 1, 6, dtype=torch.long), 2),
    "diagonal": lambda y: y.diagonal(dim1=2, dim2=3).unsqueeze(-1),
    "windows": lambda y: y.unfold(2, 2, 2).mean(-1),
    "trilinear": lambda y: F.interpolate(
        y.unsqueeze(0), scale_factor=(1, 2, 2), mode="trilinear"
    ).squeeze(0),
    "nanmean": lambda y: y.nanmean(2, keepdim=True),
    "antialiased": lambda y: F.interpolate(y, size=(5, 4), mode="bicubic", antialias=True),
    "a dropout that is off": lambda y: F.dropout(y, training=False),
    "neg": lambda y: -y,
    "times a number": lambda y: y * -2 / 3,
    "sum of as many at any size": lambda y: y[:, :, :2].sum(2, keepdim=True),
    "sums in windows": lambda y: F.avg_pool2d(y, 2, divisor_override=1),
    "another divisor": lambda y: F.avg_pool2d(y, (2, 3), divisor_override=5),
}
BY_ORDER = {
    "sort": lambda y: y.sort(2).values,
    "topk": lambda y: y.topk(3, 3).values,
    "cummax": lambda y: y.cummax(2).values,
    "median": lambda y: y.median(2, keepdim=True).values,
    "kthvalue": lambda y: y.kthvalue(2, 3, keepdim=True).values,
    "amin": lambda y: y.amin((2, 3), keepdim=True),
    "max": lambda y: y.max(2, keepdim=True).values,
    "nanmedian": lambda y: y.nanmedian(2, keepdim=True).values,
    "mode": lambda y: y.mode(2, keepdim=True).values,
    "aminmax": lambda y: y.aminmax(dim=2, keepdim=True).max,
    "global pool": lambda y: F.adaptive_max_pool2d(y, 1),
}
BENT = {
    "relu": torch.relu,
    "leaky relu": lambda y: F.leaky_relu(y, -0.2),
    "prelu": lambda y: F.prelu(y, CONSTANT.to(y).reshape(-1)),
    "abs": lambda y: y.abs(),
    "clamp at zero": lambda y: y.clamp(max=0),
    "clamp at a constant of zeros": lambda y: y.clamp(min=torch.zeros(4, 1, 1).to(y)),
}
NOT = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "clamp at one": lambda y: y.clamp(min=1),
    "clamp at a constant": lambda y: y.clamp(min=torch.tensor([0.0, 0, 1, 0]).to(y)[:, None, None]),
    "elu": F.elu,
    "clamp": lambda y: y.clamp(-1000, 1000),
    "maximum": lambda y: torch.maximum(y, CONSTANT.to(y)),
    "cumulative product": lambda y: y.cumprod(2),
    "logcumsumexp": lambda y: y.logcumsumexp(2),
    "another order of channels": lambda y: y.sort(1).values,
    "a mean over channels": lambda y: y.mean(1, keepdim=True).expand(-1, 4, -1, -1),
    "places": lambda y: y.argsort(2).double(),
    "whole numbers": lambda y: y.long().double(),
    "beside a constant": lambda y: torch.where(CONSTANT > 1, y, CONSTANT.to(y)),
    "two results of the same elements": lambda y: torch.cat(y.aminmax(dim=2, keepdim=True), 2),
    "a quantile": lambda y: y.quantile(0.3, 2, keepdim=True),
    "a dropout": lambda y: F.dropout(y, 1e-9, training=True),
    "a constant column": lambda y: y.index_copy(3, torch.tensor([1]), torch.ones(2, 4, 6, 1).to(y)),
}
ZEROS = {
    "masked": lambda y: y.masked_fill(CONSTANT > 1, 0.0),
    "where": lambda y: torch.where(CONSTANT > 1, y, 0.0),
    "filled": lambda y: y.index_fill(3, torch.tensor([1]), 0.0),
    "triangle": lambda y: y.triu(),
    "blocks": lambda y: torch._chunk_cat([y, y.sin()], 2, 4).reshape(2, 4, -1, 4),
    "overlaps": lambda y: F.fold(F.unfold(y, 2), (6, 6), 2),
    "nansum": lambda y: y.nansum(2, keepdim=True),
    "sums with padding": lambda y: F.avg_pool2d(y, 2, padding=1, divisor_override=1),
}
"""Where a shift would count never, or several times."""
ONES = {
    "masked": lambda y: y.masked_fill(CONSTANT > 1, 1.0),
    "where": lambda y: torch.where(CONSTANT > 1, y, 1.0),
    "filled": lambda y: y.index_fill(3, torch.tensor([1]), 1.0),
    "padded": lambda y: F.pad(y, (1, 1), value=1.0),
}
LINES = {
    "neg": lambda y: -y,
    "lerp to a constant": lambda y: torch.lerp(y, CONSTANT.to(y), 0.3),
    "lerp from a constant": lambda y: torch.lerp(CONSTANT.to(y), y, 0.3),
    "lerp by a constant": lambda y: torch.lerp(y, CONSTANT.to(y), CONSTANT.to(y) / 3),
    "addcmul": lambda y: torch.addcmul(CONSTANT.to(y), y, CONSTANT.to(y), value=0.5),
    "addcmul of constants": lambda y: torch.addcmul(y, CONSTANT.to(y), CONSTANT.to(y), value=-2),
    "addcdiv": lambda y: torch.addcdiv(CONSTANT.to(y), y, CONSTANT.to(y), value=3),
    "addcdiv of constants": lambda y: torch.addcdiv(y, CONSTANT.to(y), CONSTANT.to(y) + 1),
}
NO_LINES = {
    "lerp by itself": lambda y: torch.lerp(CONSTANT.to(y), CONSTANT.to(y) * 2, y),
    "addcmul with itself": lambda y: torch.addcmul(y, y, CONSTANT.to(y)),
    "divided by it": lambda y: torch.addcdiv(CONSTANT.to(y), CONSTANT.to(y), y),
}


@pytest.mark.parametrize("name", BY_PLACE)
@pytest.mark.parametrize("rises", [True, False])
def test_what_picks_by_place_or_averages_takes_any_affine_op_past(name, rises):
    assert [
        one.folded for one in folded(BY_PLACE[name], rises=rises) if one.op == "batch_norm"
    ] == [True]


@pytest.mark.parametrize("name", BY_ORDER)
def test_what_picks_by_order_takes_positive_scales_past(name):
    (item,) = folded(BY_ORDER[name])
    assert item.folded
    (item,) = folded(BY_ORDER[name], rises=False)
    assert "a scale that is not positive does not pass" in (item.because or "")


@pytest.mark.parametrize("name", BENT)
def test_what_bends_at_zero_takes_a_positive_scale_past_and_nothing_else(name):
    def scaled(by: Tensor):
        return lambda y: BENT[name](y) * by.to(y)

    scale, norm = folded(scaled(CONSTANT), allow_graph=True)
    assert (scale.folded, scale.into, norm.folded) == (True, "conv", False)
    scale, norm = folded(scaled(CONSTANT - 1), allow_graph=True)
    assert (scale.into, norm.folded) == ("bn", False)


def test_what_is_no_operand_of_a_prelu_but_its_slope_takes_nothing_past():
    class Sloped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)
            self.bent = nn.Parameter(torch.linspace(-1, 1, 8).reshape(2, 4))
            self.scale = nn.Parameter(torch.linspace(0.5, 2, 4))

        def forward(self, x: Tensor) -> Tensor:
            return F.prelu(self.bent, self.linear(x)) * self.scale

    model, x = Sloped().double().eval(), torch.randn(3, dtype=torch.float64)
    found = fold(model, x, allow_graph=True, verify=False)
    assert torch.allclose(found.model(x), model(x), rtol=1e-10, atol=1e-10)
    assert found.report.folded == 0


class Summed(nn.Module):
    """A sum of convolutions behind other ops, and a BatchNorm."""

    def __init__(self, *steps) -> None:
        super().__init__()
        self.between, self.steps = Between(None), steps
        self.convs = nn.ModuleList(nn.Conv2d(3, 4, 3) for _ in steps)

    def forward(self, x: Tensor) -> Tensor:
        parts = (step(conv(x)) for step, conv in zip(self.steps, self.convs, strict=True))
        return self.between.bn(sum(parts)).tanh()


@pytest.mark.parametrize(
    ("steps", "into"),
    [
        ((torch.relu, torch.abs, torch.neg), "convs.0, convs.1, convs.2"),
        ((torch.relu, torch.abs), None),
    ],
)
def test_the_summand_that_takes_the_shift_may_be_any(steps, into):
    model = Summed(*steps).eval().double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = fold(model, x)
    assert torch.allclose(found.model(x), model(x), rtol=1e-10, atol=1e-10)
    item = found.report.items[-1]
    assert item.into == into
    assert into or "none of whose summands takes its shift" in (item.because or "")


@pytest.mark.parametrize("name", ["cumsum", "tril"])
def test_what_sums_differently_takes_a_scale_past_and_no_shift(name):
    def summed(y: Tensor) -> Tensor:
        return {"cumsum": y.cumsum(2), "tril": y.tril()}[name]

    (item,) = folded(summed)
    assert "counts a shift several times" in (item.because or "")
    scale, norm = folded(lambda y: summed(y) * CONSTANT.to(y), allow_graph=True)
    assert (scale.folded, norm.folded) == (True, False)


@pytest.mark.parametrize("name", ZEROS)
def test_beside_zeros_no_shift_passes(name):
    items = folded(ZEROS[name], allow_graph=True)
    assert not items[-1].folded
    assert any(
        words in (items[-1].because or "") for words in ("which a shift does not pass", "several")
    )


@pytest.mark.parametrize("name", ONES)
def test_beside_other_numbers_no_scale_passes(name):
    items = folded(ONES[name], allow_graph=True)
    assert not items[-1].folded
    assert "with a constant that a scale would change" in (items[-1].because or "")


@pytest.mark.parametrize("name", NOT)
def test_what_does_neither_takes_nothing_past(name):
    items = folded(NOT[name], allow_graph=True)
    assert not items[-1].folded


@pytest.mark.parametrize("name", LINES)
def test_an_op_that_is_a_line_in_what_it_reads_folds_itself(name):
    assert [item.folded for item in folded(LINES[name], allow_graph=True)] == [True, True]


@pytest.mark.parametrize("name", NO_LINES)
def test_an_op_that_is_no_line_does_not(name):
    items = folded(NO_LINES[name], allow_graph=True)
    assert not any(item.folded for item in items if item.op != "mul")


def test_a_walk_goes_as_deep_as_it_likes_and_hands_on_what_is_raised():
    def down(left: int) -> Walk[int]:
        if not left:
            raise KeyError("the bottom")
        try:
            return (yield down(left - 1))
        except KeyError:
            if left < 50_000:
                raise
            return left

    assert walked(down(60_000)) == 50_000
    with pytest.raises(KeyError, match="the bottom"):
        walked(down(10_000))


# -------------------------------------------------------------------- deep networks


class Deep(nn.Module):
    """A convolution, two thousand steps, and a BatchNorm."""

    def __init__(self, step) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn, self.step = nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), step
        self.bn.running_mean.normal_()

    def forward(self, x: Tensor) -> Tensor:
        first = y = self.conv(x)
        for _ in range(2000):
            y = self.step(y, first)
        return self.bn(y)


@pytest.mark.parametrize(
    ("step", "folds"),
    [
        pytest.param(lambda y, first: y + first, False, id="adds"),
        pytest.param(lambda y, _: y.flip(2), True, id="flips"),
        pytest.param(lambda y, _: -y, True, id="signs", marks=pytest.mark.slow),
        pytest.param(
            lambda y, first: y + torch.relu(first), False, id="branches", marks=pytest.mark.slow
        ),
        pytest.param(
            lambda y, _: y + torch.relu(y), False, id="residual adds", marks=pytest.mark.slow
        ),
        pytest.param(
            lambda y, first: torch.cat([y, torch.relu(first)], 2)[:, :, : y.shape[2]],
            False,
            id="concatenations",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_thousand_steps_are_no_deeper_than_two(step, folds):
    report = fold(Deep(step).eval(), torch.randn(1, 1, 6)).report
    assert report.verify is not None
    assert report.verify.passed is not False
    assert report.items[-1].folded == folds
    assert max(len(item.because or "") for item in report.items) < 400
