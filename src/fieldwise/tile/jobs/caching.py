"""Full recompute, rows cached, rows and columns cached: which of the three a job takes.

Each way is planned.  What a plan costs is its operations, and so many for each byte that it reads
again or hands on from strip to strip.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch

from fieldwise.graph.flops import flops_by_result
from fieldwise.graph.graph import Graph
from fieldwise.tile.bands.programs import PRICES
from fieldwise.tile.choices import Cache
from fieldwise.tile.jobs.work import JobPlan


@dataclass(frozen=True, slots=True)
class CachePlan:
    """One of the ways to compute a job: its plan, or why there is none.

    cost: operations, and those that the bytes which are moved stand for; 0 without a plan
    """

    cache: Cache
    plan: JobPlan | None
    cost: float = 0.0
    why_not: str = ""

    @classmethod
    def of(cls, cache: Cache, planned: JobPlan | Exception, graph: Graph) -> CachePlan:
        """Of a plan whose operations are counted, or of what was raised in place of one.

        graph: of the whole
        """
        if isinstance(planned, Exception):
            return cls(cache, None, why_not=" ".join(str(planned).split()))
        operations = sum(flops_by_result(graph).values())
        cost = (planned.work or 1.0) * operations + PER_BYTE * moved_bytes(planned, graph)
        return cls(cache, planned, cost)


def cheapest(found: Iterable[CachePlan]) -> CachePlan | None:
    """The way that costs least; None where there is none at all."""
    return min((one for one in found if one.plan), key=lambda one: one.cost, default=None)


def moved_bytes(plan: JobPlan, graph: Graph) -> int:
    """What is read of the input more than once, and what strips hand on, written and read."""
    (name,) = graph.inputs
    itemsize: int = getattr(torch, graph.values[name].dtype).itemsize
    return round((plan.reread - 1) * prod(plan.shape) * itemsize) + plan.moved_bytes


PER_BYTE = (PRICES["auto"] or 0) >> 10
"""Operations that a byte stands for which is read again, or kept on disk."""
