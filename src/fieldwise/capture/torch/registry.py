"""The table of op rules of the torch frontend: one decorator, one rule per op.

A rule takes an ``OpCall`` and returns, per result of the op, the tuple of reads by which that
result depends on the operands.  Registering an op twice is an error at import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fieldwise.graph.ir import Read, Ref, Shape

Reads = tuple[tuple[Read, ...], ...]
Rule = Callable[["OpCall"], Reads]


@dataclass(frozen=True, slots=True)
class OpCall:
    """One call of an op, as a rule sees it.

    op:       the name in the registry ('conv2d')
    args:     every argument by its name in the op's schema, defaults filled in; a ``Ref``
              stands where the tensor derives from the input, constants are real tensors
              (on the meta device where the model was built there: see ``constant``)
    operands: shapes of the operands, by operand number
    results:  shapes of the results
    training: whether the innermost running module is in training mode
    renews:   whether the op's schema says that it makes new running statistics
    complex:  whether a result is complex
    """

    op: str
    args: dict[str, Any]
    operands: tuple[Shape, ...]
    results: tuple[Shape, ...]
    training: bool = False
    renews: bool = False
    complex: bool = False

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def operand(self, name: str) -> int | None:
        """The operand number of an argument; None if it is a constant or absent."""
        value = self.args.get(name)
        return value.operand if isinstance(value, Ref) else None

    def shape(self, name: str) -> Shape:
        """The shape of a tensor argument, operand or constant."""
        value = self.args[name]
        return self.operands[value.operand] if isinstance(value, Ref) else tuple(value.shape)

    def derived(self) -> tuple[tuple[str, int], ...]:
        """The arguments that are operands: (argument name, operand number), lists flattened."""
        found = []
        for name, value in self.args.items():
            for item in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(item, Ref):
                    found.append((name, item.operand))
        return tuple(found)

    def constant(self, name: str) -> np.ndarray | None:
        """The values of a constant tensor argument; None where the model holds no values."""
        return constant_values(self.args[name])

    @property
    def result(self) -> Shape:
        """The shape of the only result."""
        return self.results[0]


def constant_values(tensor: torch.Tensor) -> np.ndarray | None:
    """A constant tensor's values, or None where it lives on the meta device."""
    if tensor.device.type == "meta":
        return None
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


_RULES: dict[str, tuple[str, Rule]] = {}


def rule(*ops: str, name: str | None = None) -> Callable[[Rule], Rule]:
    """Register a rule for these ops, named as in torch.ops without overload ('aten::conv2d').

    A bare name means the aten namespace.  ``name`` is the canonical op name in graphs; by
    default it is the op's own.  Raises ValueError where an op already has a rule.
    """

    def register(function: Rule) -> Rule:
        for op in ops:
            key = op if "::" in op else f"aten::{op}"
            if key in _RULES:
                raise ValueError(f"The op {key} already has the rule {_RULES[key][1].__name__}.")
            _RULES[key] = (name or key.split("::")[1], function)
        return function

    return register


def find_rule(op: str) -> tuple[str, Rule] | None:
    """The canonical name and rule of an op ('aten::conv2d'), or None."""
    return _RULES.get(op)


def one(*reads: Read) -> Reads:
    """The reads of an op with one result."""
    return (tuple(reads),)


def normal_dim(dim: int, rank: int) -> int:
    """A dimension counted from the front (a scalar counts as one dimension)."""
    return dim % max(rank, 1)


def normal_dims(dims: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Dimensions counted from the front; all of them for None or an empty list."""
    if dims is None or (not isinstance(dims, int) and len(dims) == 0):
        return tuple(range(rank))
    if isinstance(dims, int):
        dims = (dims,)
    return tuple(sorted(normal_dim(dim, rank) for dim in dims))
