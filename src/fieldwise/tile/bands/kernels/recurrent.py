"""Causal ops that carry a state from one band to the next: recurrent layers, running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.graph.calls import op_name, rebind, replay
from fieldwise.graph.ir import numel
from fieldwise.tile.bands.kernels.registry import (
    Executor,
    KernelRun,
    Link,
    Rows,
    Site,
    executor,
)
from fieldwise.tile.bands.kernels.replayed import replayed
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.errors import DRAWS, Blocked


def _carrying(site: Site, number: int, link: Link, run: KernelRun, carried: int) -> Executor:
    """The state, of so many bytes, stands for the past, so that a row reads only itself."""
    reach = RowReach.of(IDENTITY, Border.DROP, size=site.rows, count=site.rows)
    reach = reach if link.reach.size is not None else reach.opened()
    return Executor(run, reaches=((number, reach),), ordered=True, carried_bytes=carried)


@executor("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(site: Site) -> Executor:
    number, link = site.only("input")
    given = site.given
    if given["train"] and given["dropout"]:
        raise Blocked(DRAWS, even_whole=True)
    if link.keeps(site.rows):
        return replayed(site)
    if given["bidirectional"]:
        raise Blocked("it runs in both directions")

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        state = rows.state.get("hidden", given["hx"])
        out, *last = replay(rebind(site.call, {"hx": state}), {number: rows.inside(number, lo, hi)})
        rows.state["hidden"] = last if isinstance(state, (list, tuple)) else last[0]
        return (out,)

    states = sum(map(numel, site.shapes[1:])) * link.dtype.itemsize
    return _carrying(site, number, link, run, states)


@executor("cumulative")
def _cumulative(site: Site) -> Executor:
    number, link = site.only("self")
    if link.keeps(site.rows):
        return replayed(site)
    if op_name(site.node) in _RANKED:
        return _running_extreme(site, number, link)
    joined = _JOINED.get(op_name(site.node))
    if joined is None:
        called = site.node.operator or op_name(site.node)
        raise Blocked(f"{called} along the streamed axis cannot be run on a band yet")

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        (y,) = replay(site.call, [rows.inside(number, lo, hi)])
        if "last" in rows.state:
            y = joined(y, rows.state["last"])
        rows.state["last"] = y.narrow(site.dim, hi - lo - 1, 1).clone()
        return (y,)

    return _carrying(site, number, link, run, numel(tuple(site.band(1))) * link.dtype.itemsize)


def _running_extreme(site: Site, number: int, link: Link) -> Executor:
    """Extremes so far and where they are, with the last of either in front of a band."""

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        x = rows.inside(number, lo, hi)
        if "last" not in rows.state:
            values, places = replay(site.call, [x])
            places = places + lo
        else:
            value, place = rows.state["last"]
            found = replay(site.call, [torch.cat([value, x], site.dim)])
            values, places = (one.narrow(site.dim, 1, hi - lo) for one in found)
            places = torch.where(places == 0, place, places - 1 + lo)
        last = (one.narrow(site.dim, hi - lo - 1, 1).clone() for one in (values, places))
        rows.state["last"] = tuple(last)
        return values, places

    states = numel(tuple(site.band(1))) * (link.dtype.itemsize + torch.int64.itemsize)
    return replace(_carrying(site, number, link, run, states), whole=True)


_JOINED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cumsum": torch.add, "cumprod": torch.mul, "logcumsumexp": torch.logaddexp,
}  # fmt: skip
"""How a running total goes on from the last one of the rows before."""
_RANKED = ("cummax", "cummin")
