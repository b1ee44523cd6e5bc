"""Whether a network computes its rows in one and the same way at two total lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldwise.capture.torch.overloads import tensors_of
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.errors import Reason
from fieldwise.graph.calls import bind, is_same, operator_of
from fieldwise.graph.ir import Call, Separable
from fieldwise.tile.bands.program import Op, Program
from fieldwise.tile.errors import StreamError, reason


def agree(one: Program, other: Program) -> None:
    """Whether two programs are the same but for the total length.

    Raises StreamError, which names the ops whose rows read otherwise.
    """
    differing = []
    if len(one.ops) != len(other.ops):
        differing.append(Reason("", "forward", "it runs other layers at another length"))
    for number, (mine, theirs) in enumerate(zip(one.ops, other.ops, strict=False)):
        if mine.node.op != theirs.node.op or mine.operands != theirs.operands:
            differing.append(reason(mine.node, "it is another op at another length"))
            break
        alike = all(told(one, number) == told(other, number) for told in (_patterns, _across))
        if not alike or _ends_early(one, other, number) or not _same_arguments(mine, theirs):
            differing.append(reason(mine.node, "what it computes depends on the total length"))
    pairs = zip(_constants(one), _constants(other), strict=False)
    if not all(mine.shape == theirs.shape and torch.equal(mine, theirs) for mine, theirs in pairs):
        differing.append(Reason("", "output", "a constant in it depends on the total length"))
    if differing:
        raise StreamError(
            "The model cannot be streamed without knowing its end", differing, _REMEDY
        )


def _constants(program: Program) -> list[Tensor]:
    """What is handed back beside rows."""
    return [*(result for _, _, result in program.fixed), *tensors_in(program.structure)]


def _patterns(program: Program, number: int) -> list[object]:
    return [(value, reach.pattern) for value, reach in program.wiring.ops[number].operands]


def _ends_early(one: Program, other: Program, number: int) -> bool:
    """Whether there are fewer rows at the other length than the first has promised.

    Fewer than a period of them are what a stride leaves over.
    """
    pairs = zip(one.wiring.ops[number].operands, other.wiring.ops[number].operands, strict=True)
    return any(
        mine.certain(theirs.seen[0]) >= theirs.seen[1] + len(mine.stops)
        for (_, mine), (_, theirs) in pairs
    )


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


def _same_arguments(one: Op, other: Op) -> bool:
    """Whether the calls agree in all that their reads do not tell: in settings and in tensors."""
    mine, theirs = one.node.source, other.node.source
    if mine is None or theirs is None:
        return True
    given, again = _by_name(mine), _by_name(theirs)
    kinds = one.node.kinds
    geometry = set(given) - {name for kind in kinds for name in kind.settings(given)}
    return given.keys() == again.keys() and all(
        _same_tensors(given[name], again[name])
        if kinds and name in geometry
        else is_same(given[name], again[name], _equal_rows)
        for name in given
    )


def _by_name(call: Call) -> dict[str, object]:
    """The arguments of a call by name; by number where it has no schema."""
    if operator_of(call.target) is not None:
        return bind(call)
    return {**{str(place): item for place, item in enumerate(call.args)}, **call.kwargs}


def _same_tensors(one: object, other: object) -> bool:
    """Whether the constant tensors of two arguments are the same."""
    pairs = zip(tensors_of([one]), tensors_of([other]), strict=False)
    return all(_equal_rows(*pair) for pair in pairs)


def _equal_rows(one: Tensor, other: Tensor) -> bool:
    """Constants that lie along the axis have passed only where all of their rows are the same."""
    if one is other or one.dim() != other.dim():
        return one is other
    for dim in range(one.dim()):
        if one.shape[dim] != other.shape[dim]:
            one, other = one.narrow(dim, 0, 1), other.narrow(dim, 0, 1)
    return torch.equal(one, other)


_REMEDY = (
    "Announce the length, session(length=...), or what it will be a multiple of, "
    "session(multiple=...)."
)
