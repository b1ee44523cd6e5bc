"""The layers that can take an affine op into their weights: what they are in a recorded call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldwise.folding.calls import is_float, keeps_statistics
from fieldwise.folding.refusal import Stays
from fieldwise.graph.calls import arguments, is_tensor, op_name, per_axis
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Kwargs, Node, Ref

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer with constant weights, or a BatchNorm, as a partner of an affine op.

    weight, bias: the constants of its call; ``bias`` is None where it has none
    groups, transposed: as ``fold_affine`` takes them
    into, out:    its channel dimension in its operand and in its result
    """

    number: int
    node: Node
    kind: str
    weight: Tensor
    bias: Tensor | None
    into: int
    out: int
    groups: int = 1
    transposed: bool = False

    @property
    def name(self) -> str:
        """How reports call it."""
        return self.node.module or self.node.results[0]

    @property
    def result(self) -> str:
        """The value that it makes."""
        return self.node.results[0]


def layer_of(graph: Graph, number: int) -> Layer | None:
    """The layer that a node runs; None if it runs none.

    Raises Stays for one whose weights are not constants.
    """
    node = graph.nodes[number]
    make = _LAYERS.get(node.op)
    return make(graph, number, node) if make is not None else None


def pads_zeros(layer: Layer) -> bool:
    """Whether a convolution reads zeros beyond its operand."""
    given = arguments(layer.node)
    padding = given.get("padding", 0)
    if isinstance(padding, str):
        return padding != "valid" and any(size > 1 for size in layer.weight.shape[2:])
    return any(padding) if isinstance(padding, (list, tuple)) else bool(padding)


def is_pointwise(layer: Layer) -> bool:
    """Whether every output of a convolution reads one position, through one tap, and all do."""
    return all(size == 1 for size in layer.weight.shape[2:]) and set(strides(layer)) <= {1}


def strides(layer: Layer) -> tuple[int, ...]:
    """How far apart the outputs of a convolution read, per axis."""
    return per_axis(arguments(layer.node).get("stride", 1), layer.weight.ndim - 2)


def spans(layer: Layer) -> tuple[int, ...]:
    """Of how many inputs, less what is padded, a convolution makes its first output, per axis."""
    if arguments(layer.node).get("padding") == "same":
        return (1,) * (layer.weight.ndim - 2)
    return tuple(axis[0] + axis[-1] + 1 for axis in offsets(layer))


def offsets(layer: Layer) -> tuple[tuple[int, ...], ...]:
    """Per axis and tap of a convolution: output i reads input stride · i + offset, or zero."""
    given = arguments(layer.node)
    kernel = tuple(layer.weight.shape[2:])
    dilation = per_axis(given.get("dilation", 1), len(kernel))
    padding = given.get("padding", 0)
    if padding == "same":
        pads = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    else:
        pads = per_axis(0 if padding == "valid" else padding, len(kernel))
    return tuple(
        tuple(d * tap - p for tap in range(k))
        for k, d, p in zip(kernel, dilation, pads, strict=True)
    )


def centre_tap(layer: Layer) -> tuple[int, ...] | None:
    """The tap through which output i of a convolution reads input i; None where there is none."""
    square = layer.weight.shape[0] == layer.weight.shape[1] * layer.groups
    found = offsets(layer)
    if layer.transposed or not square or any(s != 1 for s in strides(layer)):
        return None
    return tuple(axis.index(0) for axis in found) if all(0 in axis for axis in found) else None


def check_forward(layer: Layer, *, shifts: bool) -> None:
    """Raise Stays where a layer cannot take an affine op before it."""
    if not shifts or layer.kind in ("linear", "matmul", "batch_norm"):
        return
    if layer.kind == "conv_transpose" or layer.transposed:
        if not is_pointwise(layer):
            raise Stays(
                f"'{layer.name}' is a transposed convolution: its outputs read different taps, so "
                "that a shift before it is no bias"
            )
    elif pads_zeros(layer):
        raise Stays(f"'{layer.name}' pads with zeros, which a shift would have to reach")


def _convolution(graph: Graph, number: int, node: Node) -> Layer:
    given, name = arguments(node), op_name(node)
    if name == "conv_tbc":
        raise Stays(f"'{node.results[0]}' is a time-first convolution, which fold does not know")
    _constant(node, given, "weight", "bias")
    dim = len(graph.shape(node.results[0])) - 1 - (given["weight"].ndim - 2)
    return Layer(
        number,
        node,
        node.op,
        given["weight"],
        given.get("bias"),
        dim,
        dim,
        given.get("groups", 1),
        "transpose" in name or bool(given.get("transposed")),
    )


def _linear(graph: Graph, number: int, node: Node) -> Layer:
    given = arguments(node)
    _constant(node, given, "weight", "bias")
    into = len(graph.shape(node.operands[0])) - 1
    out = len(graph.shape(node.results[0])) - 1
    return Layer(number, node, "linear", given["weight"], given.get("bias"), into, out)


def _matmul(graph: Graph, number: int, node: Node) -> Layer | None:
    """x @ W with a constant matrix W, and b + x @ W."""
    given, name = arguments(node), op_name(node)
    right = {"matmul": "other", "mm": "mat2", "addmm": "mat2"}.get(name)
    if right is None or not is_tensor(given.get(right)) or given[right].ndim != 2:
        return None
    bias = given["self"] if name == "addmm" else None
    if name == "addmm" and not (is_tensor(bias) and given["alpha"] == given["beta"] == 1):
        return None
    into = len(graph.shape(node.operands[0])) - 1
    out = len(graph.shape(node.results[0])) - 1
    return Layer(number, node, "matmul", given[right], bias, into, out, transposed=True)


def _batch_norm(graph: Graph, number: int, node: Node) -> Layer | None:
    """An affine op that stays can take another; its weights are scale and shift."""
    given = arguments(node)
    if given.get("weight") is None or not keeps_statistics(graph, node):
        return None
    _constant(node, given, "weight", "bias", "running_mean", "running_var")
    return Layer(number, node, "batch_norm", given["weight"], given.get("bias"), 1, 1)


def _constant(node: Node, given: Kwargs, *names: str) -> None:
    for name in names:
        if isinstance(given.get(name), Ref):
            raise Stays(f"the {name} of '{node.results[0]}' derives from the input")
        if is_tensor(given.get(name)) and not is_float(given[name]):
            raise Stays(f"the {name} of '{node.results[0]}' is not a floating-point tensor")


_LAYERS = {
    "conv": _convolution,
    "conv_transpose": _convolution,
    "linear": _linear,
    "matmul": _matmul,
    "batch_norm": _batch_norm,
}
