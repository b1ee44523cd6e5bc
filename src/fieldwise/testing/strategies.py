"""Hypothesis strategies for the axis algebra: ``pip install 'fieldwise[testing]'``."""

from __future__ import annotations

from hypothesis import strategies as st

from fieldwise.axes import AxisMap, IndexSet, Region, Table
from fieldwise.axes.region import Shape


def index_sets(
    *, min_size: int = 0, max_size: int = 20, low: int = -60, high: int = 60
) -> st.SearchStrategy[IndexSet]:
    """Sets of so many integers from ``low`` to ``high``, holes and negative ones included."""
    members = st.sets(st.integers(low, high), min_size=min_size, max_size=max_size)
    return members.map(IndexSet.of)


def offsets(reach: int = 6, max_size: int = 4) -> st.SearchStrategy[IndexSet]:
    """What one phase of a map reads: a few integers around zero."""
    return index_sets(max_size=max_size, low=-reach, high=reach)


@st.composite
def axis_maps(draw: st.DrawFn, *, max_period: int = 4, max_advance: int = 4) -> AxisMap:
    """Any quasi-affine map: empty phases, negative and zero advances included."""
    phases = draw(st.lists(offsets(), min_size=1, max_size=max_period))
    return AxisMap(draw(st.integers(-max_advance, max_advance)), tuple(phases))


def tables(*, rows: int = 8, low: int = -3, high: int = 9) -> st.SearchStrategy[Table]:
    """Tables: what each of a few indices reads, without any order in it."""
    row = st.sets(st.integers(low, high), max_size=4)
    return st.lists(row, max_size=rows).map(lambda found: Table.of([sorted(r) for r in found]))


def shapes(*, max_rank: int = 3, max_size: int = 4) -> st.SearchStrategy[Shape]:
    """Small shapes without empty dimensions."""
    return st.lists(st.integers(1, max_size), min_size=1, max_size=max_rank).map(tuple)


@st.composite
def regions(draw: st.DrawFn, shape: Shape, *, products: int = 4) -> Region:
    """A union of up to so many products within a shape."""
    sides = [index_sets(low=0, high=size - 1, max_size=size) for size in shape]
    return Region.of(draw(st.lists(st.tuples(*sides), max_size=products)))
