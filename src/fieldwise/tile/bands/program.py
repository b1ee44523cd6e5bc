"""A program: the ops of a graph as they are run on bands of rows, and how they hang together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from fieldwise.errors import Reason
from fieldwise.graph.calls import constants_of
from fieldwise.graph.ir import Node, Shape, Value, numel
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.kernels import Executor
from fieldwise.tile.bands.kernels.constants import Laws, laws_among
from fieldwise.tile.bands.schedule import Task, Wiring
from fieldwise.tile.errors import StreamError
from fieldwise.tile.memory_format import CHANNELS_LAST, channels_last_pays, is_channels_last
from fieldwise.tile.outputs import structured


@dataclass(frozen=True, slots=True)
class Streamed:
    """A value that is computed row by row: its shape at the real size and its streamed dimension.

    In ``shape`` rows have a dimension of their own, ``dim``.  Where the axis is the trailing digit
    of a dimension (time folded into the batch), that stands there as two: ``lead``, and the rows.

    rows:      None while the total length is not known
    row_bytes: the memory of one row
    """

    name: str
    shape: Shape
    dtype: torch.dtype
    dim: int
    rows: int | None
    row_bytes: int
    lead: int = 1

    @classmethod
    def of(cls, name: str, value: Value, axis: AxisPlace, *, endless: bool) -> Streamed:
        """A value of a graph whose axis lies there."""
        shape, dim = value.shape, axis.dim
        rows, dtype = shape[dim] // axis.lead, getattr(torch, value.dtype)
        if axis.lead > 1:
            shape, dim = (*shape[:dim], axis.lead, rows, *shape[dim + 1 :]), dim + 1
        row_bytes = numel((*shape[:dim], *shape[dim + 1 :])) * dtype.itemsize
        return cls(name, shape, dtype, dim, None if endless else rows, row_bytes, axis.lead)

    @property
    def axis(self) -> AxisPlace:
        """Where the streamed axis lies in the value as the graph has it."""
        return AxisPlace(self.dim - (self.lead > 1), self.lead)

    @property
    def whole(self) -> Shape:
        """The shape of the value as the graph has it."""
        if self.lead == 1:
            return self.shape
        size = self.lead * self.shape[self.dim]
        return (*self.shape[: self.dim - 1], size, *self.shape[self.dim + 1 :])

    def folded(self, rows: Tensor) -> Tensor:
        """Rows, or the whole, as the graph has them."""
        return rows.flatten(self.dim - 1, self.dim) if self.lead > 1 else rows

    def unfolded(self, rows: Tensor) -> Tensor:
        """The opposite."""
        return rows.unflatten(self.dim - 1, (self.lead, -1)) if self.lead > 1 else rows

    def band(self, rows: int) -> list[int]:
        """The shape of so many of its rows."""
        return [rows if dim == self.dim else size for dim, size in enumerate(self.shape)]


@dataclass(frozen=True, slots=True)
class Op:
    """A node of the graph as it is run: operand number → value, and where its results go.

    executor: how it is run
    earlier: nodes that are run as a part of it
    seats: operands of one row that lies elsewhere for this node than it was made (see ``early``)
    """

    node: Node
    executor: Executor
    operands: Mapping[int, int]
    results: tuple[tuple[int, int], ...]
    earlier: tuple[Node, ...] = ()
    seats: Mapping[int, Streamed] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that are run, in their order."""
        return (*self.earlier, self.node)

    @property
    def is_view(self) -> bool:
        """Whether rows that it makes lie in the memory of those that it reads: written in place,
        or looked at in another way.
        """
        call = self.node.source
        if call is None or not isinstance(call.target, OpOverload):
            return False
        return any(one.alias_info is not None for one in call.target._schema.returns)


