"""Which elements of a value are constants although the value derives from the input.

A constant mask puts −inf among scores, and the softmax after it puts zeros among weights.  The
recorded calls are executed on tensors that hold NaN where an element varies, and the −inf or 0
where a mask has put it; ``hidden`` draws the conclusions.

Only what a mask says counts: masked_fill, where, tril, triu, an assignment, or −inf that is added.
Other constants are weights, and weights count as non-zero.  A finite addend such as Swin's −100
leaves a small weight and not a zero, so nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.calls import WriteThrough
from fieldwise.capture.torch.overloads import tensors_of
from fieldwise.capture.torch.registry import known_values
from fieldwise.graph.calls import bind, changed, op_name, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Kwargs, Node, Ref, Unknown
from fieldwise.graph.kinds import Kind

INF = float("inf")
_NOWHERE: Mapping[str, Tensor] = {}


@dataclass(frozen=True, slots=True)
class Execution:
    """A call, ready to be executed on what is known of its operands.

    name:      of the op, without its namespace ('masked_fill'); 'write' for an assignment
    args:      by name; an operand is a tensor with NaN where its elements vary
    derived:   the names of the arguments that are operands
    run:       executes the call
    shape:     of the first result
    kinds:     how it combines what it reads
    """

    name: str
    args: Kwargs
    derived: frozenset[str]
    run: Callable[[], list[Tensor]]
    shape: tuple[int, ...]
    kinds: frozenset[Kind]


def constant_parts(graph: Graph, zeros: Mapping[str, Tensor] = _NOWHERE) -> dict[str, Tensor]:
    """Per value with zeros or −inf known to be constant: those, among NaN for all that varies.

    zeros: where masks that multiply make values zero, in their shape or one that broadcasts to it
    """
    known: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.op in _SAYS or any(name in known for name in node.operands):
            execution = _execution(node, graph, known)
            if execution is not None:
                found = _RULES.get(execution.name, _of_kinds)(execution)
                for name, value in zip(node.results, found, strict=False):
                    if ((value == 0) | (value == -INF)).any():
                        known[name] = value.float()
        for name in zeros.keys() & {*node.results}:
            known[name] = torch.where(zeros[name], 0.0, _operand(name, graph, known))
    return known


_ADDS = ("add", "sub", "matmul")
_SAYS = (*_ADDS, "masked_fill", "where", "tril", "triu", "fill", "index_put")
"""What may say so first, by canonical name; −inf may stand in the addend of a matrix product."""


def may_say(node: Node) -> bool:
    """Whether a node may put zeros or −inf into a value by a constant mask."""
    if node.op in _ADDS:
        assert node.source is not None
        return any(map(_closes, tensors_of(node.source.args, node.source.kwargs)))
    return node.op in _SAYS


def _execution(node: Node, graph: Graph, known: Mapping[str, Tensor]) -> Execution | None:
    """The node's call; None where nothing can be known of its results."""
    source = node.source
    if source is None or not all(graph.values[name].dtype in _FLOATS for name in node.operands):
        return None
    constants = tensors_of(source.args, source.kwargs)
    if any(tensor.is_meta for tensor in constants) or _reads_by_data(node):
        return None
    adds = node.op in _ADDS and not any(name in known for name in node.operands)
    if adds and not any(map(_closes, constants)):
        return None
    operands = [_operand(name, graph, known) for name in node.operands]
    call = changed(source, (Ref, Tensor), partial(_filled, operands))
    run, shape = partial(replay, call), graph.shape(node.results[0])
    kinds = node.kinds
    if isinstance(source.target, WriteThrough):
        return Execution("write", {}, frozenset(), run, shape, kinds)
    derived = {name for name, arg in bind(source).items() if _refers(arg)}
    return Execution(op_name(node), bind(call), frozenset(derived), run, shape, kinds)


_FLOATS = ("float16", "bfloat16", "float32", "float64")


