"""How the results of a node are run on bands: how rows reach each of them, and by which kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fieldwise.graph.calls import arguments, constants_of
from fieldwise.graph.ir import Call, Node, Read, Reshape, Shape
from fieldwise.tile.bands.draft import ProgramDraft
from fieldwise.tile.bands.early import FIRST, seated
from fieldwise.tile.bands.follow import AxisPlace, by_operand, follow_all
from fieldwise.tile.bands.kernels import FOLDED, Executor, Link, Site, find_maker, replayed
from fieldwise.tile.bands.kernels.layout import reshaped
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.bands.weighing import RELATES
from fieldwise.tile.errors import Blocked


def made_of(draft: ProgramDraft, node: Node) -> list[tuple[int, Site, Executor]]:
    """How each result that is read is run; made once for all programs where every operand is
    streamed.
    """
    wanted = draft.wanted(node)
    if any(name in draft.fixed for name in node.operands):
        return _newly_made(draft, node, wanted)
    axes = tuple(draft.streamed(name).axis for name in node.operands)
    alone = tuple(draft.alone.get(name) for name in node.operands)
    key = (id(node), tuple(wanted), axes, alone)
    if key not in draft.made:
        draft.made[key] = _newly_made(draft, node, wanted)
    return draft.made[key]


def _newly_made(
    draft: ProgramDraft, node: Node, wanted: Sequence[int]
) -> list[tuple[int, Site, Executor]]:
    call = draft.call(node)
    return [(result, *_made(draft, node, call, result)) for result in wanted]


def _made(draft: ProgramDraft, node: Node, call: Call, result: int) -> tuple[Site, Executor]:
    if any(tensor.is_meta for tensor in constants_of(call)):
        raise Blocked(
            "a constant of it was made on the meta device, and has no values", even_whole=True
        )
    shape = draft.graph.shape(node.results[result])
    links: dict[int, Link] = {}
    axis: AxisPlace | None = None
    reads = by_operand(node.reads[result])
    numbers = [n for n, name in enumerate(node.operands) if name not in draft.fixed]
    for number in sorted(numbers, key=lambda n: node.operands[n] in draft.alone):
        links[number], found = _link(draft, node, shape, number, reads.get(number, []), axis)
        if axis not in (None, found):
            raise RelatesError(RELATES)
        axis = found
    assert axis is not None
    shapes = tuple(map(draft.graph.shape, node.results))
    given = tuple(links.get(number) for number in range(len(node.operands)))
    site = Site(node, call, result, shape, axis, given, shapes, draft.laws)
    return site, _executor(site)


def _link(
    draft: ProgramDraft,
    node: Node,
    shape: Shape,
    number: int,
    reads: Sequence[Read],
    target: AxisPlace | None,
) -> tuple[Link, AxisPlace]:
    """How an operand reaches a result, and where that carries the axis on.

    target: where it does for the operands before; None for the first
    """
    name = node.operands[number]
    operand, full = draft.streamed(name), draft.graph.shape(name)
    axis = operand.axis
    if name in draft.alone:
        axis, found = seated(reads, axis, full, shape, target)
        if found.map is FIRST and target and not draft.alone[name]:
            raise Blocked("it needs a row that is made of late ones")
        if found.map is FIRST:
            reach = RowReach.of_one(0, 1, count=found.axis.rows(shape))
            return Link(axis, full, FIRST, reach, operand.dtype, spread=True), found.axis
    else:
        found = follow_all(reads, axis, full, shape)
    rows, size = found.axis.rows(shape), axis.rows(full)
    cuts = node.op not in _UNCUT or bool(arguments(node).get("transposed"))
    reach = RowReach.of(found.map, found.border, size=size, count=rows, cuts=cuts)
    if draft.endless:
        scans = any(read.kind.scans for read in reads)
        reach = replace(reach, size=None, count=None) if scans else reach.opened()
    return Link(axis, full, found.map, reach, operand.dtype), found.axis


class RelatesError(Blocked):
    """Raised where the rows of a result's operands lie along different dimensions of it."""


def _executor(site: Site) -> Executor:
    """The kernel of a site's op, else its call made again.  Raises Blocked where neither goes."""
    (*_, read) = site.node.reads[site.result] or (None,)
    if read is not None and read.steps == (Reshape(),) and site.node.op == "reshape":
        return reshaped(site)
    maker = None if site.is_folded and site.node.op not in FOLDED else find_maker(site.node.op)
    return (maker or replayed)(site)


_UNCUT = ("conv", "max_pool", "avg_pool", "unfold", "reshape", "pixel_unshuffle")
"""Kernels that make a row of every window that fits: how many rows an op makes of a longer operand
is a fact of the op, which its reads at one size do not tell."""
