"""The check of a folded model, what it undoes, and what it warns of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from fieldwise.folding import fold
from fieldwise.folding import run as running
from fieldwise.folding.run import _culprits
from fieldwise.folding.verify import DoubleTruth, drawn, truth

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def net(**options: float) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3),
                          nn.BatchNorm2d(4)).eval()  # fmt: skip
    for name, value in options.items():
        getattr(model[1], name)[2] = value
    return model


# -------------------------------------------------------------------- the inputs


def test_inputs_are_the_example_s_values_in_another_order():
    found = drawn(net(), IMAGE, seed=0)
    assert not torch.equal(found, IMAGE)
    assert torch.equal(found.flatten().sort().values, IMAGE.flatten().sort().values)


@pytest.mark.parametrize("example", [torch.zeros(2, 3), torch.empty(2, 3, device="meta")])
def test_an_example_without_news_gives_normal_inputs(example):
    assert drawn(net(), example, seed=0).unique().numel() == 6


def test_integers_are_kept():
    tokens = torch.arange(5)
    assert torch.equal(drawn(net(), tokens, seed=0), tokens)


# -------------------------------------------------------------------- the judgement


def test_a_model_is_as_right_as_itself():
    found = truth(net(), IMAGE).judge(net())
    assert found.passed
    assert found.max_rel == found.unfolded_rel < 1e-6


def test_a_wrong_model_fails():
    other = net()
    other[0].bias.data += 1e-3
    assert not truth(net(), IMAGE).judge(other).passed


def test_a_model_that_returns_nan_fails():
    other = net()
    other[0].bias.data[0] = torch.nan
    assert not truth(net(), IMAGE).judge(other).passed


def test_outputs_near_zero_are_judged_by_a_floor():
    exact = (torch.zeros(3, dtype=torch.float64),)
    nearly = DoubleTruth(IMAGE, exact, torch.zeros(3), 0.0)
    assert nearly.judge(lambda x: torch.full((3,), 1e-13)).passed  # type: ignore[arg-type]
    assert not nearly.judge(lambda x: torch.full((3,), 1e-3)).passed  # type: ignore[arg-type]


# -------------------------------------------------------------------- undoing


def test_a_fold_that_makes_the_model_wrong_is_undone(monkeypatch):
    model, rebuilt = net(), running.rebuilt

    def spoiled(*given, **more):
        copy, layers = rebuilt(*given, **more)
        if any(one.layer.name == "2" for one, *_ in layers):
            copy[2].weight.data += 1
        return copy, layers

    monkeypatch.setattr(running, "rebuilt", spoiled)
    report = fold(model, IMAGE).report
    assert [item.folded for item in report.items] == [True, False]
    assert "undone" in (report.items[1].because or "")
    assert report.verify is not None
    assert report.verify.passed


def test_a_model_that_looks_at_its_modules_keeps_them():
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
def test_halving_finds_the_culprits(guilty):
    folds = [SimpleNamespace(number=number) for number in range(8)]

    def passes(undone) -> bool:
        return guilty <= {fold.number for fold in undone}

    assert {fold.number for fold in _culprits(folds, passes)} == guilty


def test_without_a_check_nothing_is_verified():
    assert fold(net(), IMAGE, verify=False).report.verify is None


# -------------------------------------------------------------------- warnings


def test_a_tiny_variance_is_a_warning_with_the_channel():
    model = net(running_var=1e-12)
    model[1].eps = 1e-12
    report = fold(model, IMAGE).report
    assert report.warnings[0].startswith("An affine op scales channel 2 of '0' by")
    assert "channel 2 of '0'" in report.warnings[1]
    assert "quantisation" in report.warnings[1]


def test_an_overflow_is_not_folded_and_a_warning_names_the_channel():
    model = net(running_var=1e-12)
    model[1].eps = 1e-12
    model[1].weight.data.fill_(1e-3)
    model[1].running_mean.fill_(1e3)
    report = fold(model.half(), IMAGE.half()).report
    assert not report.items[0].folded
    assert report.warnings[0].startswith("Not folded: channel 2 of '0' would reach")
    assert "beyond 65504" in report.warnings[0]


# -------------------------------------------------------------------- what there is to compare


class Ends(nn.Module):
    """A convolution with a BatchNorm, and what a network may end in."""

    def __init__(self, end) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.bn.running_mean.normal_()
        self.bn.weight.data.uniform_(0.5, 2)
        self.end = end

    def forward(self, x: Tensor) -> object:
        return self.end(self.bn(self.conv(x)))


def spoiled(model: nn.Module) -> nn.Module:
    found = fold(model, IMAGE, verify=False).model
    found.conv.weight.data *= 3
    return found


ENDS = {
    "complex": lambda y: torch.fft.rfft(y),
    "argmax": lambda y: y.argmax(1),
    "comparison": lambda y: y > 0,
    "rounded": lambda y: (y * 10).round().long(),
    "places of the largest": lambda y: y.max(1).indices,
    "sorted places": lambda y: y.flatten(1).topk(5).indices,
    "classes and their places": lambda y: {"at": y.flatten(2).max(2).indices, "of": y.argmax(1)},
    "steps": lambda y: (y > 0).float(),
    "bins": lambda y: torch.bucketize(y, torch.linspace(-1, 1, 9, dtype=y.dtype)),
    "one number": lambda y: y.mean().reshape(1),
}
BLIND = {
    "constant": (lambda y: torch.softmax(y.mean((1, 2, 3)).reshape(1, 1), 1), "same numbers"),
    "nothing finite": (lambda y: torch.log(-1 - y.abs()), "no number"),
    "empty": (lambda y: y[:, :0], "no number"),
    "saturated": (lambda y: torch.clamp(y * 0 + 7, 0, 6), "same numbers"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_right_model_is_right_and_a_spoiled_one_wrong_whatever_it_ends_in(end):
    model = Ends(ENDS[end]).eval()
    report = fold(model, IMAGE).report
    assert report.folded == 1
    assert report.verify is not None
    assert (report.verify.verdict, report.verify.note) == ("right", None)
    assert report.verify.compared > 0
    assert 0 < report.verify.unfolded_rel < 1e-5
    wrong = truth(model, IMAGE).judge(spoiled(model)).verdict
    assert wrong == "wrong" or (wrong == "not checked" and "places" in end)


@pytest.mark.parametrize("end", BLIND)
def test_where_a_wrong_model_would_look_the_same_nothing_is_checked(end):
    make, why = BLIND[end]
    report = fold(Ends(make).eval(), IMAGE).report
    assert report.folded == 1
    assert report.verify is not None
    assert (report.verify.verdict, report.verify.passed) == ("not checked", None)
    assert why in (report.verify.note or "")


def test_places_whose_numbers_a_fold_scales_are_compared_themselves():
    class Pooled(Ends):
        def forward(self, x: Tensor) -> object:
            pooled, places = nn.functional.max_pool2d(self.conv(x), 2, return_indices=True)
            return self.bn(pooled), places

    model = Pooled(None).eval()
    report = fold(model, IMAGE).report
    assert report.verify is not None
    assert report.verify.verdict == "right"
    assert truth(model, IMAGE).judge(spoiled(model)).verdict == "wrong"


def test_numbers_that_the_model_s_own_precision_does_not_give_are_left_out():
    model = Ends(lambda y: torch.cat([y, torch.exp(y + 100)])).eval()
    found = truth(model, IMAGE)
    assert found.judge(model).verdict == "right"
    assert found.judge(model).compared == model(IMAGE).isfinite().sum()
    assert found.judge(spoiled(model)).verdict == "wrong"


def test_a_model_that_does_not_run_in_float64_is_compared_with_itself_and_says_so():
    model = Ends(lambda y: y @ torch.ones(6, 2)).eval()
    report = fold(model, IMAGE).report
    assert report.verify is not None
    assert report.verify.verdict == "right"
    assert (report.verify.note or "").startswith(
        "compared with its own run, since it does not run in float64 ("
    )
    assert truth(model, IMAGE).judge(spoiled(model)).verdict == "wrong"


def test_a_model_whose_own_precision_says_nothing_is_not_checked():
    model = Ends(lambda y: (y * 1e8).sin()).eval()
    found = truth(model, IMAGE).judge(model)
    assert found.verdict == "not checked"
    assert "in its own precision the model is off by" in (found.note or "")


class Complex(nn.Module):
    """A scale per channel of complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1 + 2j, 3j]).view(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize("example", [torch.randn(1, 2, 5) + 1j, torch.ones(1, 2, 5) + 0j])
def test_complex_inputs_are_drawn_and_complex_scales_stay(example):
    report = fold(Complex().eval(), example).report
    assert (report.verify.verdict, report.verify.compared) == ("right", 20)
    assert list(report.reasons()) == ["its numbers are complex"]
