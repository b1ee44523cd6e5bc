"""Values of one row that is made of few: a frame by itself, a first sample.

The row is all of the value.  So it may be run at once, whatever an op reads of it, and it lies
along any dimension of size 1.  Where it is made of rows near the start, what broadcasts it waits
for nothing.  One row that is made of most of the axis is no such thing: what needs it waits for
all (see ``passes``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from torch import Tensor

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.graph.calls import replay
from fieldwise.graph.ir import Fixed, Node, Read, Separable, Shape
from fieldwise.tile.bands.follow import AxisPlace, Followed, follow_all, place_along
from fieldwise.tile.bands.kernels import Executor, Rows, Site
from fieldwise.tile.bands.kernels.replayed import check_draws_nothing
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.errors import Blocked

FIRST = AxisMap.constant(IndexSet.range(0, 1))
"""Every row of a result reads the first row."""


AxisShare = tuple[float, float]
"""What a value is made of: from where to where, in parts of the axis; an estimate."""


def share_of(reads: Sequence[tuple[AxisShare, RowReach]]) -> AxisShare:
    """What a result is made of: what each operand is, and how its rows are read.

    >>> share_of([((0.0, 1.0), RowReach.of_one(2, 8))])
    (0.25, 0.375)
    """
    found = []
    for (start, stop), reach in reads:
        rows = max(reach.size or 1, 1)
        first, last = reach.span(0, reach.count or 1)
        scale = (stop - start) / rows
        found.append((start + first * scale, start + last * scale))
    return min(start for start, _ in found), max(stop for _, stop in found)


def is_of_few(share: AxisShare) -> bool:
    """Whether one row that is made of this is not made of most of the axis."""
    start, stop = share
    return stop - start <= 3 / 4


def is_early(share: AxisShare) -> bool:
    """Whether it is made of what is near the start."""
    return share[1] <= 1 / 2


def seats(shape: Shape) -> list[AxisPlace]:
    """Where the only row of a value may lie: it is all of the value.

    >>> seats((1, 8, 1, 5)), seats((4, 8))
    ([AxisPlace(dim=0, lead=1), AxisPlace(dim=2, lead=1)], [AxisPlace(dim=0, lead=4)])
    """
    single = [AxisPlace(dim) for dim, size in enumerate(shape) if size == 1]
    return single or [AxisPlace(0, size) for size in shape[:1]]


def seated(
    reads: Sequence[Read],
    axis: AxisPlace,
    operand: Shape,
    result: Shape,
    target: AxisPlace | None,
) -> tuple[AxisPlace, Followed]:
    """Where the only row of an operand lies so that the result carries it on along ``target``.

    axis: where it lies as far as it was followed; target: None where nothing else tells it

    A place where the result has several rows comes first: there the rows go on.

    Raises Blocked where there is no such place.
    """
    found = list(_carried_on(reads, axis, operand, result, target))
    for seat, followed in found:
        if followed.axis.rows(result) > 1:
            return seat, followed
    if found and (target or found[0][0] == axis):
        return found[0]
    wanted = target or AxisPlace(axis.dim + len(result) - len(operand))
    if _broadcasts(reads, wanted, result):
        return axis, Followed(wanted, FIRST)
    if not found:
        raise Blocked("it reads one row in another way than the others")
    return found[0]


def _carried_on(
    reads: Sequence[Read], axis: AxisPlace, operand: Shape, result: Shape, target: AxisPlace | None
) -> Iterator[tuple[AxisPlace, Followed]]:
    """Every place of the row that the result carries on, ``axis`` first."""
    for seat in dict.fromkeys([axis, *seats(operand)]):
        with suppress(Blocked):
            found = follow_all(reads, seat, operand, result)
            if target in (None, found.axis):
                yield seat, found


def _broadcasts(reads: Sequence[Read], axis: AxisPlace, result: Shape) -> bool:
    """Whether rows along a dimension of the result do not differ in what they read."""
    if axis.lead > 1 or not 0 <= axis.dim < len(result) or result[axis.dim] == 1:
        return False
    with suppress(Blocked):
        return all(place_along(read, axis.dim, result) is None for read in reads)
    return False


def picked_row(node: Node, axis: AxisPlace, result: int) -> int | None:
    """The row of its operand that is a result of a node; None where it does something else."""
    if node.op not in ("select", "unbind") or axis.lead > 1 or len(node.operands) != 1:
        return None
    (step,) = node.reads[result][0].steps[-1:]
    coord = step.coords[axis.dim] if isinstance(step, Separable) else None
    if not isinstance(coord, Fixed) or coord.indices.count != 1:
        return None
    return coord.indices.first


def run_at_once(site: Site) -> Executor:
    """The call on the only rows of its operands.

    Raises Blocked where it draws random numbers.
    """
    check_draws_nothing(site)
    numbers = {number for number, _ in site.streamed}

    def run(rows: Rows, _lo: int, _hi: int) -> Sequence[Tensor]:
        given = [rows.inside(n, 0, 1) if n in numbers else None for n in range(len(site.links))]
        return replay(site.call, given)

    return Executor(run, whole=True)


def picking(site: Site, row: int) -> Executor:
    """One row of the only operand, without the dimension in which it lay."""
    number, link = site.single()

    def run(rows: Rows, _lo: int, _hi: int) -> Sequence[Tensor]:
        picked = rows.inside(number, row, row + 1).squeeze(link.dim)
        return [picked] * (site.result + 1)  # of which the last is taken

    return Executor(run)
