"""Whether a network computes its rows in one and the same way at two total lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fieldwise.capture.torch.overloads import tensors_of
from fieldwise.capture.torch.tree import items_of
from fieldwise.errors import Reason
from fieldwise.graph.calls import bind, is_same, operator_of
from fieldwise.graph.ir import Call, Node, Separable
from fieldwise.tile.bands.kernels.constants import Laws, RowLaw
from fieldwise.tile.bands.positions import ANNOUNCE
from fieldwise.tile.bands.program import Op, Program
from fieldwise.tile.errors import StreamError, reason


def agree(one: Program, other: Program) -> None:
    """Whether two programs are the same but for the total length.

    Raises StreamError, which names the ops whose rows read otherwise.
    """
    differing = []
    if len(one.ops) != len(other.ops):
        parts, op = ("nodes", "") if one.ops[0].node.operator else ("layers", "forward")
        differing.append(Reason("", op, f"it runs other {parts} at another length"))
    for number, (mine, theirs) in enumerate(zip(one.ops, other.ops, strict=False)):
        if mine.node.op != theirs.node.op or mine.operands != theirs.operands:
            differing.append(reason(mine.node, "it is another op at another length"))
            break
        alike = _reads_alike(one, other, number) and _across_alike(one, other, number)
        if not alike or _ends_early(one, other, number) or not _same_calls(one, other, number):
            differing.append(reason(mine.node, "what it computes depends on the total length"))
    if not is_same(_constants(one), _constants(other), torch.equal):
        differing.append(Reason("", "output", "a constant in it depends on the total length"))
    if differing:
        raise StreamError(
            "The model cannot be streamed without knowing its end", differing, ANNOUNCE
        )


def _constants(program: Program) -> list[object]:
    """What is handed back beside rows: tensors and numbers."""
    return [*(result for _, _, result in program.fixed), *_leaves(program.structure)]


def _leaves(tree: object) -> Iterator[object]:
    """The tensors and numbers of a nested output."""
    if isinstance(tree, (Tensor, int, float, complex, str)):
        yield tree
    for _, item in items_of(tree):
        yield from _leaves(item)


def _reads_alike(one: Program, other: Program, number: int) -> bool:
    mine, theirs = (program.wiring.ops[number].operands for program in (one, other))
    return len(mine) == len(theirs) and all(
        value == again and reach.reads_like(reached)
        for (value, reach), (again, reached) in zip(mine, theirs, strict=True)
    )


def _ends_early(one: Program, other: Program, number: int) -> bool:
    """Whether there are fewer rows at the other length than the first has promised.

    Fewer than a period of them are what a stride leaves over.
    """
    pairs = zip(one.wiring.ops[number].operands, other.wiring.ops[number].operands, strict=True)
    return any(
        mine.certain(theirs.seen[0]) >= theirs.seen[1] + len(mine.stops)
        for (_, mine), (_, theirs) in pairs
    )


def _across_alike(one: Program, other: Program, number: int) -> bool:
    """Pairs of rows are read as their calls say; what masks hide is not the same at all lengths."""
    if one.ops[number].earlier:
        return True
    return _across(one, number) == _across(other, number)


def _across(program: Program, number: int) -> list[object]:
    """How an op reads along all dimensions but the streamed one, which patterns tell."""
    op = program.ops[number]
    streamed = {program.values[value].dim for _, value in op.results}
    found: list[object] = []
    for read in (read for reads in op.node.reads for read in reads):
        value = op.operands.get(read.operand)
        dim = None if value is None else program.values[value].dim
        first, rest = read.steps[0], read.steps[1:]
        if isinstance(first, Separable):
            coords = [coord for place, coord in enumerate(first.coords) if place != dim]
            found.append((coords, [pair for pair in first.where if pair[0] not in streamed]))
        found.append((type(first), rest))
    return found


def _same_calls(one: Program, other: Program, number: int) -> bool:
    mine, theirs = one.ops[number], other.ops[number]
    rows = _rows_of(one, mine), _rows_of(other, theirs)
    pairs = zip(mine.nodes, theirs.nodes, strict=False)
    return len(mine.nodes) == len(theirs.nodes) and all(
        node.op == again.op and _same_arguments(node, again, one.laws, rows)
        for node, again in pairs
    )


def _rows_of(program: Program, op: Op) -> int:
    """The rows of a result when it was captured."""
    kind = program.values[op.results[0][1]]
    return kind.shape[kind.dim]


def _same_arguments(one: Node, other: Node, laws: Laws, rows: tuple[int, int]) -> bool:
    """Whether the calls agree in all that their reads do not tell: in settings and in tensors.

    rows: of their results
    """
    if one.source is None or other.source is None:
        return True
    given, again = _by_name(one.source), _by_name(other.source)
    if one.op == "attention":
        given, again = _masked(given, again, rows[0]), _masked(again, given, rows[1])
    kinds = one.kinds
    geometry = set(given) - {name for kind in kinds for name in kind.settings(given)}

    def same(mine: Tensor, theirs: Tensor) -> bool:
        return _equal_rows(mine, theirs, laws.get(id(mine)))

    return given.keys() == again.keys() and all(
        _same_tensors(given[name], again[name], same)
        if kinds and name in geometry
        else is_same(given[name], again[name], same)
        for name in given
    )


def _masked(given: dict[str, object], other: dict[str, object], rows: int) -> dict[str, object]:
    """The arguments of an attention, with ``is_causal`` as the mask that another one has."""
    mask = other.get("attn_mask")
    if not given.get("is_causal") or not isinstance(mask, Tensor):
        return given
    seen = torch.ones(rows, rows, dtype=torch.bool, device=mask.device).tril()
    if mask.dtype != torch.bool:
        seen = mask.new_zeros(rows, rows).masked_fill(~seen, -torch.inf)
    return {**given, "is_causal": False, "attn_mask": seen.expand(*mask.shape[:-2], rows, rows)}


def _by_name(call: Call) -> dict[str, object]:
    """The arguments of a call by name; by number where it has no schema."""
    if operator_of(call.target) is not None:
        return bind(call)
    return {**{str(place): item for place, item in enumerate(call.args)}, **call.kwargs}


def _same_tensors(one: object, other: object, same: Callable[[Tensor, Tensor], bool]) -> bool:
    """Whether the constant tensors of two arguments are the same."""
    return all(same(*pair) for pair in zip(tensors_of([one]), tensors_of([other]), strict=False))


def _equal_rows(one: Tensor, other: Tensor, law: RowLaw | None) -> bool:
    """Whether two constants are the same, as far as either goes and the end plays no part."""
    if one is other or one.dim() != other.dim():
        return one is other
    for dim in range(one.dim()):
        if one.shape[dim] != other.shape[dim]:
            tail = 0 if law is None else law.tail
            size = max(min(one.shape[dim], other.shape[dim]) - tail, 0)
            one, other = one.narrow(dim, 0, size), other.narrow(dim, 0, size)
    return torch.equal(one, other)
