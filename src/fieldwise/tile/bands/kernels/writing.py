"""Writes into a slice of a value (x[:, 1:4] = y), as the functional call that was recorded."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fieldwise.capture.torch.calls import WriteThrough
from fieldwise.graph.calls import target_name
from fieldwise.graph.ir import Ref
from fieldwise.tile.bands.kernels.constants import POSITIONAL, if_uniform, rows_from
from fieldwise.tile.bands.kernels.local import local_beside
from fieldwise.tile.bands.kernels.registry import Executor, Rows, Site, executor
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
            written = _rows(rows, site, value, lo, hi)
            whole = _whole(rows, site, base, written, lo, hi)
            _cut(whole, dim, slice(start, stop, step)).copy_(written)
            return (whole,)
        first = max(-(-(lo - start) // step), 0)
        last = max(-(-(min(hi, stop) - start) // step), first)
        written = _rows(rows, site, value, first, last)
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
        raise Blocked("it writes at places of the streamed axis")
    if isinstance(values, Tensor) and values.numel() > 1:
        raise Blocked("how the constant that it writes lies along the rows is not known")
    return Executor(local_beside(site), whole=True)


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
        written = _rows(rows, site, value, lo, hi)
        whole = _whole(rows, site, base, written, lo, hi)
        whole.select(dim, at).copy_(
            written.squeeze(dim) if written.dim() == whole.dim() else written
        )
        return (whole,)

    return Executor(run)


def _cuttable(site: Site, given: object) -> object:
    """A constant as one row where its rows are alike.  Raises Blocked where rows may run out."""
    if not isinstance(given, Tensor) or given.dim() != len(site.shape):
        return given
    found = if_uniform(given, site.dim)
    if site.endless and found.shape[site.dim] > 1:
        raise Blocked(POSITIONAL)
    return found


def _rows(rows: Rows, site: Site, given: object, lo: int, hi: int) -> Tensor:
    if isinstance(given, Ref):
        return rows.inside(given.operand, lo, hi)
    assert isinstance(given, Tensor)
    if given.dim() != len(site.shape):
        return given
    return rows_from(given, site.axis, lo, hi)


def _whole(rows: Rows, site: Site, base: object, like: Tensor, lo: int, hi: int) -> Tensor:
    if base is None:
        return like.new_empty(site.band(hi - lo))
    return _rows(rows, site, base, lo, hi).clone()


def _cut(x: Tensor, dim: int, where: slice) -> Tensor:
    return x[(slice(None),) * dim + (where,)]
