"""A call with tensors in place, the table of surrogates, and what they have in common."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from fieldwise.capture.torch.overloads import is_element_wise
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.graph.calls import bind, changed, operator_of, rebind, replay
from fieldwise.graph.ir import Call, Ref, Shape

Surrogate = Callable[["Operation"], Sequence[Tensor]]
_RULES: dict[str, Surrogate] = {}


class UnknownDependence(Exception):  # noqa: N818
    """No exact surrogate is known for this call; the text says why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call with tensors in place: operands require gradients, constants do not.

    name:   of the op in torch.ops.aten ('conv2d'), without the underscore of in-place variants
    call:   of an overload or a wrapper of one (see ``capture.torch.calls``)
    args:   its arguments by their names in the schema, defaults filled in
    shapes: of the results
    """

    name: str
    call: Call
    args: dict[str, Any]
    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, call: Call, operands: Sequence[Tensor], shapes: tuple[Shape, ...]) -> Operation:
        """The captured call with these tensors as its operands."""

        def fill(item: Ref | Tensor) -> Tensor:
            return operands[item.operand] if isinstance(item, Ref) else item.detach()

        schema = operator_of(call.target)._schema
        name = schema.name.removeprefix("aten::")
        if schema.is_mutable and not name.endswith("__"):
            name = name.removesuffix("_")
        filled = changed(call, (Ref, Tensor), fill)
        return cls(name, filled, bind(filled), shapes)

    @property
    def shape(self) -> Shape:
        """The shape of the first result."""
        return self.shapes[0]

    def derived(self) -> list[Tensor]:
        """The arguments that are operands, in order."""
        return [tensor for tensor in tensors_in(self.args) if tensor.requires_grad]

    def only(self, name: str) -> Tensor:
        """The operand called ``name``, where it is the only one; its −inf count as any number."""
        if any(tensor is not self.args[name] for tensor in self.derived()):
            raise UnknownDependence(f"{self.name} with parameters that depend on the input")
        return finite(self.args[name])

    def run(self, args: dict[str, Any]) -> list[Tensor]:
        """The op itself with these arguments; its tensor results."""
        return replay(rebind(self.call, args))


def surrogate(operation: Operation) -> list[Tensor]:
    """The results of the surrogate of this call.  Raises UnknownDependence where none is known."""
    rule = _RULES.get(operation.name)
    target = operation.call.target
    if rule is None and isinstance(target, torch._ops.OpOverload) and is_element_wise(target):
        rule = _RULES[ELEMENTWISE]
    if rule is None:
        raise UnknownDependence(f"{operation.name} has no surrogate")
    return list(rule(operation))


ELEMENTWISE = "element-wise"
"""The name of the surrogate of all that torch tags as element-wise."""


def register(*names: str) -> Callable[[Surrogate], Surrogate]:
    """Register the surrogate of these ops; a second one for an op is an error at import."""

    def register(function: Surrogate) -> Surrogate:
        for name in names:
            if name in _RULES:
                raise ValueError(f"The op {name} already has the surrogate {_RULES[name]}.")
            _RULES[name] = function
        return function

    return register


# ------------------------------------------------------------------------ shared by surrogates


def is_masked(tensor: Tensor) -> Tensor:
    """Where an operand is zero or −inf, for a constant mask says so."""
    return (tensor == 0) | (tensor == -torch.inf)


def finite(tensor: Tensor) -> Tensor:
    """The tensor with ones in place of −inf."""
    return torch.where(tensor == -torch.inf, 1.0, tensor)


def added(tensors: list[Tensor]) -> Tensor:
    """The sum."""
    return reduce(operator.add, tensors)


def spread(tensor: Tensor, shape: Shape) -> Tensor:
    """Broadcast; an in-place op may hold an operand of more dimensions of size one."""
    if tensor.dim() > len(shape):
        tensor = tensor.reshape(tensor.shape[tensor.dim() - len(shape) :])
    return tensor.expand(shape)


def with_sum(tensor: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """Every element and everything along these dimensions."""
    return tensor + tensor.sum(dims, keepdim=True) if dims != () else tensor * 1


def listed(dims: Any, rank: int) -> tuple[int, ...]:
    """The dimensions of an argument; all of them where it names none."""
    if dims is None or dims == []:
        return tuple(range(rank))
    return (dims,) if isinstance(dims, int) else tuple(dims)


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """A size argument, once per spatial axis."""
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)
