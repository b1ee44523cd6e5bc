"""Whether a call may be made on fewer rows, and what of its constants belongs to these rows.

It may where three things hold: every row reads the same row of each operand and nothing else along
the axis, constants counted as operands; the call, made without data on one row fewer, gives one
row fewer; and no row is told apart by its position.  Constants are asked for with their values
unknown, so that an argument which knows positions by itself (``is_causal``) shows in how the op
would read them, while one whose values vary from row to row (a mask) is cut with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch._ops import OpOverload

from fieldwise.capture.torch.overloads import on_device, tensors_of, with_out
from fieldwise.capture.torch.rereading import reread
from fieldwise.capture.torch.results import META, run_on_meta
from fieldwise.errors import said_by
from fieldwise.graph.calls import constants_of, opened, replay
from fieldwise.graph.ir import Args, Call, Kwargs, Read, Shape, Unknown
from fieldwise.tile.bands.follow import follow, place_along
from fieldwise.tile.bands.kernels.constants import ConstantRows, RowTable
from fieldwise.tile.bands.kernels.pieces import by_pieces
from fieldwise.tile.bands.kernels.registry import Executor, Link, Rows, Site, without_data
from fieldwise.tile.bands.kernels.rooms import Operands, RoomWriter
from fieldwise.tile.errors import Blocked

_FEW = 4
"""Rows on which an op shows whether it writes where it is asked to."""


@dataclass(frozen=True, slots=True)
class _Constant:
    """A constant of a call; a table where it lies along the rows of the result."""

    tensor: Tensor
    table: RowTable | None

    @classmethod
    def of(cls, site: Site, tensor: Tensor, dim: int | None) -> _Constant:
        """Raises Blocked for rows that differ where nobody knows how many there will be."""
        if dim is None:
            return cls(tensor, None)
        table = RowTable.of(tensor, replace(site.axis, dim=dim), site.laws)
        return cls(table.tensor, table)

    def with_rows(self, rows: int) -> Tensor:
        """The same with so many rows, without data."""
        if self.table is None:
            return self.tensor.to("meta")
        shape = self.table.axis.sized(tuple(self.tensor.shape), rows)
        return without_data(shape, self.tensor.dtype)

    def rows(self, by: ConstantRows, lo: int, hi: int) -> Tensor:
        """What of it belongs to the rows [lo, hi)."""
        return self.tensor if self.table is None else self.table.rows(by, lo, hi)


def local(site: Site, *, dense: bool = False) -> Executor:
    """The call on the rows at hand; ``dense``: on contiguous copies of them.

    Raises Blocked where it may not be made on fewer rows.
    """
    rows_read_themselves(site)
    call, constants = _opened(site)
    _check_one_row_fewer(site, call, constants)
    return _executor(site, call, constants, dense=dense)


def local_beside(site: Site) -> Executor:
    """The same of a call whose maker has seen that none of its constants lies along the rows."""
    rows_read_themselves(site)
    _check_one_row_fewer(site, site.call, [])
    return _executor(site, site.call, [])


def element_wise(site: Site) -> Executor:
    """The same of a call that is element-wise by torch's word; constants line up with its result.

    Raises Blocked where a row of an operand is not the result's.
    """
    rows_read_themselves(site)
    aligned = [
        _Constant.of(site, t, _aligned(site, t))
        for t in tensors_of(site.call.args, site.call.kwargs)
    ]
    if all(constant.table is None for constant in aligned):
        return _executor(site, site.call, [])
    return _executor(site, opened(site.call, len(site.links))[0], aligned)


def rows_read_themselves(site: Site) -> None:
    """Raise Blocked where a row of the result reads another row of an operand."""
    for link in site.links:
        if link is not None and not link.keeps(site.rows):
            raise Blocked("a row of its result reads other rows than itself")


def _executor(
    site: Site, call: Call, constants: Sequence[_Constant], *, dense: bool = False
) -> Executor:
    overload = with_out(call.target) if isinstance(call.target, OpOverload) else None
    writer = None if overload is None else RoomWriter(call, overload)
    apart = [(number, link) for number, link in site.streamed if not link.spread]

    def given(rows: Rows, lo: int, hi: int) -> list[Tensor | None]:
        known = (constant.rows(rows.constant, lo, hi) for constant in constants)
        found = [*site.operands(rows, lo, hi), *known]
        if dense:
            found = [None if tensor is None else tensor.contiguous() for tensor in found]
        return found

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        if rows.room is None or writer is None:
            return replay(call, given(rows, lo, hi))

        def write(start: int, stop: int, room: Tensor) -> None:
            def few() -> tuple[Operands, Tensor]:
                some = min(stop - start, _FEW)
                return given(rows, start, start + some), room.narrow(site.dim, 0, some)

            writer.write(given(rows, start, stop), room, few=None if rows.recorded else few)

        return (by_pieces(rows, apart, site.dim, lo, hi, write),)

    return Executor(run, whole=True, pieces=writer is not None)


def _aligned(site: Site, constant: Tensor) -> int | None:
    """The dimension of a broadcast constant that lies along the rows of the result, if any."""
    dim = site.dim - len(site.shape) + constant.dim()
    size = site.shape[site.dim]
    return dim if dim >= 0 and constant.shape[dim] == size and site.rows > 1 else None


# -------------------------------------------------------------------- what the rule says


def _opened(site: Site) -> tuple[Call, list[_Constant]]:
    """The call with a ``Ref`` for its constants too, and these.

    Raises Blocked where a tensor is not read row by row.
    """
    shapes = [() if link is None else link.shape for link in site.links]
    found = reread(site.call, operands=shapes, results=site.shapes)
    if found is None:
        if constants_of(site.call):
            raise Blocked("how it reads its constants is not known")
        return site.call, []
    reads = found.reads[site.result]
    for number, link in enumerate(site.links):
        mine = [read for read in reads if read.operand == number]
        if link is not None and not all(_keeps_rows(site, link, read) for read in mine):
            raise Blocked("a row of its result reads other rows than itself")
    asks = all(read.kind.combines == "asked" for read in reads if read.operand < len(shapes))
    constants = list[_Constant]()
    for number, tensor in enumerate(found.constants, start=len(shapes)):
        mine = [read for read in reads if read.operand == number]
        if not asks and any(isinstance(coord, Unknown) for r in mine for coord in r.coords()):
            raise Blocked("it is not known which rows of a constant it reads")
        constants.append(_Constant.of(site, tensor, _place(site, mine)))
    return found.call, constants


def _keeps_rows(site: Site, link: Link, read: Read) -> bool:
    """Whether a row of the result reads the operand's row of the same number, values unknown."""
    if len(read.steps) == 1 or link.spread:
        place = None if link.spread else link.dim
        return place_along(read, site.dim, site.shape) == place or site.rows == 1
    found = follow(read, link.axis, link.shape, site.shape)
    return found.axis == site.axis and found.map.is_identity


