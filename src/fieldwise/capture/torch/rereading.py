"""What a recorded call reads of every tensor that it is given, constants too.

A constant is an operand of which nobody wants the field; whoever makes a call again on a part of
its operands has to know how each of them is read, and asks the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldwise.capture.torch.calls import ResultPart
from fieldwise.capture.torch.overloads import describe, reads_of
from fieldwise.capture.torch.registry import OpCall, Reads
from fieldwise.graph.calls import bind, opened, operator_of
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Shape


@dataclass(frozen=True, slots=True)
class Reread:
    """A call in which a ``Ref`` stands for every tensor.

    constants: those that follow the operands, in the order of their numbers
    reads:     per result, how it reads operands and constants
    """

    call: Call
    constants: tuple[Tensor, ...]
    reads: Reads


def reread(call: Call, *, operands: Sequence[Shape], results: Sequence[Shape]) -> Reread | None:
    """Ask the rule of a call again, with its constants as further operands.

    What it reads then depends on no constant's values: an index is data, a mask hides nothing.

    None where the target is no operator, or the rule cannot tell without a constant's values.

    >>> from fieldwise.graph.ir import Ref
    >>> call = Call(torch.ops.aten.prelu.default, (Ref(0), torch.ones(4)))
    >>> found = reread(call, operands=[(2, 4, 9)], results=[(2, 4, 9)])
    >>> found.call.args, [read.steps[0].coords[0].dim for read in found.reads[0]]
    ((Ref(operand=0), Ref(operand=1)), [0, 1])
    """
    func = operator_of(call.target)
    if isinstance(call.target, ResultPart) or not isinstance(func, torch._ops.OpOverload):
        return None
    again, constants = opened(call, len(operands))
    op = describe(func)
    asked = OpCall(
        op=op.canonical,
        args=bind(again),
        operands=(*operands, *(tuple(constant.shape) for constant in constants)),
        results=tuple(results),
    )
    try:
        reads = reads_of(op, asked)
    except Exception:  # noqa: BLE001  (a rule that needs the values of a constant)
        return None
    return Reread(again, tuple(constants), reads)


def op_call(node: Node, graph: Graph, source: Call, constants: Sequence[Tensor] = ()) -> OpCall:
    """The call of a node as a rule sees it.

    source: what the node came from; constants: those that follow its operands in that
    """
    return OpCall(
        op=describe(operator_of(source.target)).plain,
        args=bind(source),
        operands=(
            *(graph.shape(name) for name in node.operands),
            *(tuple(constant.shape) for constant in constants),
        ),
        results=tuple(graph.shape(name) for name in node.results),
        operator=node.operator,
    )


def reread_node(node: Node, graph: Graph) -> Reread | None:
    """``reread`` of the call that a node of a graph came from.

    None where the node holds no call, too.
    """
    if node.source is None:
        return None
    return reread(
        node.source,
        operands=[graph.shape(name) for name in node.operands],
        results=[graph.shape(name) for name in node.results],
    )
