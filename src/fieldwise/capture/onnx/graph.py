"""An ONNX graph as plain data: names, tensors and nodes, checked where they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_IMAGES = 4
"""Dimensions of a batch of images; of fewer, the first may be time."""

OnnxSize = int | str | None
"""A size: known, named by a symbol, or open."""


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """An input of a graph; ``dims`` is None where not even its rank is known."""

    name: str
    dtype: torch.dtype
    dims: tuple[OnnxSize, ...] | None

    def __str__(self) -> str:
        """Its shape, with the names of open sizes.

        >>> print(OnnxInput("x", torch.float32, ("batch", 3, None)))
        batchx3x?
        """
        return "x".join("?" if dim is None else str(dim) for dim in self.dims or ())

    @property
    def usual_dims(self) -> tuple[OnnxSize, ...]:
        """Its sizes, an open batch as 1: the first of images and volumes, or one that is called so.

        >>> OnnxInput("x", torch.float32, ("N", 3, 8, 8)).usual_dims
        (1, 3, 8, 8)
        >>> OnnxInput("x", torch.float32, ("time", 3, 8)).usual_dims
        ('time', 3, 8)
        """
        dims = self.dims or ()
        if not dims or isinstance(dims[0], int):
            return dims
        is_batch = len(dims) >= _IMAGES or str(dims[0]).lower().startswith("batch")
        return (1, *dims[1:]) if is_batch else dims

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether the sizes that the file fixes are these."""
        if self.dims is None:
            return True
        fixed = zip(self.dims, shape, strict=False)
        return len(self.dims) == len(shape) and all(
            dim == size for dim, size in fixed if isinstance(dim, int)
        )


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node: what it is called, what it computes, and the values that it takes and makes.

    name:     as in the file, made distinct; the first output where the file gives none
    version:  of the operator set that the node belongs to
    captures: values from around it that its subgraphs read
    types:    the element types of its inputs, then of its outputs; 0 where the file states none
    """

    name: str
    op: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object]
    captures: tuple[str, ...] = ()
    types: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """The operator, with its domain where that is not ONNX's own."""
        return f"{self.domain}.{self.op}" if self.domain else self.op

    def __str__(self) -> str:
        return f"node '{self.name}' ({self.kind})"

    def __deepcopy__(self, memo: dict[int, object]) -> OnnxNode:
        return self


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A graph, or a subgraph of a control-flow node; nodes in execution order.

    constants: initialisers and the tensors of Constant nodes, by value name
    """

    name: str
    inputs: tuple[OnnxInput, ...]
    constants: Mapping[str, Tensor] = field(repr=False)
    nodes: tuple[OnnxNode, ...]
    outputs: tuple[str, ...]

    def closed_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the inputs, where the file fixes them all but for a batch; else ()."""
        shapes = tuple(
            tuple(dim for dim in one.usual_dims if isinstance(dim, int)) for one in self.inputs
        )
        is_fixed = all(
            one.dims is not None and len(shape) == len(one.dims)
            for one, shape in zip(self.inputs, shapes, strict=True)
        )
        return shapes if is_fixed else ()

    @property
    def captures(self) -> tuple[str, ...]:
        """The values that it reads and does not make: those of the graph around it."""
        made = {one.name for one in self.inputs} | set(self.constants)
        found: dict[str, None] = {}
        for node in self.nodes:
            found.update(dict.fromkeys(n for n in reads_of(node) if n not in made))
            made.update(node.outputs)
        found.update(dict.fromkeys(name for name in self.outputs if name not in made))
        return tuple(found)


def reads_of(node: OnnxNode) -> Sequence[str]:
    """The values that a node and its subgraphs read."""
    return [name for name in (*node.inputs, *node.captures) if name]
