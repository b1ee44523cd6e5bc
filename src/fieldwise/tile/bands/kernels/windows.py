"""Whether a call may be made on some rows and those around them, and what is cut off then.

It may where four things hold: rows of the result read windows of its operands that come back after
a period; on one period of rows more, the op's rule says that it reads by the same map; the call,
made without data, gives one period of rows more then; and no constant differs from row to row.  So
the call on rows that start at a whole period gives rows of the whole, if those read nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fieldwise.axes import EMPTY, AxisMap, Border, IndexSet
from fieldwise.capture.torch.rereading import Reread, reread
from fieldwise.graph.calls import opened, replay
from fieldwise.graph.ir import Call, Read, Separable
from fieldwise.tile.bands.follow import by_operand, follow_all, place_along
from fieldwise.tile.bands.kernels.constants import POSITIONAL
from fieldwise.tile.bands.kernels.local import shapes_of
from fieldwise.tile.bands.kernels.registry import Executor, Rows, Site
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.errors import Blocked

_OTHER_ROWS = "a row of its result reads other rows than itself"


def windowed(site: Site) -> Executor:
    """The call on the rows at hand and those around them.

    Raises Blocked where it may not be made on a part of the rows.
    """
    index, border = _window(site)
    if any(read.kind.combines == "place" for read in site.node.reads[site.result]):
        raise Blocked("it gives positions, which count from the first row")
    call, constants = opened(site.call, len(site.links))
    _check_one_period_more(site, call, constants, index)
    reach = _reach(site, index, border)
    _check_first_row_alone(site, call, constants, reach)
    period, advance = index.period, index.advance

    def made(given: Sequence[Tensor | None], start: int, lo: int, hi: int) -> Tensor:
        result = replay(call, [*given, *constants])[site.result]
        first = start // advance * period
        return site.axis.cut(result, lo - first, hi - first)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = reach.span(lo, hi)
        return (made(site.operands(rows, start, stop), start, lo, hi),)

    return Executor(run, reaches=tuple((number, reach) for number, _ in site.streamed))


def _window(site: Site) -> tuple[AxisMap, Border]:
    """By which map rows read their operands, all of them together, and what lies outside.

    Raises Blocked where that is no window which moves on.
    """
    links = [link for _, link in site.streamed]
    borders = {link.reach.border for link in links if not link.map.is_identity} or {Border.DROP}
    index: AxisMap | None = AxisMap.constant(EMPTY)
    for link in links:
        index = index.union(link.map) if index and isinstance(link.map, AxisMap) else None
    if index is None or index.advance <= 0 or not all(index.offsets):
        raise Blocked(_OTHER_ROWS)
    if len(borders) > 1 or len({link.rows for link in links}) > 1:
        raise Blocked(_OTHER_ROWS)
    (border,) = borders
    if border not in (Border.DROP, Border.WRAP) and index.advance > 1:
        raise Blocked(_OTHER_ROWS)
    return index, border


# -------------------------------------------------------------------- one period of rows more


def _check_one_period_more(
    site: Site, call: Call, constants: Sequence[Tensor], index: AxisMap
) -> None:
    """Raise Blocked where the call on one period of rows more is not known to do the same."""
    given = site.with_rows(site.streamed[0][1].rows + index.advance)
    shapes = [() if one is None else tuple(one.shape) for one in given]
    results = shapes_of(call, [*given, *(constant.to("meta") for constant in constants)])
    if results[site.result] != site.band(site.rows + index.period):
        raise Blocked("it gives as many rows whatever it is given")
    found = reread(site.call, operands=shapes, results=results)
    if found is None or not _reads_alike(site, found, shapes, results[site.result]):
        raise Blocked(f"{_OTHER_ROWS}, and which depends on how many there are")


def _check_first_row_alone(
    site: Site, call: Call, constants: Sequence[Tensor], reach: RowReach
) -> None:
    """Raise Blocked where the call cannot be made on no more than what the first row reads."""
    start, stop = reach.span(0, 1)
    given = site.with_rows(stop - start)
    shapes_of(call, [*given, *(constant.to("meta") for constant in constants)])


def _reads_alike(
    site: Site, found: Reread, shapes: Sequence[Sequence[int]], result: tuple[int, ...]
) -> bool:
    """Whether every operand is read as it is at the real size, and no constant row by row."""
    reads = by_operand(found.reads[site.result])
    for number, mine in reads.items():
        if number >= len(site.links) and any(
            place_along(read, site.dim, result) is not None for read in mine
        ):
            raise Blocked(POSITIONAL)
    for number, link in site.streamed:
        mine = reads.get(number, [])
        if any(_is_guarded(read, site.dim) for read in mine):
            raise Blocked("it treats rows by their position along the axis")
        again = follow_all(mine, link.axis, tuple(shapes[number]), result)
        if (again.axis, again.map, again.border) != (site.axis, link.map, link.reach.border):
            return False
    return True


def _is_guarded(read: Read, dim: int) -> bool:
    """Whether some rows of the result may read nothing because of where they are."""
    steps = [step for step in read.steps if isinstance(step, Separable)]
    return any(place == dim or len(read.steps) > 1 for step in steps for place, _ in step.where)


def _reach(site: Site, index: AxisMap, border: Border) -> RowReach:
    """The rows of a window and those back to where its period begins; where one reads
    ahead, as many more, so that at the end of the input there is a whole window.

    Raises Blocked where that is nothing for the first row or the last.
    """
    ((_, link), *_) = site.streamed
    advance = index.advance
    beyond = -(-max(0, *(offsets.last for offsets in index.offsets)) // advance)

    def opened(offsets: IndexSet) -> IndexSet:
        turn = min(offsets.first // advance, 0) - beyond
        return IndexSet.range(turn * advance, max(offsets.last, 0) + 1)

    wide = AxisMap(advance, tuple(map(opened, index.offsets)))
    reach = RowReach.of(wide, border, size=link.rows, count=site.rows)
    for row in (0, site.rows - 1):
        start, stop = reach.span(row, row + 1)
        if start == stop:
            raise Blocked("some of its rows read nothing")
    return reach.opened() if site.endless else reach
