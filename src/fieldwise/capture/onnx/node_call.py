"""A node while it runs, as its translation sees it: attributes by type, subgraphs to be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldwise.capture.onnx.graph import OnnxNode
from fieldwise.capture.onnx.run import OnnxRun
from fieldwise.capture.onnx.tensors import dtype_of
from fieldwise.errors import UsageError


@dataclass(frozen=True, slots=True)
class NodeCall:
    """One run of a node.

    outer:   what its subgraphs read of the graph around them
    run:     what the nodes of a run share
    """

    node: OnnxNode
    graphs: Mapping[str, Any]
    outer: Mapping[str, object]
    run: OnnxRun

    @property
    def working(self) -> torch.dtype:
        """The precision in which the model works."""
        return self.run.working

    @property
    def version(self) -> int:
        """Of the operator set."""
        return self.node.version

    @property
    def outputs(self) -> int:
        """How many outputs the file asks for, up to the last that has a name."""
        return max((n for n, name in enumerate(self.node.outputs, 1) if name), default=0)

    def input_type(self, number: int) -> int:
        """The element type that the file states of an input; 0 where it states none."""
        return self.node.types[number] if number < len(self.node.inputs) else 0

    @property
    def output_type(self) -> int:
        """The element type that the file states of the first output; 0 where it states none."""
        return next(iter(self.node.types[len(self.node.inputs) :]), 0)

    def integer(self, name: str, default: int) -> int:
        """An attribute of type INT."""
        return int(self._of(name, int, default))

    def number(self, name: str, default: float) -> float:
        """An attribute of type FLOAT."""
        return float(self._of(name, (int, float), default))

    def text(self, name: str, default: str = "") -> str:
        """An attribute of type STRING."""
        return str(self._of(name, str, default))

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """An attribute of type INTS; None where it is not given and there is no default."""
        found = self._of(name, tuple, default)
        return None if found is None else [int(one) for one in found]

    def numbers(self, name: str, default: Sequence[float] | None = None) -> list[float] | None:
        """An attribute of type FLOATS; None where it is not given and there is no default."""
        found = self._of(name, tuple, default)
        return None if found is None else [float(one) for one in found]

    def tensor(self, name: str) -> Tensor | None:
        """An attribute of type TENSOR, in the model's precision; None where it is not given."""
        found: Tensor | None = self._of(name, Tensor, None)
        if found is not None and found.dtype == torch.float32:
            return found.to(self.working)
        return found

    def dtype(self, code: int) -> torch.dtype:
        """The torch dtype of an element type; FLOAT is the model's precision."""
        found = dtype_of(code)
        if found is None:
            raise self.refusal(f"element type {code} is not supported")
        return self.working if found == torch.float32 else found

    def run_graph(self, graph: str, inputs: Sequence[object]) -> list[object]:
        """The outputs of a subgraph."""
        body = self.graphs.get(graph)
        if body is None:
            raise self.refusal(f"it has no graph {graph!r}")
        return body(inputs, self.outer, self.run)

    def refusal(self, why: str) -> UsageError:
        """The error for a node that cannot be computed."""
        return UsageError(f"The {self.node} is not supported: {why}.")

    def _of(self, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
        found = self.node.attributes.get(name, default)
        if found is default:
            return default
        if not isinstance(found, kind):
            raise self.refusal(f"its attribute {name!r} is of another type")
        return found
