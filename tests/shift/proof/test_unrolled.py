"""Rows that a loop takes one by one: they move as the network without a loop does."""

from __future__ import annotations

import pytest

from fieldwise.shift import certify
from fieldwise.testing import check_shift
from tests.unrolled import CARRIED, SHARED, Counted, Uneven, example, made


def certificate(kind):
    [found] = certify(made(kind), example(), axes=(1,))["output"].axes
    return found


@pytest.mark.parametrize("kind", SHARED)
def test_a_loop_whose_body_is_shared_is_certified_as_the_network_without_a_loop(kind):
    loop, plain = certificate(kind), certificate(SHARED[kind])
    assert (loop.circular.holds, loop.circular.period) == (
        plain.circular.holds,
        plain.circular.period,
    )
    assert (loop.interior.range, loop.interior.period) == (
        plain.interior.range,
        plain.interior.period,
    )


@pytest.mark.parametrize("kind", [*CARRIED, Uneven, Counted])
def test_rows_with_a_state_or_weights_or_numbers_of_their_own_are_not_certified(kind):
    found = certificate(kind)
    assert not found.circular.holds
    assert found.interior.empty


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_certified_of_a_loop_holds(kind):
    check_shift(made(kind), example(), axis=1)
