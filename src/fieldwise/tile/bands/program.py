"""A program: the ops of a graph as they are run on bands of rows, and how they hang together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldwise.graph.ir import Node, Shape
from fieldwise.tile.bands.kernels import KernelRun
from fieldwise.tile.bands.schedule import Wiring
from fieldwise.tile.outputs import structured


@dataclass(frozen=True, slots=True)
class Streamed:
    """A value that is computed row by row: its shape at the real size and its streamed dimension.

    ``rows`` is None while the total length is not known; ``row_bytes`` is the memory of one row.
    """

    name: str
    shape: Shape
    dtype: torch.dtype
    dim: int
    rows: int | None
    row_bytes: int

    def band(self, rows: int) -> list[int]:
        """The shape of so many of its rows."""
        return [rows if dim == self.dim else size for dim, size in enumerate(self.shape)]


@dataclass(frozen=True, slots=True)
class Op:
    """A node of the graph as it is run: operand number → value, and where its results go."""

    node: Node
    run: KernelRun
    operands: Mapping[int, int]
    results: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Values, ops in execution order, and how they hang together.

    output_names, outputs: of the outputs that are streamed
    fixed: the others: place among the model's outputs, name, result
    structure: of the model's output (see ``Graph.structure``)
    """

    values: tuple[Streamed, ...]
    ops: tuple[Op, ...]
    wiring: Wiring
    output_names: tuple[str, ...]
    outputs: tuple[int, ...]
    fixed: tuple[tuple[int, str, Tensor], ...] = ()
    structure: object = None

    def structured(self, results: Sequence[object], given: Callable[[Tensor], object]) -> Any:
        """What the model returns: ``results`` of the streamed outputs, and what else there is.

        given: the form in which a tensor is handed back that was not streamed
        """
        found = list(results)
        for place, _, result in self.fixed:
            found.insert(place, given(result.clone()))
        return structured(self.structure, found, given)
