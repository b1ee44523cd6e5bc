"""Ops that move rows: reshapes, shuffles, slices, rolls, repeats; nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.tile.refusal import Blocked
from fieldwise.tile.stream.executors.passing import passing
from fieldwise.tile.stream.executors.registry import Executor, Link, Rows, Site, executor
from fieldwise.tile.stream.follow import Regroup


@executor("reshape")
def reshaped(site: Site) -> Executor:
    """A reshape: the elements of the rows at hand, cropped to whole rows of the result."""
    number, link = site.single()
    if link.shape == site.shape:
        return Executor(lambda rows, lo, hi: (rows.inside(number, lo, hi),))
    group = Regroup.of(link.shape, site.shape, link.dim)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = link.reach.span(lo, hi)
        x = rows.inside(number, start, stop)
        skip, wanted = lo * group.outer - start * group.inner, (hi - lo) * group.outer
        if wanted != (stop - start) * group.inner:
            flat = x.reshape(group.lead, (stop - start) * group.inner, -1)
            x = flat.narrow(1, skip, wanted)
        return (x.reshape(site.band(hi - lo)),)

    return Executor(run)


@executor("expand")
def _expand(site: Site) -> Executor:
    number, link = site.single()
    if not link.keeps(site.rows):
        raise Blocked("a row of its result reads other rows than itself")
    return Executor(lambda rows, lo, hi: (rows.inside(number, lo, hi).expand(site.band(hi - lo)),))


@executor("pixel_shuffle", "pixel_unshuffle")
def _shuffled(site: Site) -> Executor:
    """Operand row i holds the result rows from i·m/n on."""
    number, link = site.only("self")
    before, after = link.shape[link.dim], site.rows

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = link.reach.span(lo, hi)
        (y,) = site.call.run([rows.inside(number, start, stop)])
        return (y.narrow(site.dim, lo - start * after // before, hi - lo),)

    return Executor(run)


@executor("unfold")
def _unfold(site: Site) -> Executor:
    """Windows as data (Tensor.unfold); it pads nothing."""
    number, link = site.only("self")
    return Executor(
        lambda rows, lo, hi: site.call.run([rows.inside(number, *link.reach.span(lo, hi))])
    )


# -------------------------------------------------------------------- picking rows


@executor("slice", "split", "index_select", "index", "repeat_interleave", "flip")
def _picked(site: Site) -> Executor:
    """Every result row is one operand row; what happens to other axes is left to the call."""
    number, link = site.only("input" if "input" in site.call.named else "self")
    if link.keeps(site.rows):
        return passing(site)
    if not link.map.is_single or _other_sizes(link.shape, link.dim) != _other_sizes(
        site.shape, site.dim
    ):
        raise Blocked("it picks rows and changes other axes at once")
    others = [d for d in site.call.get("dims") or () if d % len(site.shape) != site.dim]

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        picks = [link.map(row).first for row in range(lo, hi)]
        x = take(rows, number, link, picks)
        return (x.flip(others) if others else x,)

    return Executor(run)


def take(rows: Rows, number: int, link: Link, picks: Sequence[int]) -> Tensor:
    """Absolute rows of an operand in any order, in one copy at most."""
    start, stop = min(picks), max(picks) + 1
    x = rows.inside(number, start, stop)
    step = picks[1] - picks[0] if len(picks) > 1 else 1
    if step > 0 and list(picks) == list(range(start, stop, step)):
        return x[(slice(None),) * link.dim + (slice(None, None, step),)]
    index = torch.tensor([pick - start for pick in picks], device=x.device)
    return x.index_select(link.dim, index)


def _other_sizes(shape: Sequence[int], dim: int) -> list[int]:
    return [size for place, size in enumerate(shape) if place != dim]


@executor("roll")
def _roll(site: Site) -> Executor:
    number, link = site.only("self")
    shifts, dims = _listed(site.call["shifts"]), _listed(site.call["dims"])
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
    times = list(site.call["repeats" if site.node.op == "repeat" else "dims"])
    times = [1] * (len(site.shape) - len(times)) + times
    times[site.dim] = 1

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        return (rows.padded(number, *link.reach.raw(lo, hi), Border.WRAP).repeat(times),)

    return Executor(run)


def _listed(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)
