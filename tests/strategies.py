"""Hypothesis strategies for the axis algebra, beside those that ``fieldwise.testing`` publishes."""

from __future__ import annotations

from hypothesis import strategies as st

from fieldwise.axes import AxisMap, Border, IndexSet
from fieldwise.testing import strategies
from fieldwise.testing.strategies import axis_maps, offsets
from fieldwise.testing.strategies import regions as regions

integers = st.integers(-60, 60)
index_sets = strategies.index_sets()
some_index_sets = strategies.index_sets(min_size=1)
borders = st.sampled_from(Border)
tables = strategies.tables()
shapes = strategies.shapes()


@st.composite
def large_index_sets(draw: st.DrawFn) -> IndexSet:
    """Sets of many members, where the quick paths of IndexSet are taken."""
    start = draw(st.integers(-500, 500))
    return IndexSet.of(
        start + index for index in draw(st.sets(st.integers(0, 400), min_size=64, max_size=120))
    )


@st.composite
def pairs_of_equal_rate(draw: st.DrawFn) -> tuple[AxisMap, AxisMap]:
    """Two maps that agree in advance per output, with different periods as a rule."""
    one = draw(axis_maps(max_period=3))
    turns = draw(st.integers(1, 3))
    other = list(one.phases(one.period * turns))
    phase = draw(st.integers(0, len(other) - 1))
    other[phase] = draw(offsets())
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