@dataclass(frozen=True, slots=True)
class Program:
    """Values, ops in execution order, and how they hang together.

    output_names, outputs: of the outputs that are streamed
    fixed: the others: place among the model's outputs, name, result
    structure: of the model's output (see ``Graph.structure``)
    scale: rows of the longest input per row of the model's longest input
    laws: of constants that are as long as an axis whose length is unknown
    pieced: ops that make their only result piece by piece where their operands lie in several
    apart: values that only such ops read
    goes_on: whether it would do the same without an end, so that no op in it knows its position
    """

    values: tuple[Streamed, ...]
    ops: tuple[Op, ...]
    wiring: Wiring
    output_names: tuple[str, ...]
    outputs: tuple[int, ...]
    fixed: tuple[tuple[int, str, Tensor], ...] = ()
    structure: object = None
    scale: Fraction = Fraction(1)
    laws: Laws = field(default_factory=dict)
    pieced: frozenset[int] = frozenset()
    apart: frozenset[int] = frozenset()
    goes_on: Callable[[], bool] = field(default=lambda: False, compare=False)

    @property
    def captured(self) -> int:
        """The rows of its longest input when it was captured."""
        inputs = (self.values[value] for value in self.wiring.inputs)
        return max(kind.shape[kind.dim] for kind in inputs)

    @property
    def lasts(self) -> bool:
        """Whether it goes on for ever as it is.

        Where a table of positions or what rows see of the past was seen as far as the captured
        length alone, it has to be captured anew for a longer stream.
        """
        nodes = (node for op in self.ops for node in op.nodes)
        return self.forgets and all(law.lasts for law in laws_among(nodes, self.laws))

    @property
    def forgets(self) -> bool:
        """Whether no row sees all of its past, as far as anybody has seen."""
        reaches = (reach for op in self.wiring.ops for _, reach in op.operands)
        return not any(reach.is_past for reach in reaches)

    def joins(self, task: Task, held: int) -> bool:
        """Whether new rows of a value are written behind the ``held`` ones of it, in one block.

        Then what reads both reads one block; to copy more than there is new would cost more than
        that saves, and so would to copy many where nobody asks for one block.  Rows of outputs
        stand by themselves, since they are the caller's.
        """
        value, *others = task.values
        if others or value in self.wiring.outputs or self.values[value].lead > 1:
            return False
        new = task.hi - task.lo
        return 0 < held <= (new // _FEW if value in self.apart else new)

    @property
    def convolved_ranks(self) -> frozenset[int]:
        """How many dimensions values have that convolutions read."""
        return frozenset(
            len(self.values[value].whole)
            for op in self.ops
            if op.node.op in _CONVOLUTIONS
            for value in op.operands.values()
        )

    def scaled(self, rows: int) -> int:
        """So many rows of the model's input, in rows of the inputs of this program."""
        return max(ceil(rows * self.scale), min(rows, 1))

    def check_rows_apart(self) -> None:
        """Raise StreamError where rows of an output cannot be handed on one after the other."""
        folded = [
            Reason("", "output", f"in '{name}' the streamed axis is folded into dimension "
                   f"{self.values[value].axis.dim}, behind others")
            for name, value in zip(self.output_names, self.outputs, strict=True)
            if self.values[value].lead > 1
        ]  # fmt: skip
        if folded:
            what = "The rows of the result cannot be handed on as they come"
            raise StreamError(what, folded, _UNFOLD)

    def structured(self, results: Sequence[object], given: Callable[[Tensor], object]) -> Any:
        """What the model returns: ``results`` of the streamed outputs, and what else there is.

        given: the form in which a tensor is handed back that was not streamed
        """
        found = list(results)
        for place, _, result in self.fixed:
            found.insert(place, given(result.clone()))
        return structured(self.structure, found, given)


def kept_weights(nodes: Iterable[Node], dtypes: Iterable[torch.dtype], device: torch.device) -> int:
    """Bytes of the weights of which a run keeps a copy in channels-last.

    dtypes: of its values; device: where it is computed
    """
    if not channels_last_pays(device, dtypes):
        return 0
    weights = {
        id(one): one.nbytes
        for node in nodes
        if node.op in _CONVOLUTIONS and node.source is not None
        for one in constants_of(node.source)
        if isinstance(one, Tensor) and one.dim() in CHANNELS_LAST and not is_channels_last(one)
    }
    return sum(weights.values())


_FEW = 8
"""Of values that nobody asks for in one block, rows are copied if they are one in so many."""
_CONVOLUTIONS = ("conv", "conv_transpose")

_UNFOLD = (
    "Let the model give the axis a dimension of its own, as in unflatten(0, (b, t)), or take the "
    "whole result at once: streamed(model, example)(x)."
)
