"""What is broken on the way and may be undone further down is undecided; the rest stays broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.shift import certify
from fieldwise.testing.shifts import shift_outcome
from tests.shift.proof.single import Op

SIZE = 8
SHAPE = (1, 2, SIZE, SIZE)
RAMP = torch.arange(SIZE, dtype=torch.float64)
MASK = (RAMP > 2).double()
KERNEL = torch.randn(2, 2, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
MATRIX = torch.linalg.qr(
    torch.randn(SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
)[0]
CIRCULANT = torch.stack([(1.7 * RAMP).cos().roll(j) for j in range(SIZE)], 1)


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
    "a circulant matrix": (lambda x: x @ CIRCULANT, 3),
    "every other column of one": (lambda x: x @ CIRCULANT[:, ::2], 3),
    "a matrix and its inverse": (lambda x: (x @ MATRIX) @ MATRIX.t(), 3),
    "coordinates beside it, cut off again": (
        lambda x: torch.cat([x, RAMP.expand(1, 1, SIZE, SIZE)], 1)[:, :2], 3,
    ),
    "every other sample of a flat line": (_written_flat, 2),
    "halves that are added up": (lambda x: x[..., :4].sum(3) + x[..., 4:].sum(3), 3),
    "the larger of halves": (lambda x: x[..., :4].amax(3).maximum(x[..., 4:].amax(3)), 3),
    "columns taken apart and added": (lambda x: torch.stack(x.unbind(3)).sum(0), 3),
    "a mask and its complement": (lambda x: x * MASK + x * (1 - MASK), 3),
    "zeros around a sum": (lambda x: F.pad(x, (1, 2)).sum(3), 3),
    "zeros around what is sorted": (lambda x: F.pad(x, (1, 2)).sort(3).values, 3),
    "−inf around a maximum": (lambda x: F.max_pool2d(x, 3, 1, 1).amax(3), 3),
    "a full convolution, summed": (lambda x: F.conv2d(x, KERNEL, padding=(0, 2)).sum(3), 3),
    "a transposed convolution, summed": (lambda x: F.conv_transpose2d(x, KERNEL).sum(3), 3),
    "channels that a kernel weighs alike": (lambda x: F.conv2d(x, torch.ones_like(KERNEL)), 1),
    "slopes that are all alike": (lambda x: F.prelu(x, torch.full_like(RAMP[:2], 0.3)), 1),
    "a term that counts nothing": (
        lambda x: torch.addmm(RAMP.expand(SIZE, SIZE), x[0, 0].t(), x[0, 0], beta=0).diagonal(), 3,
    ),
    "a product of nothing": (lambda x: x + x[..., :0] @ x.transpose(2, 3)[..., :0, :], 3),
    "what is filled where the maximum is": (
        lambda x: x[0, 0].index_fill(1, x[0, 0].sum(0).argmax().view(1), 0.0), 3,
    ),
    "ranks by an order that is handed in": (
        lambda x: torch.searchsorted(x, x.mean(3, keepdim=True), sorter=x.argsort(3)), 3,
    ),
    "a class token and a ramp taken away": (
        lambda x: torch.cat([x[..., :1] * 0 + 1, (x + RAMP) - RAMP], 3), 3,
    ),
    "rows of tokens and a ramp taken away": (
        lambda x: ((x + RAMP) - RAMP).flatten(2).transpose(1, 2), 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDONE)
def test_what_is_undone_further_down_is_not_said_to_be_broken(name):
    function, axis = UNDONE[name]
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = certify(Op(function), x, axes=[axis]).outputs[0].axes[0]
    assert found.circular.holds or found.undecided, found.broken_by
    assert shift_outcome(Op(function), (x,), axis).verdict in ("holds", "undecided")


def _mean_of_full(kernel: int, *after: nn.Module) -> nn.Module:
    layer = nn.Conv1d(2, 3, kernel, padding=max(1, kernel - 1))
    return nn.Sequential(layer, *after, nn.AdaptiveAvgPool1d(1))


CONVOLVED: dict[str, tuple[nn.Module, bool]] = {
    "all of a convolution": (_mean_of_full(3), False),
    "and of its values rectified": (_mean_of_full(3, nn.ReLU()), True),
    "single positions rectified": (_mean_of_full(1, nn.ReLU()), False),
}
"""A mean over all that a convolution makes, its border too; whether zero padding breaks it."""


@pytest.mark.parametrize("name", CONVOLVED)
def test_what_zero_padding_does_to_a_mean_depends_on_what_is_between(name):
    """The borders of a full convolution hold what is left of every sample."""
    model, breaks = CONVOLVED[name]
    model, x = model.double(), torch.randn(1, 2, SIZE, dtype=torch.float64)
    found = certify(model, x).outputs[0].axes[0]
    assert found.undecided is not breaks
    assert [(breaker.module, breaker.why) for breaker in found.broken_by][:1] == [
        ("0", "zero padding")
    ]
    assert shift_outcome(model, (x,), 2).verdict == ("broken" if breaks else "undecided")


STAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "running sums": lambda x: x.cumsum(3),
    "running sums of something nonlinear, scaled": lambda x: (2 * x.cumsum(3)).tanh(),
    "a ramp": lambda x: (x + RAMP).flatten(1).relu(),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_nothing_undoes_stays_broken(name):
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


def test_weights_settle_what_comes_before_them():
    """No sum, crop or fixed product undoes what generic weights have mixed."""
    (breaker,) = certify(_Embedded(), SHAPE, axes=[3]).outputs[0].axes[0].broken_by
    assert (breaker.node, breaker.known) == ("add", True)