def _place(site: Site, reads: Sequence[Read]) -> int | None:
    """The dimension of what is read that lies along the rows."""
    places = {place_along(read, site.dim, site.shape) for read in reads}
    if len(places) > 1:
        raise Blocked("it reads one tensor in different ways")
    return places.pop() if places else None


# -------------------------------------------------------------------- one row fewer


def _check_one_row_fewer(site: Site, call: Call, constants: Sequence[_Constant]) -> None:
    """Raise Blocked where the call without data, on one row fewer, gives no row fewer."""
    fewer = site.rows - 1
    if fewer < 1:
        return
    given = site.with_rows(fewer)
    given += [constant.with_rows(fewer) for constant in constants]
    if shapes_of(call, given)[site.result] != site.band(fewer):
        raise Blocked("it gives as many rows whatever it is given")


def shapes_of(call: Call, given: Sequence[Tensor | None]) -> list[Shape]:
    """The shapes of what a call makes of tensors without data.

    Raises Blocked where torch refuses to make it.
    """
    try:
        return [tuple(one.shape) for one in replay(call, given, by=_on_meta)]
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        why = f"it cannot be run on fewer rows than it was made for ({said_by(error)})"
        raise Blocked(why) from None


def _on_meta(target: OpOverload, args: Args, kwargs: Kwargs) -> object:
    return run_on_meta(target, *on_device(META, args, kwargs))
