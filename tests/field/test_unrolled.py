"""Rows that a loop takes one by one: they follow the axis as the network without a loop does."""

from __future__ import annotations

import pytest

from fieldwise.field import receptive_fields
from fieldwise.testing import check_field
from tests.unrolled import ALIKE, CARRIED, LOOPS, Uneven, example, made


def row(kind):
    return receptive_fields(made(kind), example(), axes=(1,))["output"].row


def numbers(row):
    return [
        (a.extent, a.count, a.stride, a.start, a.past, a.future, row.at_this_size)
        for a in (*row.axes, *(a for piece in row.pieces for a in piece.axes))
    ]


@pytest.mark.parametrize("kind", [*ALIKE, *CARRIED])
def test_a_loop_has_the_row_of_the_network_without_a_loop(kind):
    assert numbers(row(kind)) == numbers(row({**ALIKE, **CARRIED}[kind]))


@pytest.mark.parametrize("kind", LOOPS)
def test_every_row_of_a_loop_sees_what_derivatives_see(kind):
    assert check_field(made(kind), example()).verdict == "exact"


def test_weights_of_their_own_do_not_change_where_rows_look():
    assert numbers(row(Uneven)) == [(1, 1, 1, 0, False, False, False)]
