"""The layers that see a whole tiled axis: all of them, by name."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fieldwise.axes import Table
from fieldwise.field.closed import Closed
from fieldwise.graph.ir import Along, Coord, Graph, Node, Separable, Unknown, Whole
from fieldwise.tile.plan import TileError
from fieldwise.tile.stream.refusal import Refusal

Forms = Sequence[dict[str, Closed]]
"""Per input of a graph, the closed forms of its values."""


def refuse_global(graph: Graph, forms: Forms) -> None:
    """Raise TileError where an output may see a whole tiled axis, naming every such layer."""
    live = live_values(graph)
    refusals = [
        Refusal.of(node, why)
        for node in graph.nodes
        if not live.isdisjoint(node.results) and (why := _why(node, forms)) is not None
    ]
    seen = [found[output] for found in forms for output in graph.outputs if output in found]
    first = [name for closed in seen for name in closed.full_by if name is not None]
    if first and not refusals:
        refusals = [Refusal.of(node, _WHOLE) for node in graph.nodes if first[0] in node.results]
    if not refusals:
        return
    raise TileError(
        "Tiles cannot give what the whole image gives, because these layers see all of it",
        refusals,
        "Cut these layers off, or run the model on the whole image.",
    )


def _why(node: Node, forms: Forms) -> str | None:
    """Why a node sees a whole tiled axis, where it is one that does."""
    for read in (read for reads in node.reads for read in reads):
        operand, step = node.operands[read.operand], read.steps[0]
        for closed in (found[operand] for found in forms if operand in found):
            if isinstance(step, Separable):
                told = (_of_coord(step.coords[dim], closed, dim) for dim in _moving(closed))
                why = next((reason for reason in told if reason is not None), None)
                if why is not None:
                    return why
    return None


def _of_coord(coord: Coord, closed: Closed, dim: int) -> str | None:
    if isinstance(coord, Unknown):
        return coord.why
    if isinstance(coord, Whole):
        return _WHOLE
    if isinstance(coord, Along) and isinstance(coord.map, Table):
        size = prod(digit for digit, _ in closed.state.layout[dim])
        if size > 1 and max((row.extent for row in coord.map.rows), default=0) >= size:
            return "some of its positions read the whole axis"
    return None


def _moving(closed: Closed) -> set[int]:
    """The dimensions that follow a tiled axis, along local paths too."""
    return {
        track.digits[0][0]
        for product in (*closed.state.products, *closed.state.local)
        for track in product.tracks
        if track.digits and track.digits[0][1] == 0
    }


def live_values(graph: Graph) -> set[str]:
    """The values that some output depends on."""
    live = set(graph.outputs)
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.results):
            live.update(node.operands)
    return live


_WHOLE = "it reads the whole axis"
