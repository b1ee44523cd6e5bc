"""Which axes of an input are spatial, where a file does not say: where its windows slide."""

from __future__ import annotations

from dataclasses import replace

from fieldwise.axes import AxisMap
from fieldwise.field.closed import closed_forms
from fieldwise.field.rows import roles
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Node, Value
from fieldwise.graph.spatial import Axes, spatial_axes, usual_axes

_BATCH_AND_CHANNELS = 2


def reported_axes(graph: Graph, source: Value, axes: Axes | None) -> tuple[int, ...]:
    """The axes that were asked for, else the usual ones.

    A file may have channels last.  Of a graph that was read from one, the usual axes are those of
    the input along which its first window slides, if there is any.

    Raises UsageError as ``spatial_axes`` does.
    """
    if axes is None and graph.spelled is not None:
        return sliding_axes(graph, source) or usual_axes(len(source.shape))
    return spatial_axes(source, axes)


def sliding_axes(graph: Graph, source: Value) -> tuple[int, ...]:
    """The axes along which the first window of a network slides; none where it has no window."""
    place = next((n for n, node in enumerate(graph.nodes) if _is_window(node)), None)
    if place is None:
        return ()
    [name, *_] = graph.nodes[place].results
    start = replace(graph, nodes=graph.nodes[: place + 1], outputs=(name,), output_names=())
    return tuple(
        axis
        for axis, size in enumerate(source.shape)
        if size > 1 and _slides(start, source, axis, name)
    )


def _slides(graph: Graph, source: Value, axis: int, name: str) -> bool:
    """Whether an axis of the source runs along a spatial dimension of this value."""
    closed = closed_forms(graph, source.name, (axis,)).get(name)
    if closed is None:
        return False
    unit = roles(closed.state.layout, (axis,), len(source.shape)).unit
    return bool(unit) and min(unit) >= _BATCH_AND_CHANNELS


def _is_window(node: Node) -> bool:
    """Whether a node reads several neighbours for each element of its result."""
    return any(
        isinstance(coord, Along)
        and coord.dim >= _BATCH_AND_CHANNELS
        and isinstance(coord.map, AxisMap)
        and not coord.map.is_global
        and coord.map.count > 1
        for reads in node.reads
        for read in reads
        for coord in read.coords()
    )
