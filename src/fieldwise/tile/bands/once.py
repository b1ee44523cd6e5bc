"""Nodes that run once, on rows near the start that are all of their operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from fieldwise.graph.ir import Node
from fieldwise.tile.bands.draft import ProgramDraft
from fieldwise.tile.bands.early import FIRST, picked_row, picking, run_at_once, seats
from fieldwise.tile.bands.kernels import Executor, Link, Site
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.errors import Blocked


def add_at_once(draft: ProgramDraft, node: Node) -> bool:
    """Make a node an op that runs once, on rows near the start that are all of its operands.

    False where it is no such node.
    """
    wanted = draft.wanted(node)
    streamed = {n: name for n, name in enumerate(node.operands) if name not in draft.fixed}
    if draft.endless or any(name not in draft.numbers for name in streamed.values()):
        return False
    shapes = [draft.graph.shape(name) for name in node.results]
    outputs = {*draft.graph.outputs}.intersection(node.results)
    if outputs or not all(seats(shapes[n]) for n in wanted):
        return False
    first = draft.streamed(next(iter(streamed.values())))
    picks = [(n, row) for n in wanted if (row := picked_row(node, first.axis, n)) is not None]
    with suppress(Blocked):
        if wanted and len(picks) == len(wanted):
            for n, row in picks:
                reach = RowReach.of_one(row, first.shape[first.dim])
                _add_once(draft, node, [n], reach, partial(picking, row=row))
        elif all(name in draft.alone for name in streamed.values()):
            _add_once(draft, node, wanted, RowReach.of_one(0, 1), run_at_once)
        else:
            return False
        return True
    return False


def _add_once(
    draft: ProgramDraft,
    node: Node,
    results: Sequence[int],
    reach: RowReach,
    made: Callable[[Site], Executor],
) -> None:
    """Make an op that runs once: these results of a node, from rows of each operand."""
    operands = [None if name in draft.fixed else draft.streamed(name) for name in node.operands]
    links = tuple(
        None if kind is None else Link(kind.axis, draft.graph.shape(name), FIRST, reach, kind.dtype)
        for name, kind in zip(node.operands, operands, strict=True)
    )
    shapes = tuple(draft.graph.shape(name) for name in node.results)
    first = next(kind.axis for kind in operands if kind is not None)
    axes = [(n, first if first in seats(shapes[n]) else seats(shapes[n])[0]) for n in results]
    [number, axis], *_ = axes
    site = Site(node, draft.call(node), number, shapes[number], axis, links, shapes)
    draft.add_kernel(node, site, made(site), axes)
