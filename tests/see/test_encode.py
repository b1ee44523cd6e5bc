"""What is written for the page says what it was written from."""

from __future__ import annotations

from hypothesis import given

from fieldwise.axes import AxisMap, IndexSet, Table
from fieldwise.axes.tailed import until
from fieldwise.see.encode import Encoder
from fieldwise.testing.strategies import axis_maps
from tests.see.asking import set_of
from tests.strategies import index_sets, tables


@given(index_sets)
def test_a_set_is_its_runs(indices):
    encoder = Encoder()
    assert set_of(encoder.tables()["sets"][encoder.set(indices)]) == indices


@given(axis_maps())
def test_a_map_is_its_advance_and_its_offsets(index):
    encoder = Encoder()
    number, made = encoder.map(index), encoder.tables()
    advance, offsets = made["maps"][number]
    assert AxisMap(advance, tuple(set_of(made["sets"][one]) for one in offsets)) == index


@given(tables)
def test_a_table_is_its_rows(table):
    encoder = Encoder()
    number, made = encoder.map(table), encoder.tables()
    assert Table(tuple(set_of(made["sets"][one]) for one in made["maps"][number]["rows"])) == table


def test_equal_sets_and_maps_are_written_once():
    encoder = Encoder()
    numbers = {encoder.map(AxisMap.window(3, padding=1)) for _ in range(3)}
    assert len(numbers) == len(encoder.tables()["sets"]) == 1


def test_a_set_without_an_end_has_its_tails():
    encoder = Encoder()
    made = encoder.tables()["sets"][encoder.set(until(3).scale(2))]
    assert (made["left"], made["right"], made["window"]) == ([2, [0]], [1, []], [])


def test_tables_beyond_the_budget_are_left_out():
    encoder = Encoder(table_numbers=300)
    rows = [tuple(IndexSet.of([i * i + shift]) for i in range(90)) for shift in range(3)]
    assert [encoder.map(Table(row)) is None for row in rows] == [False, True, True]
    assert encoder.map(AxisMap.window(3)) is not None
