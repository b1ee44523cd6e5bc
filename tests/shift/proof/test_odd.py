"""No odd network makes the prover say what is not so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from fieldwise.shift import certify
from fieldwise.testing.shifts import moved
from tests.shift.proof.odd_networks import ODD, SHAPE, N

EXACT = 1e-9
UNDECIDED = (
    "real and imaginary parts on columns", "four blocks written", "two folded maps, transformed",
    "halves of a difference's size", "four quarters added", "borders written from the other side",
)  # fmt: skip
"""What holds, and is neither proven nor called broken."""


class _Model(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("name", ODD)
def test_a_proof_of_an_odd_network_is_what_brute_force_finds(name):
    """Every multiple of the period moves it as said, and no less; what is broken never moves."""
    torch.manual_seed(3)
    model, x = _Model(ODD[name]), torch.randn(SHAPE, dtype=torch.float64)
    axis = certify(model, x, axes=[3]).outputs[0].axes[0]
    before, circular = model(x), axis.circular
    scale = before.std().item()
    for by in range(1, N):
        after = model(x.roll(by, 3))
        if circular.holds and by % circular.period == 0:
            wanted = moved(before, circular.moves, by // circular.period)
            assert (wanted - after).abs().max() <= EXACT * scale, (by, circular)
        elif not axis.undecided:
            assert not any(_rolled_to(before, after, EXACT * scale)), (by, circular, axis.broken_by)


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_holds_and_is_not_proven_is_left_undecided(name):
    """It is said at which node, and that it is not known; a rule that mends it is noticed here."""
    axis = certify(_Model(ODD[name]), SHAPE, axes=[3]).outputs[0].axes[0]
    assert axis.undecided
    assert axis.broken_by


def test_a_border_that_is_written_from_the_other_side_is_periodic():
    """Two slice assignments are what many a model pads with."""
    model = _Model(ODD["slices written from the other side"])
    assert certify(model, SHAPE, axes=[3]).outputs[0].axes[0].circular.period == 1


@pytest.mark.parametrize(
    ("name", "period"),
    [
        ("columns taken apart and stacked", 1),
        ("convolved tile by tile", 4),
        ("tiles convolved apart, padded with zeros", 4),
    ],
)
def test_pieces_that_are_treated_alike_move_from_one_to_the_next(name, period):
    """What is done to each does not matter, nor what it does at the ends of a piece."""
    assert certify(_Model(ODD[name]), SHAPE, axes=[3]).outputs[0].axes[0].circular.period == period


@pytest.mark.parametrize("name", ["a difference of neighbours", "the last column alone"])
def test_pieces_that_nothing_can_make_one_are_called_broken(name):
    """A doubt that is cast on everything would say nothing."""
    assert not certify(_Model(ODD[name]), SHAPE, axes=[3]).outputs[0].axes[0].undecided


def _rolled_to(before: Tensor, after: Tensor, error: float) -> Iterator[bool]:
    """Whether some roll along a dimension makes one value the other."""
    for dim, size in enumerate(before.shape):
        for step in range(size):
            yield bool((before.roll(step, dim) - after).abs().max() <= error)
