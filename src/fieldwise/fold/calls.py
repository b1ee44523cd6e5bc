"""The arguments of a recorded call by their names, and its constants as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.graph.ir import Call, Node, Ref

Array = NDArray[np.float64]


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a node's call by their names in the op's schema, defaults filled in.

    A ``Ref`` stands where the argument derives from the input.  Empty where the call has no
    schema (a write through a view).
    """
    call = node.source
    schema = getattr(_operator(call), "_schema", None) if call is not None else None
    if call is None or schema is None:
        return {}
    named = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    named |= dict(zip((a.name for a in schema.arguments), call.args, strict=False))
    return named | dict(call.kwargs)


def op_name(node: Node) -> str:
    """The name of the op that a node's call runs, without namespace and overload ('conv2d')."""
    schema = getattr(_operator(node.source), "_schema", None) if node.source else None
    return schema.name.split("::")[-1].rstrip("_") if schema is not None else node.op


def is_tensor(value: Any) -> bool:
    """Whether an argument is a constant tensor."""
    return value is not None and not isinstance(value, Ref) and hasattr(value, "requires_grad")


def is_float(tensor: Any) -> bool:
    """Whether a constant tensor holds real numbers."""
    return bool(tensor.dtype.is_floating_point)


def values(tensor: Any) -> Array:
    """A constant tensor as a float64 array.

    Raises UsageError for one without values.
    """
    if tensor.device.type == "meta":
        raise UsageError("The model is on the meta device and has no weights to fold; load them.")
    array: Array = tensor.detach().double().cpu().numpy()
    return array


def _operator(call: Call | None) -> Any:
    """The operator itself, under a wrapper that keeps it from writing to its arguments."""
    target = call.target if call is not None else None
    return target if hasattr(target, "_schema") else getattr(target, "op", None)
