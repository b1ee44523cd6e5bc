"""An ONNX file with periodic boundaries: what pads is given a wrapped operand instead.

Only what is said by cutting and joining is rewritten: windows and paddings.  What comes out is held
against the model that was repaired in memory, and refused where it computes something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, helper
from torch import Tensor, nn

from fieldwise.capture.onnx import OnnxModule, load_onnx
from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.run import OnnxRun
from fieldwise.capture.onnx.translate.window import window_of
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.running import copied, doubled, run
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.errors import UnsuitableError
from fieldwise.graph.graph import Graph
from fieldwise.shift.measurement.subject import noise

_WINDOWS = {"Conv", "MaxPool", "AveragePool", "LpPool"}
_FIRST_SPATIAL = 2
_END = (1 << 31) - 1
_OLDEST = 10
"""From this version on, what is cut is said by operands."""

_NEAR = 1e-9


def periodic_file(
    module: nn.Module, repaired: nn.Module, example: object, axes: Sequence[int] | None = None
) -> OnnxModule:
    """The file of a module, with the boundaries of ``repaired``, its copy (see ``circular``).

    axes: that are periodic; by default all from 2 on

    Raises UnsuitableError where the file then computes something else than that copy.
    """
    assert isinstance(module, OnnxModule)
    found = _rewritten(module, ModelCall.of(module, example).graph(), axes)
    made = load_onnx(module.file.path, model=found)
    given = noise(example, seed=0)
    wanted, got = (list(tensors_in(run(doubled(copied(one)), given))) for one in (repaired, made))
    if not all(map(_is_near, got, wanted)):
        raise UnsuitableError(
            f"{module.name!r} has layers whose periodic form is no wrapped operand (transposed "
            "convolutions, resizing between samples), so that no ONNX file is written; write the "
            "repaired model without the suffix .onnx."
        )
    return made


def _is_near(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape:
        return False
    return bool((one - two).abs().max() <= _NEAR * two.abs().max())


def _rewritten(module: OnnxModule, graph: Graph, axes: Sequence[int] | None) -> ModelProto:
    if module.file.versions.get("", 0) < _OLDEST:
        raise UnsuitableError(
            f"{module.name!r} is of an operator set before {_OLDEST}; convert it first, with "
            f"onnx.version_converter."
        )
    model = ModelProto()
    model.CopyFrom(module.file.proto)
    del model.graph.value_info[:]
    wrapping = _Wrapping(module, axes)
    for node in model.graph.node:
        if node.op_type in _WINDOWS and node.input[0] in graph.values:
            wrapping.window(node, graph.shape(node.input[0])[_FIRST_SPATIAL:])
        elif node.op_type == "Pad":
            wrapping.padding(node)
        wrapping.nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(wrapping.nodes)
    model.graph.initializer.extend(wrapping.constants)
    return model


class _Wrapping:
    """The nodes of a file in which operands become periodic, and the constants that they need."""

    def __init__(self, module: OnnxModule, axes: Sequence[int] | None) -> None:
        self.known, self.axes = module.graph.constants, axes
        self.nodes_by_output = {out: one for one in module.graph.nodes for out in one.outputs}
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def window(self, node: NodeProto, sizes: Sequence[int]) -> None:
        """Let a window read a wrapped operand along the periodic axes, and pad the others."""
        rank, pads = len(sizes), self._pads(node, sizes)
        both = {_FIRST_SPATIAL + d: (pads[d], pads[rank + d]) for d in range(rank)}
        along = {axis: pair for axis, pair in both.items() if any(pair) and self._wraps(axis)}
        if not along:
            return
        left = [0 if _FIRST_SPATIAL + n % rank in along else pad for n, pad in enumerate(pads)]
        kept = [one for one in node.attribute if one.name not in ("pads", "auto_pad")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", left)])
        node.input[0] = self._wrapped(node.input[0], along)

    def padding(self, node: NodeProto) -> None:
        """Let a node that pads along periodic axes alone hand a wrapped operand on."""
        amounts = self.known.get(node.input[1]) if len(node.input) in (2, 3) else None
        if amounts is None:
            return
        pads = [int(one) for one in amounts.tolist()]
        rank = len(pads) // 2
        along = {d: (pads[d], pads[rank + d]) for d in range(rank) if pads[d] or pads[rank + d]}
        if along and min(pads) >= 0 and all(map(self._wraps, along)):
            source = self._wrapped(node.input[0], along)
            node.CopyFrom(helper.make_node("Identity", [source], list(node.output), node.name))

    def _wraps(self, axis: int) -> bool:
        return axis >= _FIRST_SPATIAL if self.axes is None else axis in self.axes

    def _pads(self, node: NodeProto, sizes: Sequence[int]) -> list[int]:
        """What a window pads: before every axis, then behind every axis."""
        call = NodeCall(self.nodes_by_output[node.output[0]], {}, {}, OnnxRun())
        kernel = call.integers("kernel_shape")
        if kernel is None:
            kernel = list(self.known[node.input[1]].shape[_FIRST_SPATIAL:])
        window = window_of(call, sizes, kernel)
        return [*window.before, *window.behind]

    def _wrapped(self, value: str, along: Mapping[int, tuple[int, int]]) -> str:
        """The name of a value continued periodically."""
        for axis, (before, behind) in along.items():
            first = [self._cut(value, axis, -before, _END)] if before else []
            last = [self._cut(value, axis, 0, behind)] if behind else []
            value = self._made("Concat", [*first, value, *last], axis=axis)
        return value

    def _cut(self, value: str, axis: int, start: int, end: int) -> str:
        return self._made("Slice", [value, *map(self._constant, (start, end, axis))])

    def _made(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"periodic_{len(self.nodes)}_{op}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def _constant(self, number: int) -> str:
        name = f"periodic_{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, TensorProto.INT64, [1], [number]))
        return name
