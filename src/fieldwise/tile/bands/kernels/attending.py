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
        mask = _mask(given, queries, seen, tensors["query"].device)
        return replay(rebind(site.call, {**tensors, "attn_mask": mask, "is_causal": False}))

    return Executor(run)


def _cut(rows: Rows, item: Ref | Tensor, ends: Interval) -> Tensor:
    """These positions of an operand, or of a constant, side by side in memory."""
    if isinstance(item, Ref):
        return rows.inside(item.operand, *ends).contiguous()
    return item.narrow(-2, ends[0], ends[1] - ends[0])


def _mask(
    given: Mapping[str, Any], queries: Interval, keys: Interval, device: torch.device
) -> Tensor | None:
    """The part of the mask for some queries and keys."""
    mask: Tensor | None = given["attn_mask"]
    if given["is_causal"]:
        places = (torch.arange(*ends, device=device) for ends in (queries, keys))
        return torch.ge(*torch.meshgrid(*places, indexing="ij"))
    if mask is None:
        return None
    for dim, (lo, hi) in ((-2, queries), (-1, keys)):
        if mask.dim() >= -dim and mask.shape[dim] > 1:
            mask = mask.narrow(dim, lo, hi - lo)
    return mask
