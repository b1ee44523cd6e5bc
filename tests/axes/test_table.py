"""Table and index_map against plain lists of sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.axes import AxisMap, IndexSet, Table, index_map
from tests.strategies import index_sets, tables


@given(tables, st.integers(-3, 12))
def test_a_table_reads_its_rows_and_nothing_beyond_them(table, index):
    inside = 0 <= index < len(table.rows)
    assert table(index) == (table.rows[index] if inside else IndexSet())


@given(tables, index_sets)
def test_pull_gathers_the_rows(table, outputs):
    expected = {i for output in outputs for i in table(output)}
    assert set(table.pull(outputs)) == expected


@given(tables, index_sets, st.integers(0, 10))
def test_push_finds_the_rows_that_touch(table, inputs, size):
    expected = {i for i in range(size) if set(table(i)) & set(inputs)}
    assert set(table.push(inputs, size)) == expected


@given(tables, st.integers(0, 10))
def test_reach_spans_everything_read(table, size):
    read = {i for output in range(size) for i in table(output)}
    assert table.reach(size) == (range(min(read), max(read) + 1) if read else range(0))


@given(tables)
def test_a_table_is_single_when_no_row_has_two_indices(table):
    assert table.is_single == all(row.count <= 1 for row in table.rows)
    assert not table.is_identity


def test_two_neighbours_are_not_a_single_index():
    assert not Table.of([[0], [0, 1]]).is_single
    assert Table.of([[0], [], [5]]).is_single


@pytest.mark.parametrize("index", [0, 3, -2])
def test_one_row_alone_is_taken_to_move_with_the_output(index):
    assert index_map([IndexSet.of([index])]) == AxisMap.affine(1, index)


@given(tables)
def test_index_map_reads_the_same_as_its_rows(table):
    found = index_map(table.rows)
    assert all(found(index) == row for index, row in enumerate(table.rows))


@given(st.integers(-3, 3), index_sets, st.integers(2, 8))
def test_rows_that_advance_evenly_become_an_axis_map(step, first, count):
    rows = [first.shift(step * index) for index in range(count)]
    found = index_map(rows)
    assert isinstance(found, AxisMap)
    assert found == AxisMap(step, (first,))


def test_rows_that_do_not_advance_evenly_stay_a_table():
    rows = [IndexSet.of(row) for row in ([0], [1], [3])]
    assert index_map(rows) == Table(tuple(rows))


def test_no_rows_at_all_read_nothing():
    assert index_map([])(0) == IndexSet()


def test_the_repr_shows_four_rows_and_how_many_there_are():
    four = Table.of([[0], [2], [3, 4], []])
    rows = "IndexSet{0}, IndexSet{2}, IndexSet{3..4}, IndexSet{}"
    assert repr(four) == f"Table({rows}: 4 rows)"
    assert repr(Table((*four.rows, IndexSet()))) == f"Table({rows}, …: 5 rows)"


def test_the_print_gives_the_number_of_rows():
    assert str(Table.of([[0], [2], [3]])) == "table of 3"
