"""The affine ops of a graph, and their coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from fieldwise.folding.affine import batchnorm_affine
from fieldwise.folding.calls import Doubles, keeps_statistics, values
from fieldwise.folding.labels import Labels, channel_labels
from fieldwise.folding.lines import FORMULAS, line_of
from fieldwise.folding.passing import is_copy
from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.graph.constants import tensors
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Ref


@dataclass(frozen=True, eq=False)
class Candidate:
    """An op that scales and shifts its operand by constants, one per label.

    number: of its node in the graph
    labels: which coefficient belongs to which element of its result (see ``labels``)
    shifts: whether it shifts at all
    refusal: why it can never be folded, whatever its neighbours are
    forward_only: only the scale and shift at the end of the op can go, not the op: a norm whose
                  statistics are those of its input (layer_norm, group_norm, instance_norm)
    """

    number: int
    node: Node
    labels: Labels
    shifts: bool = True
    refusal: str | None = None
    forward_only: bool = False

    @property
    def result(self) -> str:
        """The value that it makes."""
        return self.node.results[0]

    @property
    def name(self) -> str:
        """How reports call it: its module, or its value where a forward does the arithmetic."""
        return self.node.module or self.result

    @property
    def is_neutral(self) -> bool:
        """Whether it scales by 1 and shifts by 0."""
        scale, shift = self.coefficients()
        return bool((scale == 1).all() and (shift == 0).all())

    def coefficients(self) -> tuple[Doubles, Doubles]:
        """Scale and shift per label, in float64."""
        return _COEFFICIENTS[self.node.op](self.node, self.labels.size)


def candidates(graph: Graph) -> tuple[Candidate, ...]:
    """Every affine op of a graph, in execution order."""
    return tuple(_found(graph))


def coefficients_of(node: Node, channels: int) -> tuple[Doubles, Doubles]:
    """Scale and shift of a batch_norm, in float64."""
    return _COEFFICIENTS[node.op](node, channels)


def _found(graph: Graph) -> Iterator[Candidate]:
    for number, node in enumerate(graph.nodes):
        describe = _DESCRIBE.get(node.op)
        found = describe(graph, number, node) if describe and node.operands else None
        if found is not None:
            yield found


# -------------------------------------------------------------------- batch_norm


def _batch_norm(graph: Graph, number: int, node: Node) -> Candidate | None:
    given = arguments(node)
    shape = graph.shape(node.results[0])
    labels = channel_labels(shape[1], 1, len(shape))
    if not keeps_statistics(graph, node):
        why = "it normalises by the statistics of the batch, which are not constants"
        return Candidate(number, node, labels, refusal=why)
    derived = [name for name in _STATISTICS if isinstance(given.get(name), Ref)]
    if derived or not isinstance(given.get("input"), Ref):
        return Candidate(number, node, labels, refusal=f"its {derived} derive from the input")
    return Candidate(number, node, labels)


def _batch_norm_coefficients(node: Node, channels: int) -> tuple[Doubles, Doubles]:  # noqa: ARG001
    given = arguments(node)
    gamma, beta, mean, var = (
        None if given.get(name) is None else values(given[name]) for name in _STATISTICS
    )
    assert mean is not None
    assert var is not None
    with np.errstate(invalid="ignore", divide="ignore"):  # refused later, the channel named
        return batchnorm_affine(gamma, beta, mean, var, given["eps"])


def _instance_norm(graph: Graph, number: int, node: Node) -> Candidate | None:
    own = arguments(node)["use_input_stats"]
    return (_group_norm if own else _batch_norm)(graph, number, node)


def _instance_norm_coefficients(node: Node, channels: int) -> tuple[Doubles, Doubles]:
    own = arguments(node)["use_input_stats"]
    return (_scale_and_shift if own else _batch_norm_coefficients)(node, channels)


_STATISTICS = ("weight", "bias", "running_mean", "running_var")

# -------------------------------------------------------------------- formulas


def _formula(graph: Graph, number: int, node: Node) -> Candidate | None:
    """What is a line in its operand, with constants that vary along one dimension at most."""
    operand, shape = graph.values[node.operands[0]], graph.shape(node.results[0])
    is_complex = "complex" in operand.dtype
    is_number = is_complex or "float" in operand.dtype
    if operand.shape != shape or not is_number or is_copy(graph, node):
        return None
    sizes = np.broadcast_shapes(*(tuple(item.shape) for _, item in tensors(arguments(node))))
    if sum(size > 1 for size in sizes) > 1 or len(sizes) > len(shape):
        return None
    labels = np.arange(prod(sizes)).reshape([1] * (len(shape) - len(sizes)) + list(sizes))
    if is_complex and len(node.operands) == 1:
        return Candidate(number, node, labels, refusal="its numbers are complex")
    line = line_of(node)
    if line is None:
        return None
    return Candidate(number, node, labels, shifts=bool(np.any(line.shift)))


def _formula_coefficients(node: Node, size: int) -> tuple[Doubles, Doubles]:
    line = line_of(node)
    assert line is not None
    sizes = np.broadcast_shapes(np.shape(line.scale), np.shape(line.shift))
    scale, shift = (np.broadcast_to(part, sizes).reshape(-1) for part in (line.scale, line.shift))
    return np.broadcast_to(scale, size), np.broadcast_to(shift, size)


# -------------------------------------------------------------------- norms of their input


def _layer_norm(graph: Graph, number: int, node: Node) -> Candidate | None:
    shape, normal = graph.shape(node.results[0]), tuple(arguments(node)["normalized_shape"])
    labels = np.arange(prod(normal)).reshape([1] * (len(shape) - len(normal)) + list(normal))
    return _normalising(number, node, labels)


def _group_norm(graph: Graph, number: int, node: Node) -> Candidate | None:
    shape = graph.shape(node.results[0])
    return _normalising(number, node, channel_labels(shape[1], 1, len(shape)))


def _normalising(number: int, node: Node, labels: Labels) -> Candidate | None:
    """The scale and shift of a norm whose statistics are those of its input."""
    given = arguments(node)
    affine = [given.get(name) for name in ("weight", "bias")]
    if not any(map(is_tensor, affine)) or any(isinstance(item, Ref) for item in affine):
        return None
    return Candidate(number, node, labels, shifts=is_tensor(affine[1]), forward_only=True)


def _scale_and_shift(node: Node, size: int) -> tuple[Doubles, Doubles]:
    given = arguments(node)
    weight, bias = given.get("weight"), given.get("bias")
    scale = np.ones(size) if weight is None else values(weight).reshape(-1)
    return scale, np.zeros(size) if bias is None else values(bias).reshape(-1)


_DESCRIBE = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    **dict.fromkeys(FORMULAS, _formula),
}
_COEFFICIENTS = {
    "batch_norm": _batch_norm_coefficients,
    "instance_norm": _instance_norm_coefficients,
    **dict.fromkeys(("layer_norm", "group_norm"), _scale_and_shift),
    **dict.fromkeys(FORMULAS, _formula_coefficients),
}
