"""Joins and pads: result rows that come from several places, or from beyond the ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.graph.calls import op_name
from fieldwise.graph.ir import Ref
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.kernels.constants import Laws, RowTable
from fieldwise.tile.bands.kernels.pieces import by_pieces
from fieldwise.tile.bands.kernels.registry import ENDLESS, Executor, Rows, Site, executor
from fieldwise.tile.errors import Blocked

# -------------------------------------------------------------------- concatenation


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the tensors that are joined: an operand (by number) or a constant, where it starts."""

    source: int | Tensor | RowTable
    start: int
    stop: int

    def rows(self, rows: Rows, dim: int, lo: int, hi: int) -> Tensor:
        """Its own rows [lo, hi)."""
        if isinstance(self.source, RowTable):
            return self.source.rows(rows.constant, lo, hi)
        if isinstance(self.source, Tensor):
            return self.source.narrow(dim, lo, hi - lo)
        return rows.inside(self.source, lo, hi)

    def beside(self, dim: int, laws: Laws | None) -> _Part:
        """As a table, if it is a constant.  Raises Blocked where its rows may run out."""
        if not isinstance(self.source, Tensor):
            return self
        return replace(self, source=RowTable.of(self.source, AxisPlace(dim), laws))


@executor("cat")
def _cat(site: Site) -> Executor:
    dim = site.given["dim"] % len(site.shape)
    along = dim == site.dim
    parts, endless = _parts(site, dim), site.endless
    if along and endless:
        *front, last = parts
        if isinstance(last.source, Tensor) or any(isinstance(part.source, int) for part in front):
            raise Blocked("where it joins depends on the total length")
        parts = [*front, replace(last, stop=ENDLESS)]
    if not along:
        parts = [part.beside(site.dim, site.laws) for part in parts]

    def joined(rows: Rows, lo: int, hi: int, out: Tensor | None = None) -> Tensor:
        return torch.cat([part.rows(rows, site.dim, lo, hi) for part in parts], dim, out=out)

    def beside(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        if rows.room is None:
            return (joined(rows, lo, hi),)
        return (by_pieces(rows, site.streamed, site.dim, lo, hi, partial(joined, rows)),)

    def behind(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        pieces = [
            part.rows(rows, dim, max(lo, part.start) - part.start, min(hi, part.stop) - part.start)
            for part in parts
            if max(lo, part.start) < min(hi, part.stop)
        ]
        return (pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim),)

    return Executor(behind) if along else Executor(beside, pieces=True)


def _parts(site: Site, dim: int) -> list[_Part]:
    parts, start = [], 0
    for item in site.given["tensors"]:
        link = site.links[item.operand] if isinstance(item, Ref) else None
        shape = tuple(item.shape) if link is None else link.shape
        if shape == (0,):
            continue
        source = item.operand if isinstance(item, Ref) else item
        parts.append(_Part(source, start, start + shape[dim]))
        start += shape[dim]
    return parts


# -------------------------------------------------------------------- padding


@executor("pad")
def _pad(site: Site) -> Executor:
    """Rows are padded where the band meets a real end; the other axes by torch."""
    number, link = site.only("self")
    pad = list(site.given.get("pad") or site.given.get("padding") or ())
    name, place = op_name(site.node), 2 * (len(site.shape) - 1 - site.dim)
    if place < len(pad):
        pad[place : place + 2] = [0, 0]
    elif not link.map.is_identity:
        raise Blocked("it pads in a way that is not known")
    value = site.given.get("value") or 0.0
    mode = site.given.get("mode") or next((m for key, m in _MODES.items() if key in name), None)
    if mode is None:
        raise Blocked(f"the padding of {name} is not known")
    given = {"value": value} if mode == "constant" else {}

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        reach = link.reach
        x = rows.padded(number, *reach.raw(lo, hi), reach.border, fill=value)
        return (F.pad(x, pad, mode=mode, **given) if any(pad) else x,)

    return Executor(run)


_MODES = {
    "constant": "constant", "circular": "circular", "reflection": "reflect",
    "replication": "replicate",
}  # fmt: skip
