"""Ops that move rows: reshapes, shuffles, slices, rolls, repeats; nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.graph.ir import Along, Coord, Ref
from fieldwise.tile.bands.follow import Regroup
from fieldwise.tile.bands.kernels.constants import POSITIONAL, ConstantRows
from fieldwise.tile.bands.kernels.registry import (
    Carried,
    Executor,
    KernelRun,
    Link,
    Rows,
    Site,
    executor,
)
from fieldwise.tile.bands.kernels.replayed import replayed
from fieldwise.tile.errors import Blocked
from fieldwise.tile.memory_format import in_channels_last, is_channels_last


@executor("reshape")
def reshaped(site: Site) -> Executor:
    """A reshape: the elements of the rows at hand, cropped to whole rows of the result."""
    number, link = site.single()
    if link.shape == site.shape:
        return Executor(lambda rows, lo, hi: (rows.inside(number, lo, hi),))
    group = Regroup.of(link.shape, site.shape, link.axis)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = link.reach.span(lo, hi)
        x = rows.inside(number, start, stop)
        skip, wanted = lo * group.outer - start * group.inner, (hi - lo) * group.outer
        if wanted != (stop - start) * group.inner and x.numel():
            flat = x.reshape(group.lead, (stop - start) * group.inner, -1)
            x = flat.narrow(1, skip, wanted)
        band = site.band(hi - lo)
        return (x.reshape(band) if x.numel() else x.new_empty(band),)

    return Executor(run)


@executor("expand")
def _expand(site: Site) -> Executor:
    number, link = site.single()
    if not link.keeps(site.rows):
        raise Blocked("a row of its result reads other rows than itself")

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        return (link.at_hand(rows, number, lo, hi).expand(site.band(hi - lo)),)

    return Executor(run)


# -------------------------------------------------------------------- picking rows


@executor("slice", "split", "index_select", "index", "repeat_interleave", "flip")
def _picked(site: Site) -> Executor:
    """Every result row is one operand row; what happens to other axes is left to the call."""
    number, link = site.only("input" if "input" in site.given else "self")
    flipped = [d for d in site.given.get("dims") or () if d % len(site.shape) != site.dim]
    if link.map.is_single and _moves_rows_only(site, link, but=flipped):
        return Executor(_take_rows(number, link, flipped))
    if site.node.op == "index" and _entries(site, link)[link.dim] is not None:
        return Executor(_index_rows(site, number, link))
    if link.keeps(site.rows):
        return replayed(site)
    raise Blocked("it picks rows and changes other axes at once")


def _moves_rows_only(site: Site, link: Link, *, but: Sequence[int]) -> bool:
    """Whether, by its reads, all dimensions other than the rows stay as they are, except ``but``.

    Equal sizes would not do: columns may be in another order.
    """

    def stays(dim: int, coord: Coord) -> bool:
        moves = dim == site.dim or dim % len(site.shape) in {d % len(site.shape) for d in but}
        return isinstance(coord, Along) and coord.dim == dim and (moves or coord.map.is_identity)

    sizes = [(*shape[: link.dim], *shape[link.dim + 1 :]) for shape in (link.shape, site.shape)]
    return sizes[0] == sizes[1] and all(
        (step := read.single) is not None
        and not step.where
        and all(stays(dim, coord) for dim, coord in enumerate(step.coords))
        for read in site.node.reads[site.result]
    )


def _take_rows(number: int, link: Link, flipped: Sequence[int]) -> KernelRun:
    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        picks = [link.map(row).first for row in range(lo, hi)]
        x = take(rows, number, link, picks)
        return (x.flip(tuple(flipped)) if flipped else x,)

    return run


def _entries(site: Site, link: Link) -> list[Tensor | None]:
    """Per dimension of the operand, the index tensor; masks as the places where they are true.

    Raises Blocked for indices that depend on the data.
    """
    entries: list[Tensor | None] = []
    for entry in site.given["indices"]:
        if isinstance(entry, Ref):
            raise Blocked("which rows it picks depends on the data")
        is_mask = entry is not None and entry.dtype in (torch.bool, torch.uint8)
        entries += entry.nonzero(as_tuple=True) if is_mask else [entry]
    return [*entries, *[None] * (len(link.shape) - len(entries))]


def _index_rows(site: Site, number: int, link: Link) -> KernelRun:
    """Indexing by tensors of which one picks rows: cut to the rows, it counts from the band on."""
    if site.endless:
        raise Blocked(POSITIONAL)
    entries, size = _entries(site, link), link.shape[link.dim]
    block = torch.broadcast_shapes(*(entry.shape for entry in entries if entry is not None))
    used = [dim for dim, entry in enumerate(entries) if entry is not None]
    place = used[0] if used == list(range(used[0], used[-1] + 1)) else 0
    axis = site.dim - place - len(block)
    if not -len(block) <= axis < 0:
        raise Blocked("it picks rows and changes other axes at once")

    def cut(entry: Tensor, lo: int, hi: int) -> Tensor:
        spans = entry.dim() >= -axis and entry.shape[axis] > 1
        return entry.narrow(axis, lo, hi - lo) if spans else entry

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = link.reach.span(lo, hi)
        index = [None if entry is None else cut(entry, lo, hi) for entry in entries]
        picks = index[link.dim]
        assert picks is not None
        index[link.dim] = picks % size - start
        return (torch.ops.aten.index.Tensor(rows.inside(number, start, stop), index),)

    return run


def take(rows: Rows, number: int, link: Link, picks: Sequence[int]) -> Tensor:
    """Absolute rows of an operand in any order, in one copy at most."""
    start, stop = min(picks), max(picks) + 1
    x = rows.inside(number, start, stop)
    step = picks[1] - picks[0] if len(picks) > 1 else 1
    if step > 0 and list(picks) == list(range(start, stop, step)):
        return x[(slice(None),) * link.dim + (slice(None, None, step),)]
    return picked(x, link.dim, _index(tuple(pick - start for pick in picks), x.device))


@lru_cache(maxsize=1 << 8)
def _index(picks: Sequence[int], device: torch.device) -> Tensor:
    """Numbers of rows, moved to a device once: steps that are alike pick alike."""
    return torch.tensor(picks, device=device)


def picked(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Rows by their numbers, in the memory format of ``x``, which index_select does not keep."""
    if not is_channels_last(x) or dim == 1:
        return x.index_select(dim, index)
    return x.movedim(1, -1).index_select(dim - (dim > 1), index).movedim(-1, 1)


