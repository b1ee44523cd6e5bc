"""What is remembered for all of a process, and how much of it."""

from __future__ import annotations

import pytest

from fieldwise.field.closed import FOUND
from fieldwise.field.state import MOST
from fieldwise.remembered import Remembered


def test_of_too_many_the_older_half_is_forgotten():
    known = Remembered[int](most=8)
    for number in range(9):
        known.add(number, number)
    assert [known.find(number) for number in range(9)] == [None] * 5 + [5, 6, 7, 8]


@pytest.mark.parametrize("most", [1, 10, 50])
def test_no_more_is_remembered_than_may_be(most):
    known, weights = Remembered[int](most=most), [1 + number % 12 for number in range(100)]
    for number, weight in enumerate(weights):
        known.add(number, number, weight)
        held = [known.find(other) for other in range(number + 1)]
        assert held[-1] == number
        assert sum(weights[other] for other in held if other is not None) <= max(most, weight)


def test_an_answer_that_is_given_again_weighs_once():
    known = Remembered[int](most=4)
    for _ in range(10):
        known.add("one", 1)
    known.add("two", 2)
    assert (known.find("one"), known.find("two")) == (1, 2)


def test_the_largest_state_that_is_kept_can_be_remembered():
    assert FOUND.most > MOST
