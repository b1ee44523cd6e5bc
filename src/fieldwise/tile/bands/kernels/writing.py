"""Writes at places of a value (x[:, 1:4] = y, triangles), as the functional call recorded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fieldwise.capture.torch.calls import WriteThrough
from fieldwise.graph.calls import rebind, replay, target_name
from fieldwise.graph.ir import Ref
from fieldwise.tile.bands.kernels.constants import POSITIONAL, RowTable
from fieldwise.tile.bands.kernels.local import local_beside
from fieldwise.tile.bands.kernels.registry import Executor, Rows, Site, executor
from fieldwise.tile.bands.kernels.replayed import replayed
from fieldwise.tile.errors import Blocked


@executor("slice_scatter")
def _slice_scatter(site: Site) -> Executor:
    """``value`` in place of every ``step``-th row from ``start`` on, ``base`` elsewhere."""
    write = site.call.target
    if not isinstance(write, WriteThrough) or target_name(write.view.target) != "slice":
        raise Blocked("it writes through a view in a way that is not known")
    given = write.view.args
    _, dim, begin, end, step = given + (None, 0, None, None, 1)[len(given) :]
    dim %= len(site.shape)
    start, stop, step = slice(begin, end, step).indices(site.shape[dim])
    along = dim == site.dim
    if along and site.endless:
        raise Blocked("where it writes depends on the total length")
    value, base = (*site.call.args, None)[:2]
    value, base = (_cuttable(site, one) for one in (value, base))

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        if not along:
            written = _rows(rows, value, lo, hi)
            whole = _whole(rows, site, base, written, lo, hi)
            _cut(whole, dim, slice(start, stop, step)).copy_(written)
            return (whole,)
        first = max(-(-(lo - start) // step), 0)
        last = max(-(-(min(hi, stop) - start) // step), first)
        written = _rows(rows, value, first, last)
        whole = _whole(rows, site, base, written, lo, hi)
        at = start + first * step - lo
        if last > first:
            _cut(whole, dim, slice(at, at + (last - first - 1) * step + 1, step)).copy_(written)
        return (whole,)

    return Executor(run)


@executor("index_put")
def _index_put(site: Site) -> Executor:
    """Writes at constant indices of other axes; what is written is one number, or has the rows."""
    indices, values = site.given["indices"], site.given["values"]
    if any(isinstance(index, Ref) for index in indices):
        raise Blocked("where it writes depends on the data")
    if site.dim < len(indices) and indices[site.dim] is not None:
        return _put_rows(site)
    if isinstance(values, Tensor) and values.numel() > 1:
        raise Blocked("how the constant that it writes lies along the rows is not known")
    return local_beside(site)


def _put_rows(site: Site) -> Executor:
    """Writes of one number at constant places of the streamed axis: those in the band."""
    number, _ = site.only("self")
    values = site.given["values"]
    if site.endless:
        raise Blocked(POSITIONAL)
    if not isinstance(values, Tensor) or values.numel() != 1:
        raise Blocked("it writes several values at places of the streamed axis")
    dims, entries = _places(site.given["indices"])
    rows_of = entries[dims.index(site.dim)] % site.rows

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        inside = (rows_of >= lo) & (rows_of < hi)
        index: list[Tensor | None] = [None] * len(site.shape)
        for dim, entry in zip(dims, entries, strict=True):
            index[dim] = (rows_of - lo if dim == site.dim else entry)[inside]
        given = {"indices": index, "self": rows.inside(number, lo, hi)}
        return replay(rebind(site.call, given))

    return Executor(run)


def _places(indices: Sequence[Tensor | None]) -> tuple[list[int], list[Tensor]]:
    """The dimensions that are indexed and, for each, the indices one after the other."""
    found: list[tuple[int, Tensor]] = []
    dim = 0
    for entry in indices:
        is_mask = entry is not None and entry.dtype in (torch.bool, torch.uint8)
        parts = entry.nonzero(as_tuple=True) if is_mask and entry is not None else [entry]
        found += [(dim + n, part) for n, part in enumerate(parts) if part is not None]
        dim += len(parts)
    flat = torch.broadcast_tensors(*(part for _, part in found))
    return [dim for dim, _ in found], [part.flatten() for part in flat]


@executor("index_fill")
def _index_fill(site: Site) -> Executor:
    """Fills constant places of the streamed axis with one number: those in the band."""
    if site.given["dim"] % len(site.shape) != site.dim:
        return replayed(site)
    number, _ = site.only("self")
    if isinstance(site.given["index"], Ref):
        raise Blocked("where it writes depends on the data")
    if site.endless:
        raise Blocked(POSITIONAL)
    index = site.given["index"] % site.rows

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        inside = index[(index >= lo) & (index < hi)] - lo
        return replay(rebind(site.call, {"index": inside}), {number: rows.inside(number, lo, hi)})

    return Executor(run)


# -------------------------------------------------------------------- triangles


@executor("tril", "triu")
def _triangle(site: Site) -> Executor:
    """The diagonal moves with the rows, and against the columns."""
    place = site.dim - len(site.shape)
    if place not in (-2, -1):
        return replayed(site)
    number, _ = site.only("self")
    diagonal, step = site.given["diagonal"], 1 if place == -2 else -1

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        call = rebind(site.call, {"diagonal": diagonal + step * lo})
        return replay(call, {number: rows.inside(number, lo, hi)})

    return Executor(run)


@executor("select_scatter")
def _select_scatter(site: Site) -> Executor:
    """``value`` in place of one position of another axis (x[:, 1] = y), ``base`` elsewhere."""
    write = site.call.target
    if not isinstance(write, WriteThrough) or target_name(write.view.target) != "select":
        raise Blocked("it writes through a view in a way that is not known")
    _, dim, at = write.view.args
    dim %= len(site.shape)
    if dim == site.dim:
        raise Blocked("it writes at a place of the streamed axis")
    value, base = (*site.call.args, None)[:2]
    value = value.unsqueeze(dim) if isinstance(value, Tensor) else value
    value, base = (_cuttable(site, one) for one in (value, base))

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        written = _rows(rows, value, lo, hi)
        whole = _whole(rows, site, base, written, lo, hi)
        whole.select(dim, at).copy_(
            written.squeeze(dim) if written.dim() == whole.dim() else written
        )
        return (whole,)

    return Executor(run)


def _cuttable(site: Site, given: object) -> object:
    """A constant as a table, where it has the rows.  Raises Blocked where these may run out."""
    if not isinstance(given, Tensor) or given.dim() != len(site.shape):
        return given
    return RowTable.of(given, site.axis, site.laws)


def _rows(rows: Rows, given: object, lo: int, hi: int) -> Tensor:
    if isinstance(given, Ref):
        return rows.inside(given.operand, lo, hi)
    if isinstance(given, RowTable):
        return given.rows(rows.constant, lo, hi)
    assert isinstance(given, Tensor)
    return given


def _whole(rows: Rows, site: Site, base: object, like: Tensor, lo: int, hi: int) -> Tensor:
    if base is None:
        return like.new_empty(site.band(hi - lo))
    return _rows(rows, base, lo, hi).clone()


def _cut(x: Tensor, dim: int, where: slice) -> Tensor:
    return x[(slice(None),) * dim + (where,)]
