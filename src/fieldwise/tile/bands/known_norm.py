"""A norm whose statistics a pass has found: a scale and a shift of rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.graph.ir import Node
from fieldwise.tile.bands.draft import ProgramDraft
from fieldwise.tile.bands.kernels import Executor, Rows
from fieldwise.tile.bands.program import Op
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.bands.schedule import Dependence
from fieldwise.tile.errors import Blocked


def add_known_norm(draft: ProgramDraft, node: Node, scale: Tensor, shift: Tensor) -> None:
    """Make a norm an op that applies a scale and a shift of its operand's rank.

    Raises Blocked where a statistic is read too that is not known.
    """
    if any(node.results[n] not in draft.fixed for n in draft.wanted(node) if n):
        raise Blocked("a result beside what is normalised is not summed up")
    source = next(draft.numbers[name] for name in node.operands if name in draft.numbers)
    kind = draft.values[source]
    size = kind.shape[kind.dim]
    reach = RowReach.of(IDENTITY, Border.DROP, size=size, count=size)

    def cut(constant: Tensor, lo: int, hi: int) -> Tensor:
        shared = constant.shape[kind.dim] == 1
        return constant if shared else constant.narrow(kind.dim, lo, hi - lo)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        x = rows.inside(0, lo, hi)
        return (torch.addcmul(cut(shift, lo, hi), x, cut(scale, lo, hi)).to(x.dtype),)

    value = draft.add_value(node.results[0], kind.axis)
    op = Op(node, Executor(run), {0: source}, ((0, value),))
    draft.add(op, Dependence((value,), ((source, reach),)))
