"""Attention behind a mask: keys and values are kept as long as a query to come may see them.

A window or a chunk of keys is a state of bounded length; all of the past is one that grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fieldwise.graph.calls import op_name, rebind, replay
from fieldwise.graph.ir import Ref
from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.kernels.constants import POSITIONAL, Laws, cut
from fieldwise.tile.bands.kernels.registry import Executor, Rows, Site, executor
from fieldwise.tile.bands.kernels.replayed import replayed
from fieldwise.tile.errors import Blocked


@executor("attention")
def _attention(site: Site) -> Executor:
    """(…, queries, features): a band of queries, and the keys from the first that it sees on."""
    given, dim = site.given, len(site.shape) - 2
    keys = [
        site.links[item.operand]
        for name in ("key", "value")
        if isinstance(item := given.get(name), Ref)
    ]
    reaches = [link.reach for link in keys if link is not None and link.dim == dim]
    if not reaches or site.dim != dim:
        return replayed(site)
    if op_name(site.node) != "scaled_dot_product_attention":
        raise Blocked("a row of its result reads other rows than itself")
    if given["dropout_p"]:
        raise Blocked("it draws random numbers; call model.eval() first")

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        spans = [reach.span(lo, hi) for reach in reaches]
        queries, seen = (lo, hi), (min(at for at, _ in spans), max(to for _, to in spans))
        ends = {"query": queries, "key": seen, "value": seen}
        tensors = {name: _cut(rows, given[name], ends[name]) for name in ends}
        mask = mask_of(given, queries, seen, tensors["query"].device, site.laws)
        return replay(rebind(site.call, {**tensors, "attn_mask": mask, "is_causal": False}))

    if isinstance(mask := given["attn_mask"], Tensor):
        _check_known(mask, site.laws)
    return Executor(run)


def _check_known(mask: Tensor, laws: Laws | None) -> None:
    """Raise Blocked where nobody knows how a mask goes on."""
    grown = tuple(dim for dim in range(mask.dim())[-2:] if mask.shape[dim] > 1)
    law = None if laws is None else laws.get(id(mask))
    if laws is not None and grown != (law.dims if law else ()):
        raise Blocked(POSITIONAL)


def _cut(rows: Rows, item: Ref | Tensor, ends: Interval) -> Tensor:
    """These positions of an operand, or of a constant, side by side in memory."""
    if isinstance(item, Ref):
        return rows.inside(item.operand, *ends).contiguous()
    return item.narrow(-2, ends[0], ends[1] - ends[0])


def mask_of(
    given: Mapping[str, Any],
    queries: Interval,
    keys: Interval,
    device: torch.device,
    laws: Laws | None = None,
) -> Tensor | None:
    """The part of the mask for some queries and keys, from the arguments of the call."""
    mask: Tensor | None = given["attn_mask"]
    if given["is_causal"]:
        places = (torch.arange(*ends, device=device) for ends in (queries, keys))
        return torch.ge(*torch.meshgrid(*places, indexing="ij"))
    if mask is None:
        return None
    rank = mask.dim()
    ends = {rank - 2: queries, rank - 1: keys}
    wanted = {dim: end for dim, end in ends.items() if dim >= 0 and mask.shape[dim] > 1}
    return cut(mask, None if laws is None else laws.get(id(mask)), wanted)