def _closes(tensor: Tensor) -> bool:
    """Whether a constant holds −inf; what is learned counts as generic and is not looked at."""
    if isinstance(tensor, nn.Parameter) or tensor.is_meta or not tensor.is_floating_point():
        return False
    values = known_values(tensor)
    return values is not None and bool((values == -INF).any())


def _reads_by_data(node: Node) -> bool:
    return any(isinstance(coord, Unknown) for coord in node.coords())


def _operand(name: str, graph: Graph, known: Mapping[str, Tensor]) -> Tensor:
    return known[name] if name in known else _varying(graph.shape(name))


def _varying(shape: Sequence[int]) -> Tensor:
    return torch.full(tuple(shape), torch.nan)


def _refers(arg: object) -> bool:
    return isinstance(arg, Ref) or (isinstance(arg, (list, tuple)) and any(map(_refers, arg)))


def _filled(operands: Sequence[Tensor], item: Ref | Tensor) -> Tensor:
    """The operand that a reference stands for, or a constant; a learned one varies."""
    if isinstance(item, Ref):
        return operands[item.operand].contiguous()
    if isinstance(item, nn.Parameter):
        return _varying(item.shape)
    return item.detach().cpu().float() if item.is_floating_point() else item.detach().cpu()


# -------------------------------------------------------------------- what is known of a result


def _of_kinds(call: Execution) -> list[Tensor]:
    """A copy, or a function of one element; of what data chooses nothing is known."""
    ways = {kind.combines for kind in call.kinds}
    if ways <= {"one"}:
        return call.run()
    tensors = tensors_of(tuple(call.args.values()), {})
    if ways != {"each"} or len(tensors) != 1:
        return []
    if any(kind.draws for kind in call.kinds):
        return tensors
    return [torch.where(tensors[0].isnan(), torch.nan, out) for out in call.run()]


def _added(call: Execution) -> list[Tensor]:
    """−inf stays −inf, whatever finite number is added to it, and zeros make zero."""
    addends = [call.args["self"]]
    if call.name in ("add", "sub"):
        sign = 1 if call.name == "add" else -1
        addends.append(call.args["other"] * (sign * call.args["alpha"]))
    result = _varying(call.shape)
    if call.name in ("add", "sub"):
        empty = [torch.as_tensor(addend) == 0 for addend in addends]
        result = torch.where(torch.logical_and(*empty), 0.0, result)
    for addend in addends:
        result = torch.where(torch.as_tensor(addend) == -INF, -INF, result)
    return [result]


def _multiplied(call: Execution) -> list[Tensor]:
    """Zero stays zero, whatever finite number it is multiplied by or divided by."""
    names = ("self",) if call.name == "div" else ("self", "other")
    result = _varying(call.shape)
    for name in call.derived.intersection(names):
        result = torch.where(call.args[name] == 0, 0.0, result)
    others = [arg for name, arg in call.args.items() if name not in call.derived]
    if not any(isinstance(arg, Tensor) and arg.dim() for arg in others):
        result = torch.where(result == 0, result, *call.run())
    return [result]


def _softmax(call: Execution) -> list[Tensor]:
    """−inf becomes zero; one that is alone with −inf becomes one, whatever it is."""
    scores, dim = call.args["self"], call.args["dim"]
    shut = scores == -INF
    alone = ~shut & ((~shut).sum(dim, keepdim=True) == 1)
    weights = torch.where(shut, 0.0, torch.where(alone, 1.0, torch.nan))
    return [weights.log() if "log" in call.name else weights]


_RULES: dict[str, Callable[[Execution], list[Tensor]]] = {
    **dict.fromkeys(("add", "sub", "addmm", "baddbmm", "addbmm"), _added),
    **dict.fromkeys(("mul", "div"), _multiplied),
    **dict.fromkeys(("softmax", "_softmax", "_safe_softmax"), _softmax),
    **dict.fromkeys(("log_softmax", "_log_softmax"), _softmax),
}