def on_rows(executor: Executor, change: Callable[[Rows, Tensor], Tensor]) -> Executor:
    """The same op on rows that lie otherwise in memory; ``change`` is given the run's rows too."""

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        return executor.run(_ChangedRows(rows, change), lo, hi)

    return replace(executor, run=run)


def row_major(executor: Executor) -> Executor:
    """The same on rows laid out one after the other."""
    return on_rows(executor, lambda _, rows: rows.contiguous())


@executor("pixel_unshuffle")
def _pixel_unshuffle(site: Site) -> Executor:
    """Torch refuses it on volumes in channels-last, which images may be in."""
    found = replayed(site)
    return row_major(found) if len(site.shape) == VOLUME else found


SEQUENCE, VOLUME = 3, 5
"""Dimensions of a batch of sequences, and of volumes."""


@dataclass(frozen=True, slots=True)
class _ChangedRows:
    """Rows of operands, each changed before it is read (see ``Rows``)."""

    rows: Rows
    change: Callable[[Rows, Tensor], Tensor]

    @property
    def state(self) -> Carried:
        return self.rows.state

    @property
    def constant(self) -> ConstantRows:
        return self.rows.constant

    @property
    def room(self) -> Tensor | None:
        return self.rows.room

    @property
    def recorded(self) -> bool:
        return self.rows.recorded

    def convolved(self, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self.rows.convolved(rows, weight)

    def inside(self, operand: int, start: int, stop: int) -> Tensor:
        return self.change(self.rows, self.rows.inside(operand, start, stop))

    def padded(
        self, operand: int, start: int, stop: int, border: Border, fill: float = 0.0
    ) -> Tensor:
        return self.change(self.rows, self.rows.padded(operand, start, stop, border, fill))

    def seams(self, operand: int, start: int, stop: int) -> Sequence[int]:
        return self.rows.seams(operand, start, stop)


def laid(
    block: Tensor, dim: int, at: int, lo: int, hi: int, blank: Callable[[int], Tensor]
) -> Tensor:
    """Rows [lo, hi) of which a block holds those from row ``at`` on; ``blank(n)`` gives others.

    >>> laid(torch.ones(3), 0, 5, 4, 7, torch.zeros)
    tensor([0., 1., 1.])
    """
    end = at + block.shape[dim]
    low, high = (max(lo, at), min(hi, end)) if at < hi and lo < end else (hi, hi)
    parts = [block.narrow(dim, max(low - at, 0), high - low)] if low < high else []
    before, behind = ([blank(rows)] if rows else [] for rows in (low - lo, hi - high))
    parts = [*before, *parts, *behind]
    if len(parts) > 1 and is_channels_last(block):
        parts = [in_channels_last(part) for part in parts]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


@executor("roll")
def _roll(site: Site) -> Executor:
    number, link = site.only("self")
    shifts, dims = _listed(site.given["shifts"]), _listed(site.given["dims"])
    if not dims:
        raise Blocked("it rolls across rows")
    others = [
        (shift, dim)
        for shift, dim in zip(shifts, dims, strict=True)
        if dim % len(site.shape) != site.dim
    ]

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        x = rows.padded(number, *link.reach.raw(lo, hi), Border.WRAP)
        return (x.roll(*zip(*others, strict=True)) if others else x,)

    return Executor(run)


@executor("repeat", "tile")
def _repeated(site: Site) -> Executor:
    number, link = site.only("self")
    times = list(site.given["repeats" if site.node.op == "repeat" else "dims"])
    times = [1] * (len(site.shape) - len(times)) + times
    times[site.dim] = 1

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        if link.spread:
            return (rows.inside(number, 0, 1).repeat(times).expand(site.band(hi - lo)),)
        return (rows.padded(number, *link.reach.raw(lo, hi), Border.WRAP).repeat(times),)

    return Executor(run)


def _listed(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)
