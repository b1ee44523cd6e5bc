"""Sets that never end, and maps of them, against their members in a stretch around zero."""

from __future__ import annotations

from random import Random

import pytest

from fieldwise.axes import AnySet, AxisMap, IndexSet, Tailed, since, until
from fieldwise.axes.lattice import NONE, Lattice
from fieldwise.axes.table import Table, Within
from fieldwise.axes.tailed import issubset, minkowski, tailed

NEAR, FAR = range(-30, 30), range(-130, 130)


def a_lattice(random: Random) -> Lattice:
    modulus = random.randint(1, 6)
    return Lattice(modulus, IndexSet.of(random.sample(range(modulus), random.randint(0, modulus))))


def a_set(random: Random) -> AnySet:
    if random.random() < 0.25:
        return IndexSet.of(random.sample(range(-8, 8), random.randint(0, 5)))
    low = random.randint(-6, 6)
    high = low + random.randint(0, 8)
    window = IndexSet.of(i for i in range(low, high) if random.random() < 0.5)
    left = a_lattice(random) if random.random() < 0.7 else NONE
    return tailed(left, low, window, high, a_lattice(random) if random.random() < 0.5 else NONE)


def a_map(random: Random) -> AxisMap[AnySet]:
    offsets = tuple(a_set(random) for _ in range(random.randint(1, 3)))
    return AxisMap(random.randint(-3, 4), offsets)


def held(indices: AnySet, span: range = NEAR) -> set[int]:
    return {index for index in span if index in indices}


@pytest.mark.parametrize("seed", range(8))
def test_sets_are_combined_and_moved_as_their_members_are(seed):
    random = Random(seed)
    for _ in range(60):
        one, two = a_set(random), a_set(random)
        mine, yours = held(one), held(two)
        assert held(one | two) == mine | yours
        assert held(one & two) == mine & yours
        assert held(one - two) == mine - yours
        assert issubset(one, two) == (mine <= yours)
        assert (one == two) == (mine == yours)
        by, factor = random.randint(-7, 7), random.choice([-4, -1, 2, 3])
        assert held(one.shift(by)) == {i for i in NEAR if i - by in one}
        scaled = held(one.scale(factor))
        assert scaled == {i for i in NEAR if i % factor == 0 and i // factor in one}
        step, remainder = random.randint(1, 5), random.randint(-9, 9)
        turns = held(one.quotients(step, remainder), range(-8, 8))
        assert turns == {q for q in range(-8, 8) if q * step + remainder in one}
        assert set(one.modulo(step)) == {i % step for i in held(one, FAR)}
        assert held(one.between(-9, 11)) == {i for i in range(-9, 11) if i in one}


@pytest.mark.parametrize("seed", range(8))
def test_sums_of_sets_are_the_sums_of_their_members(seed):
    random = Random(seed)
    for _ in range(20):
        one, two = a_set(random), a_set(random)
        mine, yours = held(one, FAR), held(two, FAR)
        assert held(minkowski(one, two)) == {
            i for i in NEAR if any(i - member in yours for member in mine)
        }


def test_ends_are_the_outermost_members_or_nothing():
    for seed in range(200):
        indices = a_set(Random(seed))
        if isinstance(indices, Tailed):
            members = held(indices)
            assert indices.first == (None if indices.left else min(members))
            assert indices.last == (None if indices.right else max(members))


@pytest.mark.parametrize("seed", range(8))
def test_maps_read_and_are_read_backwards_as_their_sets_say(seed):
    random = Random(seed)
    for _ in range(12):
        outer, inner = a_map(random), a_map(random)
        both = outer.then(inner)
        for index in range(-4, 5):
            middle = held(outer(index), FAR)
            read = set().union(*(held(inner(m), range(-10, 11)) for m in middle))
            assert held(both(index), range(-10, 11)) == read
        union = outer.union(inner)
        if union is not None:
            assert all(held(union(i)) == held(outer(i)) | held(inner(i)) for i in range(-9, 9))
            covered = all(issubset(inner(i), outer(i)) for i in range(-30, 30))
            assert outer.covers(inner) == covered
        some = IndexSet.of(random.sample(range(-5, 14), random.randint(0, 4)))
        reading = {i for i in range(15) if held(outer(i)) & set(some)}
        assert set(outer.push(some, 15)) == reading
        every = set().union(*(held(outer(i)) for i in range(-130, 130)))
        assert held(outer.swept()) == every


def test_maps_written_in_other_phases_are_equal():
    for seed in range(60):
        one = a_map(Random(seed))
        for turns in (2, 3):
            again = AxisMap(one.advance * turns, one.phases(one.period * turns))
            assert again == one
            assert hash(again) == hash(one)


@pytest.mark.parametrize("outputs", [0, 1, 5])
@pytest.mark.parametrize("law", [until(0), until(-1), since(1), until(0).scale(2)])
def test_within_an_axis_a_map_is_its_table(outputs, law):
    within = Within(AxisMap(1, (law,)), outputs, 4)
    table = Table(within.rows)
    assert len(within) == len(table) == outputs
    for indices in (IndexSet(), IndexSet.range(0, 3), IndexSet.of([1, 4])):
        assert within.pull(indices) == table.pull(indices)
        assert within.push(indices, outputs) == table.push(indices, outputs)
    assert within.reach(outputs) == table.reach(outputs)
    assert [within(i) for i in range(-1, 7)] == [table(i) for i in range(-1, 7)]


def test_a_chain_around_a_scan_stays_short():
    """Two taps five apart, every other position, all of the past: odd ones, then 3 and 5."""
    taps, every_other = AxisMap.window(2, dilation=5), AxisMap.window(1, stride=2)
    scan = AxisMap(1, (until(0),))
    chain = scan.then(every_other).then(taps)
    assert chain.period == 1
    assert str(chain(0)) == "{…1, 3, 5}"
