"""Values that are kept whole between passes; in memory here, in files in jobs.kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Value
from fieldwise.graph.tensors import dtype_name
from fieldwise.tile.arrays import Readable
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.known import stand_in
from fieldwise.tile.bands.program import Streamed


class Store:
    """Values by name.

    values: with a dimension of its own for rows (see ``program.Streamed``)
    axes:   where the axis lies in each as the graph has it
    device: where what is found is computed with; the values themselves are kept on the host
    """

    device = torch.device("cpu")

    def __init__(self, values: Mapping[str, Tensor] | None = None) -> None:
        self.values: dict[str, Tensor] = dict(values or {})
        self.axes: dict[str, AxisPlace] = {}

    @property
    def arrays(self) -> Mapping[str, Readable]:
        """The values as something to read from."""
        return self.values

    def begin(self, name: str, value: Value, axis: AxisPlace) -> None:
        """Make room for a value of a graph, of which rows are written."""
        self.axes[name] = axis
        self.values[name] = self.room(Streamed.of(name, value, axis, endless=False))

    def room(self, kind: Streamed) -> Tensor:
        """Where a value is kept."""
        return torch.empty(kind.shape, dtype=kind.dtype)

    def put(self, name: str, value: Tensor, axis: AxisPlace | None = None) -> None:
        """Keep a value that is there at once; without an axis it has none."""
        dtype = dtype_name(value.dtype)
        axis = AxisPlace(0) if axis is None else axis
        self.begin(name, Value(name, tuple(value.shape) or (1,), dtype), axis)
        self.values[name].copy_(value.reshape(self.values[name].shape))

    def write(self, name: str, lo: int, rows: Tensor) -> None:
        """Take in rows of a value, from row ``lo`` on."""
        axis = self.axes[name]
        dim = axis.dim + (axis.lead > 1)
        self.values[name].narrow(dim, lo, rows.shape[dim]).copy_(rows)

    def find(self, graph: Graph, name: str) -> Tensor:
        """A value as a graph has it, or what stands in for it where it is not there."""
        if name not in self.values:
            return stand_in(graph.values[name])
        return self.values[name].reshape(graph.shape(name)).to(self.device)

    def keep(self, names: Collection[str]) -> None:
        """Forget all other values."""
        for name in [name for name in self.values if name not in names]:
            del self.values[name], self.axes[name]

    # ---------------------------------------------------------------- from run to run

    def manifest(self, names: Collection[str]) -> Mapping[str, object]:  # noqa: ARG002
        """What another process needs to find these values again; nothing where none could."""
        return {}

    def adopt(self, manifest: Mapping[str, object]) -> bool:
        """Take over what an earlier run has kept; False, and nothing, where it is not all there."""
        return not manifest
