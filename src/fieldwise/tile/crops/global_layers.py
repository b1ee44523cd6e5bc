"""The layers that see a whole tiled axis: all of them, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fieldwise.axes import Table
from fieldwise.field.closed import Closed
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Coord, Node, Read, Separable, Unknown, Whole
from fieldwise.graph.live import live_values
from fieldwise.tile.errors import TileError, reason

Forms = Sequence[dict[str, Closed]]
"""Per input of a graph, the closed forms of its values."""

MovingDims = Mapping[str, set[int]]
"""Per value, the dimensions that follow a tiled axis."""


def refuse_global(graph: Graph, forms: Forms) -> None:
    """Raise TileError where an output may see a whole tiled axis, naming every such layer."""
    live = live_values(graph)
    moving = _moving(graph, forms)
    refusals = [
        reason(node, why)
        for node in graph.nodes
        if not live.isdisjoint(node.results) and (why := _why(graph, node, moving)) is not None
    ]
    seen = [found[output] for found in forms for output in graph.outputs if output in found]
    first = [name for closed in seen for name in closed.full_by if name is not None]
    if first and not refusals:
        refusals = [reason(node, _WHOLE) for node in graph.nodes if first[0] in node.results]
    if not refusals:
        return
    raise TileError(
        "Tiles cannot give what the whole image gives, because these layers see all of it",
        refusals,
        "Cut these layers off, or run the model on the whole image.",
    )


def _why(graph: Graph, node: Node, moving: MovingDims) -> str | None:
    """Why a node sees a whole tiled axis, where it is one that does."""
    for read in (read for reads in node.reads for read in reads):
        operand, step = node.operands[read.operand], read.steps[0]
        if isinstance(step, Separable):
            shape = graph.shape(operand)
            told = (_of_coord(step.coords[dim], shape[dim]) for dim in moving.get(operand, ()))
            why = next((reason for reason in told if reason is not None), None)
            if why is not None:
                return why
    return None


def _of_coord(coord: Coord, size: int) -> str | None:
    if isinstance(coord, Unknown):
        return coord.why
    if isinstance(coord, Whole):
        return _WHOLE
    table = coord.map if isinstance(coord, Along) else None
    if isinstance(table, Table) and max((row.extent for row in table.rows), default=0) >= size > 1:
        return "some of its positions read the whole axis"
    return None


# -------------------------------------------------------------------- what follows a tiled axis


def _moving(graph: Graph, forms: Forms) -> MovingDims:
    """The dimensions of every value that follow a tiled axis, behind global layers too.

    Where the closed form knows no position any more, a dimension follows one of an operand that
    it is read along, or that is as long and is read whole (a normalised map).
    """
    found: dict[str, set[int]] = {}
    for name in graph.inputs:
        found[name] = _bounded(name, forms)
    for node in graph.nodes:
        for name, reads in zip(node.results, node.reads, strict=True):
            found[name] = _bounded(name, forms) or {
                dim for read in reads for dim in _through(graph, node, read, name, found)
            }
    return found


def _bounded(name: str, forms: Forms) -> set[int]:
    """By the closed form, along local paths too."""
    states = [found[name].state for found in forms if name in found]
    return {
        track.digits[0][0]
        for state in states
        for product in (*state.products, *state.local)
        for track in product.tracks
        if track.digits and track.digits[0][1] == 0
    }


def _through(graph: Graph, node: Node, read: Read, name: str, found: MovingDims) -> Iterator[int]:
    operand, step = node.operands[read.operand], read.single
    if step is None:
        return
    for dim in found.get(operand, ()):
        coord = step.coords[dim]
        if isinstance(coord, Along):
            yield coord.dim
        elif graph.shape(operand) == graph.shape(name):
            yield dim


_WHOLE = "it reads the whole axis"
