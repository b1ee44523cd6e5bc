"""The arguments of a recorded call by their names, without asking what it calls."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fieldwise.graph.ir import Node, Ref


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a node's call by their names in the op's schema, defaults filled in.

    A ``Ref`` stands where the argument derives from the input.  Empty where the call has no
    schema (a write through a view).
    """
    call = node.source
    operator = _operator(node)
    if call is None or operator is None:
        return {}
    names, defaults = _signature(operator)
    return {**defaults, **dict(zip(names, call.args, strict=False)), **call.kwargs}


def drops_out(node: Node) -> bool:
    """Whether a dropout draws: torch takes a flag that is None, or that an op lacks, for yes."""
    given = arguments(node)
    return given.get("train", given.get("training")) is not False and given.get("p") != 0


def op_name(node: Node) -> str:
    """The name of the op that a node's call runs, without namespace and overload ('conv2d')."""
    operator = _operator(node)
    return node.op if operator is None else operator._schema.name.split("::")[-1].rstrip("_")


def is_tensor(item: object) -> bool:
    """Whether an argument is a constant tensor."""
    return not isinstance(item, Ref) and hasattr(item, "requires_grad")


def _operator(node: Node) -> Any:
    """What a node's call runs, without a wrapper that keeps it from writing to its arguments.

    None where it has no schema.
    """
    target = node.source.target if node.source is not None else None
    found = target if hasattr(target, "_schema") else getattr(target, "op", None)
    return found if hasattr(found, "_schema") else None


@cache
def _signature(operator: Any) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """The names of an operator's arguments, and what those are by default that have a default."""
    given = operator._schema.arguments
    defaults = {a.name: a.default_value for a in given if a.has_default_value()}
    return tuple(a.name for a in given), defaults
