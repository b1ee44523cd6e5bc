"""Which dimensions of a call's operand are the input's spatial axes.

Most tensors are laid out as the input is.  Others are not: a network may pad in (batch, height,
width, channels), fold the rows into the batch before a convolution over one axis, or convolve over
channels.  So the dimensions are followed through the graph, by descent (see ``field.closed``); only
where nothing is known of a call, as where a part runs alone, are they taken from its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fieldwise.field.closed import closed_forms
from fieldwise.field.state import ValueState, descent
from fieldwise.graph.graph import Graph

SpatialDims = tuple[int | None, ...]
"""Per dimension the axis of the input that it is, counted among the spatial ones; else None."""


def by_place(rank: int, spatial: int) -> SpatialDims:
    """The last ``spatial`` dimensions, in order.

    >>> by_place(4, 2)
    (None, None, 0, 1)
    """
    return (*[None] * (rank - spatial), *range(spatial))


def nowhere(rank: int) -> SpatialDims:
    """No dimension is spatial."""
    return (None,) * rank


def by_descent(
    graph: Graph, axes: Sequence[int], expected: Mapping[str, SpatialDims]
) -> dict[str, SpatialDims]:
    """What the dimensions of values follow.

    axes:     of the inputs, the spatial ones
    expected: the values asked about, and what their dimensions follow by their place, which counts
              where an op that is not supported (FFT) has lost the trace

    A dimension that holds two axes follows none.  Of several that share an axis it is the one with
    the leading digit: of space-to-depth the blocks, of windows their number and not what is inside.
    """
    rank = len(graph.shape(graph.inputs[0]))
    sources = [name for name in graph.inputs if len(graph.shape(name)) == rank]
    found = dict(expected)
    for source in reversed(sources):
        forms = closed_forms(graph, source, tuple(axes))
        for name, place in expected.items():
            if name in forms:
                found[name] = _followed(forms[name].state, axes, place)
    return found


def _followed(state: ValueState, axes: Sequence[int], place: SpatialDims) -> SpatialDims:
    masks = [descent(digits) for digits in state.layout]
    found: list[int | None] = [None] * len(masks)
    for number, axis in enumerate(axes):
        sharing = _leading(state, number) or [d for d, mask in enumerate(masks) if mask >> axis & 1]
        if not sharing:
            sharing = [dim for dim, mask in enumerate(masks) if place[dim] == number and not mask]
        if len(sharing) == 1 and masks[sharing[0]] in (0, 1 << axis):
            found[sharing[0]] = number
    return tuple(found)


def _leading(state: ValueState, number: int) -> list[int]:
    """The dimensions whose outermost digit is an axis's, which counts on without end."""
    tracks = (product.tracks[number] for product in state.local)
    return sorted({track.digits[0][0] for track in tracks if track.digits})
