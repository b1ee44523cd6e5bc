"""Hypothesis strategies for the axis algebra."""

from __future__ import annotations

from hypothesis import strategies as st

from fieldwise.axes import AxisMap, Border, IndexSet, Region, Table

integers = st.integers(-60, 60)
index_sets = st.sets(integers, max_size=20).map(IndexSet.of)
some_index_sets = st.sets(integers, min_size=1, max_size=20).map(IndexSet.of)
borders = st.sampled_from(Border)


@st.composite
def large_index_sets(draw: st.DrawFn) -> IndexSet:
    """Sets of many members, where the quick paths of IndexSet are taken."""
    start = draw(st.integers(-500, 500))
    return IndexSet.of(
        start + index for index in draw(st.sets(st.integers(0, 400), min_size=64, max_size=120))
    )


@st.composite
def axis_maps(draw: st.DrawFn, *, max_period: int = 4) -> AxisMap:
    """Any quasi-affine map: empty phases, negative and zero advances included."""
    offsets = st.lists(
        st.sets(st.integers(-6, 6), max_size=4).map(IndexSet.of), min_size=1, max_size=max_period
    )
    return AxisMap(draw(st.integers(-4, 4)), tuple(draw(offsets)))


@st.composite
def pairs_of_equal_rate(draw: st.DrawFn) -> tuple[AxisMap, AxisMap]:
    """Two maps that agree in advance per output, with different periods as a rule."""
    one = draw(axis_maps(max_period=3))
    turns = draw(st.integers(1, 3))
    other = list(one.phases(one.period * turns))
    phase = draw(st.integers(0, len(other) - 1))
    other[phase] = draw(st.sets(st.integers(-6, 6), max_size=4).map(IndexSet.of))
    return one, AxisMap(one.advance * turns, tuple(other))


@st.composite
def windows(draw: st.DrawFn) -> dict[str, int]:
    """The geometry of a convolution."""
    return {
        "kernel_size": draw(st.integers(1, 6)),
        "stride": draw(st.integers(1, 4)),
        "dilation": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, 5)),
    }


tables = st.lists(st.sets(st.integers(-3, 9), max_size=4), max_size=8).map(
    lambda rows: Table.of([sorted(row) for row in rows])
)

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, ...]) -> Region:
    """A union of up to four products within a shape."""
    sides = [st.sets(st.integers(0, size - 1)).map(IndexSet.of) for size in shape]
    return Region.of(draw(st.lists(st.tuples(*sides), max_size=4)))
