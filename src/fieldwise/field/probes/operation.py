"""A recorded call with tensors in place, and the kinds of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.graph.calls import bind, changed, op_name, rebind, replay
from fieldwise.graph.ir import Call, Kwargs, Node, Ref, Shape
from fieldwise.graph.kinds import Kind
from fieldwise.graph.tensors import Values


class UnknownDependence(Exception):  # noqa: N818
    """No exact surrogate is known for this call; the text says why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call with tensors in place: operands require gradients, constants do not.

    op:     the node's canonical name ('conv')
    name:   of the op in torch.ops.aten ('conv2d'), without the underscore of in-place variants
    call:   of an overload or a wrapper of one (see ``capture.torch.calls``)
    args:   its arguments by their names in the schema, defaults filled in
    shapes: of the results
    reads:  per result, whether it reads anything
    kinds:  of all that it reads
    open:   where a constant that multiplies is not zero (see ``Graph.zeros``), by its ``id``
    """

    op: str
    name: str
    call: Call
    args: Kwargs
    shapes: tuple[Shape, ...]
    reads: tuple[bool, ...]
    kinds: frozenset[Kind]
    open: Mapping[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        node: Node,
        operands: Sequence[Tensor],
        shapes: tuple[Shape, ...],
        zeros: Mapping[int, Values],
    ) -> Operation:
        """The captured call with these tensors as its operands; ``zeros`` as the graph has them."""
        assert node.source is not None
        numbers, opened = count(len(operands)), dict[int, Tensor]()

        def fill(item: Ref | Tensor) -> Tensor:
            if isinstance(item, Ref):
                return operands[item.operand]
            constant, number = item.detach(), next(numbers)
            if number in zeros:
                opened[id(constant)] = torch.from_numpy(zeros[number])
            return constant

        filled = changed(node.source, (Ref, Tensor), fill)
        kinds = node.kinds
        reads = tuple(map(bool, node.reads))
        return cls(node.op, op_name(node), filled, bind(filled), shapes, reads, kinds, opened)

    @property
    def shape(self) -> Shape:
        """The shape of the first result."""
        return self.shapes[0]

    @property
    def derived(self) -> list[Tensor]:
        """The arguments that are operands, in order."""
        return [tensor for tensor in tensors_in(self.args) if tensor.requires_grad]

    def only(self) -> Tensor:
        """The operand, where it is the only one."""
        first, *others = self.derived
        if others:
            raise UnknownDependence(f"{self.name} with parameters that depend on the input")
        return first

    def run(self, constants: Callable[[Tensor], Tensor], **changes: object) -> list[Tensor]:
        """The tensors that the op makes of its operands, of other constants and arguments."""

        def change(tensor: Tensor) -> Tensor:
            if tensor.requires_grad:
                return tensor
            opened = self.open.get(id(tensor))
            return constants(tensor) if opened is None else constants(tensor) * opened

        args = map_tensors(change, self.args) | {k: v for k, v in changes.items() if k in self.args}
        if (dtype := args.get("dtype")) is not None and not dtype.is_complex:
            args["dtype"] = torch.float64
        try:
            return replay(rebind(self.call, args))
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            raise UnknownDependence(f"{self.name} does not run on generic numbers") from error


def as_given(tensor: Tensor) -> Tensor:
    """A constant as it is, in double precision; a weight without values is generic."""
    if tensor.is_meta:
        return generic(tensor)
    return tensor.cpu().double() if tensor.is_floating_point() else tensor.cpu()


def generic(tensor: Tensor) -> Tensor:
    """Random weights in place of those given, but −inf where a constant mask holds it."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        if tensor.is_meta:
            raise UnknownDependence("indices on the meta device")
        return tensor.cpu()
    weights = drawn(tensor.shape, torch.float64)
    if tensor.is_meta or tensor.is_complex():
        return weights
    return torch.where(tensor.cpu() == -torch.inf, -torch.inf, weights)


def drawn(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Random numbers near one, the same sign everywhere, so that no sum of them cancels."""
    numbers = torch.rand(tuple(shape), dtype=torch.float64) + 0.5
    return torch.complex(numbers, torch.rand_like(numbers)) if dtype.is_complex else numbers


def is_masked(tensor: Tensor) -> Tensor:
    """Where an operand is zero or −inf, for a constant mask says so."""
    return (tensor == 0) | (tensor == -torch.inf)
