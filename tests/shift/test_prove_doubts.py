"""What is broken on the way and may be undone further down is undecided; the rest stays broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fieldwise.shift import certify
from fieldwise.testing.shifts import shift_outcome
from tests.shift.single import Op

SIZE = 8
SHAPE = (1, 2, SIZE, SIZE)
RAMP = torch.arange(SIZE, dtype=torch.float64)
MATRIX = torch.linalg.qr(
    torch.randn(SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
)[0]


def _written_flat(x: Tensor) -> Tensor:
    y = x.clone()
    y.view(-1)[::2].mul_(2)
    return y


UNDONE: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "running sums, cropped to the total": (lambda x: x.cumsum(3)[..., -1:], 3),
    "running sums from both ends": (lambda x: x.cumsum(3) + x.flip(3).cumsum(3).flip(3) - x, 3),
    "running sums, told apart again": (lambda x: torch.diff(x.cumsum(3)[..., -1:] + x), 3),
    "a ramp and its complement": (lambda x: x * RAMP + x * (SIZE - 1 - RAMP), 3),
    "a ramp added and taken away": (lambda x: (x + RAMP).mul(2) - 2 * RAMP, 3),
    "a ramp added before a mean": (lambda x: (x + RAMP).mean(3), 3),
    "positions picked and summed": (lambda x: sum(x[..., i] for i in range(SIZE)), 3),
    "a matrix and its inverse": (lambda x: (x @ MATRIX) @ MATRIX.t(), 3),
    "coordinates beside it, cut off again": (
        lambda x: torch.cat([x, RAMP.expand(1, 1, SIZE, SIZE)], 1)[:, :2], 3,
    ),
    "every other sample of a flat line": (_written_flat, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDONE)
def test_what_is_undone_further_down_is_not_said_to_be_broken(name: str) -> None:
    function, axis = UNDONE[name]
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = certify(Op(function), x, axes=[axis]).outputs[0].axes[0]
    assert found.circular.holds or found.undecided, found.broken_by
    assert shift_outcome(Op(function), (x,), axis).verdict in ("holds", "undecided")


STAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "running sums": lambda x: x.cumsum(3),
    "running sums of something nonlinear, scaled": lambda x: (2 * x.cumsum(3)).tanh(),
    "a ramp": lambda x: (x + RAMP).flatten(1).relu(),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_nothing_undoes_stays_broken(name: str) -> None:
    """A doubt that is cast on everything would say nothing."""
    found = certify(Op(STAYS[name]), torch.zeros(SHAPE, dtype=torch.float64), axes=[3]).outputs[0]
    assert [breaker.known for breaker in found.axes[0].broken_by] == [True]


class _Embedded(nn.Module):
    """A position embedding, and behind it weights, a sum with what went in, and a crop."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(SIZE))
        self.mix = nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")

    def forward(self, x: Tensor) -> Tensor:
        embedded = x + self.positions
        return (embedded + self.mix(embedded).relu())[..., 0]


def test_weights_settle_what_comes_before_them() -> None:
    """No sum, crop or fixed product undoes what generic weights have mixed."""
    (breaker,) = certify(_Embedded(), SHAPE, axes=[3]).outputs[0].axes[0].broken_by
    assert (breaker.node, breaker.known) == ("add", True)
