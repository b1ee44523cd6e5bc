"""Constants that are copied, looked up or written over matter where they vary with the axis."""

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
SHAPE = (1, 1, SIZE, SIZE)


def _drawn(*shape: int) -> Tensor:
    dice = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=dice)


ROW, MAP, MAPS = _drawn(SIZE), _drawn(*SHAPE), _drawn(1, 2, SIZE, SIZE)
EVERY = torch.arange(SIZE)
OTHERS = MAPS.clone()
OTHERS[..., 1::2], OTHERS[..., ::2] = OTHERS[..., 1:2], OTHERS[..., :1]


def _sign(x: Tensor) -> Tensor:
    return (x > 0).long()


def _strided(x: Tensor, written: Tensor, stride: tuple[int, ...]) -> Tensor:
    return torch.as_strided_scatter(x, written, written.shape, stride)


def _zeroed(x: Tensor) -> Tensor:
    y = x.clone()
    y.as_strided((2, 2), (1, 2)).zero_()
    return y


def _on_a_diagonal(x: Tensor) -> Tensor:
    old = ROW.expand(2, 2, 1, SIZE, SIZE).clone()
    return torch.diagonal_scatter(old, x.expand(2, 1, SIZE, SIZE).permute(1, 2, 3, 0))


def _masked_write(x: Tensor) -> Tensor:
    """Of the places some lie outside; the mask leaves them out."""
    places = torch.tensor([0, 3, SIZE + 1])
    kept = torch.tensor([True, True, False])
    return torch.ops.aten._unsafe_masked_index_put_accumulate(
        x[0, 0], kept, [places, places], _drawn(3)
    )


HOLDS: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
    "rows of a table, looked up along them": (lambda x: MAP.gather(3, _sign(x)), 3, 1),
    "columns of a table, looked up along them": (lambda x: MAP.gather(2, _sign(x)), 2, 1),
    "a table that repeats": (lambda x: OTHERS.gather(1, _sign(x)), 3, 2),
    "a table that is the same everywhere": (lambda x: ROW[_sign(x)], 3, 1),
    "rows of a table, by the data": (lambda x: MAP[0, 0][_sign(x)], 3, 1),
    "a table by one constant index": (lambda x: MAP[0, 0][EVERY, _sign(x)], 2, 1),
    "every other column overwritten": (
        lambda x: _strided(x, torch.zeros(SIZE, 4, dtype=x.dtype), (SIZE, 2)), 3, 2,
    ),
    "a map under what replaces it": (lambda x: MAP.index_copy(3, EVERY, x), 3, 1),
}  # fmt: skip
VARIES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "rows of a table, the other axis": (lambda x: MAP.gather(3, _sign(x)), 2),
    "columns of a table, the other axis": (lambda x: MAP.gather(2, _sign(x)), 3),
    "channels of a table": (lambda x: MAPS.gather(1, _sign(x)), 3),
    "a table by one constant index": (lambda x: MAP[0, 0][EVERY, _sign(x)], 3),
    "a corner that is written flat": (
        lambda x: _strided(x, torch.zeros(2, 2, dtype=x.dtype), (1, 2)), 2,
    ),
    "a corner that is written in place": (_zeroed, 3),
    "a column that is written flat": (lambda x: _strided(x, ROW, (SIZE,)), 2),
    "a map that is added to": (lambda x: MAP.index_add(3, EVERY, x), 3),
    "a map that is put to": (lambda x: MAP.index_put((EVERY[:1],), x, accumulate=True), 3),
    "uneven counts that are added": (
        lambda x: x.index_add(3, EVERY // 2 * 2 % 6, torch.ones(SHAPE, dtype=x.dtype)), 3,
    ),
    "maps beside a diagonal": (_on_a_diagonal, 3),
    "places that a mask chooses": (_masked_write, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLDS)
def test_a_constant_that_is_alike_where_it_is_copied_holds(name):
    function, axis, period = HOLDS[name]
    x = _drawn(*SHAPE)
    assert certify(Op(function), x, axes=[axis]).outputs[0].axes[0].circular.period == period
    assert shift_outcome(Op(function), (x,), axis).verdict == "holds"


@pytest.mark.parametrize("name", VARIES)
def test_a_constant_that_varies_where_it_is_copied_is_never_said_to_hold(name):
    """Neither theorem: no roll, and no position out of reach of the edges, moves as it should."""
    function, axis = VARIES[name]
    x = _drawn(*SHAPE)
    assert not certify(Op(function), x, axes=[axis]).outputs[0].axes[0].circular.holds
    assert shift_outcome(Op(function), (x,), axis).verdict in ("broken", "undecided")


def _warped(stretch: float, *, corners: bool) -> Callable[[Tensor], Tensor]:
    """The identity in the numbers of single precision, or what is near it."""

    def warp(x: Tensor) -> Tensor:
        theta = torch.eye(2, 3)[None].to(x) * stretch
        grid = F.affine_grid(theta, list(x.shape), align_corners=corners)
        return F.grid_sample(x, grid, align_corners=False)

    return warp


@pytest.mark.parametrize("size", [16, 15, 640, 2048])
def test_a_grid_is_judged_in_the_precision_in_which_it_was_made(size):
    def holds(warp: Callable[[Tensor], Tensor]) -> bool:
        certificate = certify(Op(warp), (1, 1, size, 4), axes=[2])  # float32
        return certificate.outputs[0].along(2).circular.period == 1

    assert holds(_warped(1.0, corners=False))
    assert not holds(_warped(1.0, corners=True))  # the ends of the grid are those of the image
    assert not holds(_warped(1 + 1e-4, corners=False))


def test_a_proof_runs_a_masked_model_once_as_it_is_and_once_with_other_parameters():
    """Which zeros of its constants stay is of no use to a proof, and costs more runs."""
    runs = []

    class Masked(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            runs.append(x.shape)
            mask = torch.ones_like(self.weight).tril()
            return self._conv_forward(x, self.weight * mask, self.bias)

    certify(Masked(1, 1, 3, padding=1), SHAPE)
    assert len(runs) == 2
