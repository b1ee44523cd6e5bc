"""The arguments of a recorded call by their names, without asking what it calls."""

from __future__ import annotations

from typing import Any

from fieldwise.graph.ir import Node, Ref


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a node's call by their names in the op's schema, defaults filled in.

    A ``Ref`` stands where the argument derives from the input.  Empty where the call has no
    schema (a write through a view).
    """
    call = node.source
    schema = _schema(node)
    if call is None or schema is None:
        return {}
    named = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    named |= dict(zip((a.name for a in schema.arguments), call.args, strict=False))
    return named | dict(call.kwargs)


def drops_out(node: Node) -> bool:
    """Whether a dropout draws: torch takes a flag that is None, or that an op lacks, for yes."""
    given = arguments(node)
    return given.get("train", given.get("training")) is not False and given.get("p") != 0


def op_name(node: Node) -> str:
    """The name of the op that a node's call runs, without namespace and overload ('conv2d')."""
    schema = _schema(node)
    return node.op if schema is None else schema.name.split("::")[-1].rstrip("_")


def is_tensor(item: object) -> bool:
    """Whether an argument is a constant tensor."""
    return not isinstance(item, Ref) and hasattr(item, "requires_grad")


def _schema(node: Node) -> Any:
    """Of the operator itself, under a wrapper that keeps it from writing to its arguments."""
    target = node.source.target if node.source is not None else None
    return getattr(target, "_schema", None) or getattr(getattr(target, "op", None), "_schema", None)
