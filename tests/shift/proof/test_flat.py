"""Maps read as one row-major line: what the sweep cannot follow is undecided, never broken."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.shift import certify, measure
from fieldwise.testing.shifts import shift_outcome

ROWS = 8


class Op(nn.Module):
    """A function of a tensor."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.roll(x, 2 * ROWS),
        lambda x: x.flatten(2).roll(ROWS, 2).view_as(x),
        lambda x: x.flatten(2)[:, :, (torch.arange(64) + ROWS) % 64].view_as(x),
        lambda x: x.flatten(2).flip(2).view_as(x),
        lambda x: F.avg_pool1d(x.flatten(2), 1, ROWS // 4).view(1, 1, 8, 4),
    ],
)
def test_whole_rows_moved_along_a_flat_line_are_not_said_to_break_it(function):
    x = torch.zeros(1, 1, ROWS, ROWS)
    axes = certify(Op(function).eval(), x).outputs[0].axes
    for axis, moved in zip(axes, measure(Op(function).eval(), x).outputs, strict=True):
        assert moved.verdict == "holds"
        assert axis.circular.holds or axis.circular.undecided


def zeroed_in_rows(x: Tensor) -> Tensor:
    """Whole rows, written through a flat line."""
    found = x.clone()
    found.view(1, 1, -1)[:, :, ROWS : 3 * ROWS] = 0
    return found


def test_whole_rows_written_through_a_flat_line_are_not_said_to_break_the_columns():
    x = torch.zeros(1, 1, ROWS, ROWS)
    (axis,) = certify(Op(zeroed_in_rows), x, axes=[3]).outputs[0].axes
    assert measure(Op(zeroed_in_rows), x, axis=3).verdict == "holds"
    assert axis.circular.holds or axis.circular.undecided


@pytest.mark.parametrize(
    ("count", "stride", "offset", "rows", "columns"),
    [
        (16, 1, 0, None, 1), (16, 1, 16, None, 1), (16, 1, 4, None, None),
        (32, 2, 0, 1, 2), (32, 2, 1, 1, 2), (16, 4, 2, 1, 4), (8, 9, 0, None, None),
    ],
)  # fmt: skip
def test_what_is_zeroed_along_a_flat_line_moves_as_brute_force_finds(
    count, stride, offset, rows, columns
):
    """Whole rows, every other column, part of a row, a diagonal; the period along either axis."""

    def zeroed(x: Tensor) -> Tensor:
        y = x.clone()
        y.as_strided((count,), (stride,), offset).zero_()
        return y

    x = torch.randn(1, 1, ROWS, ROWS, dtype=torch.float64)
    found = certify(Op(zeroed), x).outputs[0]
    assert [found.along(axis).circular.period for axis in (2, 3)] == [rows, columns]
    for axis in (2, 3):
        assert not shift_outcome(Op(zeroed), (x,), axis).failed


def test_more_blocks_than_are_looked_at_one_by_one_are_undecided():
    """A diagonal of 80 leaves 80 blocks beside it."""

    def zeroed(x: Tensor) -> Tensor:
        y = x.clone()
        y.as_strided((80,), (81,)).zero_()
        return y

    (axis,) = certify(Op(zeroed), torch.zeros(1, 1, 80, 80), axes=[3]).outputs[0].axes
    assert [(breaker.why, breaker.known) for breaker in axis.broken_by] == [
        ("it writes in too many places to look at each", False)
    ]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.roll(x, 3),
        lambda x: F.conv1d(
            F.pad(x.flatten(2), (1, 1), mode="circular"), torch.ones(1, 1, 3).to(x)
        ).view_as(x),
        lambda x: x.sort(2)[0],
        lambda x: torch.fft.fft(x, dim=2).abs(),
    ],
)
def test_a_measurement_tries_every_way_in_which_a_value_may_move(function):
    """A stride in rows of a flat line, or of what has a stride and stays, is no other answer."""
    x = torch.zeros(1, 1, ROWS, ROWS)
    assert certify(Op(function), x, axes=[2]).outputs[0].axes[0].circular.period == 1
    assert measure(Op(function), x, axis=2).verdict == "holds"


def test_values_without_elements_are_no_error_in_a_reshape():
    found = certify(Op(lambda x: x.unflatten(1, (1, 0))), torch.zeros(4, 0), axes=(0,))
    circular = found.outputs[0].along(0).circular
    assert circular.holds or circular.undecided


def test_the_sums_of_an_attention_kernel_are_undecided():
    def attended(x: Tensor) -> Tensor:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return kernel(x, x, x)[1]

    found = certify(Op(attended), torch.zeros(1, 2, 6, 8), axes=(2,))
    assert found.outputs[0].along(2).undecided
