"""A recorded call: its arguments by name, its tensors, the call made again; without torch.

An op nests tensors one list deep among its arguments, so a call's leaves are looked for there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any, TypeGuard

from fieldwise.graph.ir import Args, Call, Kwargs, Node, Ref
from fieldwise.graph.tensors import TensorLike

Leaves = type | tuple[type, ...]
"""The types of the leaves that are asked for."""


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a node's call by their names in the op's schema, defaults filled in.

    A ``Ref`` stands where the argument derives from the input.  Empty where the call has no
    schema (a write through a view).
    """
    call = node.source
    return {} if call is None or operator_of(call.target) is None else bind(call)


def op_name(node: Node) -> str:
    """The name of the op that a node's call runs, without namespace and overload ('conv2d')."""
    return (node.source is not None and target_name(node.source.target)) or node.op


def target_name(target: object) -> str:
    """The same of what a call runs; empty where that has no schema."""
    found = operator_of(target)
    return "" if found is None else found._schema.name.split("::")[-1].rstrip("_")


def operator_of(target: object) -> Any:
    """What a call runs, without a wrapper that keeps it from writing to its arguments.

    None where it has no schema.
    """
    found = target if hasattr(target, "_schema") else getattr(target, "op", None)
    return found if hasattr(found, "_schema") else None


def is_tensor(item: object) -> TypeGuard[TensorLike]:
    """Whether an argument is a constant tensor."""
    return not isinstance(item, Ref) and hasattr(item, "requires_grad")


# -------------------------------------------------------------------- by name


def bind(call: Call) -> dict[str, Any]:
    """The arguments of a call by name, defaults filled in; the keywords where it has no schema."""
    found = operator_of(call.target)
    if found is None:
        return dict(call.kwargs)
    names, defaults = _signature(found)
    return {**defaults, **dict(zip(names, call.args, strict=False)), **call.kwargs}


def rebind(call: Call, changes: Kwargs) -> Call:
    """The same call, of an op with a schema, with other arguments of these names."""
    given, args, kwargs = bind(call) | dict(changes), [], {}
    for argument in operator_of(call.target)._schema.arguments:
        if not argument.kwarg_only:
            args.append(given[argument.name])
        elif argument.name in given:
            kwargs[argument.name] = given[argument.name]
    return Call(call.target, tuple(args), kwargs)


@cache
def _signature(operator: Any) -> tuple[tuple[str, ...], Kwargs]:
    """The names of an operator's arguments, and what those are by default that have a default."""
    given = operator._schema.arguments
    defaults = {a.name: a.default_value for a in given if a.has_default_value()}
    return tuple(a.name for a in given), defaults


def per_axis(value: int | Sequence[int] | None, axes: int, default: int = 0) -> tuple[int, ...]:
    """A torch size argument, once per spatial axis.

    >>> per_axis(2, 3), per_axis([2], 2), per_axis([], 2, default=1)
    ((2, 2, 2), (2, 2), (1, 1))
    """
    if value is None or (not isinstance(value, int) and len(value) == 0):
        return (default,) * axes
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)


# -------------------------------------------------------------------- by leaf


def change_arguments(
    kinds: Leaves, change: Callable[[Any], Any], args: Args, kwargs: Kwargs
) -> tuple[Args, dict[str, Any]]:
    """The arguments of an op with every leaf of these types changed.

    >>> change_arguments(int, str, (1, [2, None]), {"bias": None, "groups": 3})
    (('1', ['2', None]), {'bias': None, 'groups': '3'})
    """

    def visit(value: Any) -> Any:
        if isinstance(value, kinds):
            return change(value)
        if isinstance(value, (list, tuple)):
            for item in value:  # a generator would cost as much as all the rest
                if isinstance(item, kinds):
                    return [change(item) if isinstance(item, kinds) else item for item in value]
        return value

    return tuple(map(visit, args)), {key: visit(value) for key, value in kwargs.items()}


def changed(call: Call, kinds: Leaves, change: Callable[[Any], Any]) -> Call:
    """The same call with every leaf of these types among its arguments changed."""
    return Call(call.target, *change_arguments(kinds, change, call.args, call.kwargs))


def constants_of(call: Call) -> list[TensorLike]:
    """The constant tensors of a call, in the order of its arguments."""
    return tensors_among((*call.args, *call.kwargs.values()))


def opened(call: Call, first: int) -> tuple[Call, list[Any]]:
    """The same call with a ``Ref`` for each of its constants, from number ``first``; and these."""
    constants = constants_of(call)
    numbers = count(first)
    kinds = tuple({type(constant) for constant in constants})
    return changed(call, kinds, lambda _: Ref(next(numbers))), constants


def tensors_among(values: Iterable[object]) -> list[TensorLike]:
    """The constant tensors among arguments, or the tensors among results; lists flattened."""
    found: list[TensorLike] = []
    for value in values:
        found += filter(is_tensor, value if isinstance(value, (list, tuple)) else (value,))
    return found


def is_same(one: object, other: object, tensors: Callable[[Any, Any], bool]) -> bool:
    """Whether two arguments are the same, constant tensors in the judgement of ``tensors``.

    >>> is_same([Ref(0), (1, 2)], [Ref(0), [1, 2]], lambda *_: False)
    True
    >>> is_same(1, True, lambda *_: False)
    False
    """
    if is_tensor(one) and is_tensor(other):
        return tensors(one, other)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(is_same(*pair, tensors) for pair in pairs)
    return type(one) is type(other) and bool(one == other)


# -------------------------------------------------------------------- made again


def replay(
    call: Call,
    operands: Sequence[Any] | Mapping[int, Any] = (),
    *,
    by: Callable[..., Any] | None = None,
) -> list[Any]:
    """Make a call of these operands, or have it made ``by(target, args, kwargs)``.

    Returns the tensors among its results: those that a node names.
    """
    args, kwargs = change_arguments(Ref, lambda ref: operands[ref.operand], call.args, call.kwargs)
    made = call.target(*args, **kwargs) if by is None else by(call.target, args, kwargs)
    return tensors_among((made,))
