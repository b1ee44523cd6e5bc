"""Which zeros of constants count: those that stay whatever the parameters hold."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from fieldwise.capture.torch import capture

X = torch.empty(1, 2, 9)
HOLE = torch.tensor([1.0, 0, 1])


class Kernel(nn.Module):
    """A convolution whose kernel is made from a parameter and a mask."""

    def __init__(self, made, weight=None):
        super().__init__()
        self.made = made
        self.weight = nn.Parameter(torch.randn(2, 2, 3) if weight is None else weight)
        self.register_buffer("mask", HOLE)

    def forward(self, x):
        return F.conv1d(x, self.made(self))


def written(model):
    model.weight.data *= model.mask
    return model.weight


def ternary(model):
    return (model.weight / model.weight.abs().mean()).round()


@pytest.mark.parametrize(
    "made", [lambda m: m.weight * m.mask, written, lambda m: m.mask.expand(2, 2, 3).clone()]
)
def test_zeros_of_a_mask_count(made):
    [zeros] = capture(Kernel(made), X).zeros.values()
    [opened] = zeros.values()
    assert (opened == HOLE.bool().expand(2, 2, 3).numpy()).all()


def test_a_parameter_is_as_it_was_after_its_mask_was_written_into_it():
    model = Kernel(written)
    before = model.weight.detach().clone()
    assert capture(model, X).zeros
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize(
    "made",
    [
        lambda m: m.weight,
        lambda m: m.weight * 2,
        lambda m: m.weight.relu(),
        lambda m: (-m.weight).relu(),
        ternary,
        lambda m: m.mask.expand(2, 2, 3) * 0,
    ],
    ids=["itself", "scaled", "rectified", "rectified below", "rounded", "nothing but zeros"],
)
def test_zeros_that_training_may_move_count_as_numbers(made):
    assert not capture(Kernel(made), X).zeros
    assert not capture(Kernel(made, torch.zeros(2, 2, 3)), X).zeros


def test_a_triangle_of_a_parameter_is_zero_for_good():
    class Triangle(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 4))

        def forward(self, x):
            return x @ self.weight.tril()

    [zeros] = capture(Triangle(), torch.empty(3, 4)).zeros.values()
    [opened] = zeros.values()
    assert (opened == torch.ones(4, 4).tril().bool().numpy()).all()


def test_pruned_weights_are_masked():
    layer = nn.Conv1d(2, 2, 3)
    prune.ln_structured(layer, "weight", 0.5, 2, dim=1)
    [zeros] = capture(layer, X).zeros.values()
    [opened] = zeros.values()
    assert opened.any((0, 2)).sum() == 1


@pytest.mark.parametrize(
    ("factor", "counts"),
    [
        (torch.tensor([1.0, 0, 1]), True),
        (torch.tensor([0.5, 0, 0.5]), True),
        (torch.tensor([True, False, True]), True),
        (torch.hann_window(3), False),
        (torch.arange(3) / 3, False),
        (torch.tensor([1.0, 1, 1]), False),
        (nn.Parameter(torch.tensor([1.0, 0, 1])), False),
    ],
    ids=["mask", "scaled mask", "truth values", "window", "ramp", "ones", "parameter"],
)
def test_by_elements_only_a_mask_counts(factor, counts):
    class Factor(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return x * self.factor

    assert bool(capture(Factor(), torch.empty(2, 3)).zeros) is counts


def test_what_is_added_hides_nothing():
    """The zeros of a bias, which torch puts together from parameters in many networks."""

    class Biased(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 3))
            self.bias = nn.Parameter(torch.randn(2))

        def forward(self, x):
            return F.linear(x, self.weight, torch.cat([self.bias, torch.zeros(1)]))

    assert not capture(Biased(), torch.empty(2, 3)).zeros


def test_a_model_that_cannot_be_copied_has_no_zeros():
    class Alone(Kernel):
        def __deepcopy__(self, memo):
            raise TypeError("there is one of me")

    assert not capture(Alone(lambda m: m.weight * m.mask), X).zeros


def test_no_more_is_drawn_where_zeros_hide_nothing_that_can_be_said():
    """Forward runs once for the graph and once for the first draw, and not for a second one."""
    runs = []

    class Counted(nn.Module):
        def __init__(self, mask):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(mask.shape))
            self.register_buffer("mask", mask)

        def forward(self, x):
            runs.append(x.shape)
            return F.conv1d(x, self.weight * self.mask)

    scattered = (torch.rand(40, 40, 5, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    assert capture(Counted(scattered), torch.empty(1, 40, 9)).zeros == {}
    assert len(runs) == 2
    assert capture(Counted(HOLE.expand(2, 2, 3).clone()), X).zeros
    assert len(runs) == 2 + 4
