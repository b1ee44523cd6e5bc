"""Random ONNX networks with affine ops in every place, and files written in a few lines."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[np.floating]


def network(
    text: str, *, opset: int = 17, ir: int = 8, seed: int = 0, **shapes: tuple[int, ...]
) -> ModelProto:
    """A model in onnx's text form, with drawn initialisers of these shapes; ``v…`` are positive."""
    head = f'<ir_version: {ir}, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
    model = onnx.parser.parse_model(f"{head} {text}")
    generator = np.random.default_rng(seed)
    for name, shape in shapes.items():
        array = generator.standard_normal(shape).astype(np.float32)
        array = np.abs(array) + 0.3 if name.startswith("v") else array
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


@dataclass(frozen=True)
class Value:
    """A value of a network that is being drawn: its channels and its sizes behind them."""

    name: str
    channels: int
    sizes: tuple[int, ...]


@dataclass
class Drawing:
    """A network that is being drawn."""

    generator: np.random.Generator
    dtype: type = np.float64
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)

    def pick(self, *choices: object) -> object:
        """One of the choices."""
        return choices[int(self.generator.integers(len(choices)))]

    def chance(self, likely: float = 0.5) -> bool:
        """True so often."""
        return bool(self.generator.random() < likely)

    def constant(self, shape: tuple[int, ...], *, positive: bool = False) -> str:
        """A drawn initialiser; now and then one that is there already."""
        if not positive and self.chance(0.15):
            for name, array in self.constants.items():
                if array.shape == shape and array.dtype == self.dtype and name[0] == "w":
                    return name
        array = self.generator.standard_normal(shape)
        array = np.abs(array) + 0.3 if positive else array
        name = f"{'v' if positive else 'w'}{len(self.constants)}"
        self.constants[name] = array.astype(self.dtype)
        return name

    def whole(self, *numbers: int) -> str:
        """An initialiser of integers."""
        name = f"i{len(self.constants)}"
        self.constants[name] = np.array(numbers, np.int64)  # type: ignore[assignment]
        return name

    def add(
        self, op: str, inputs: list[str], value: Value | None = None, **attributes: object
    ) -> str:
        """A node; its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op}_{name}", **attributes))
        if value is not None:
            self.values.append(Value(name, value.channels, value.sizes))
        return name


def drawn_network(seed: int, dtype: type = np.float64, *, steps: int = 8) -> ModelProto:
    """A random network of one input x; its last value may be classified."""
    draw = Drawing(np.random.default_rng(seed), dtype)
    rank = int(draw.generator.integers(1, 4))
    size = (9, 7, 5)[rank - 1]
    draw.values.append(Value("x", 4, (size,) * rank))
    for _ in range(steps):
        value = draw.values[-1] if draw.chance(0.75) else draw.values[-min(3, len(draw.values))]
        _STEPS[int(draw.generator.choice(len(_STEPS), p=_LIKELY))](draw, value)
    last = draw.values[-1]
    outputs = {_classified(draw, last): 2} if draw.chance(0.4) else {last.name: rank + 2}
    if draw.chance(0.2):
        outputs[draw.values[len(draw.values) // 2].name] = rank + 2
    if outputs.pop("x", None) and not outputs:
        outputs[draw.add("Relu", ["x"])] = rank + 2
    return _model(draw, outputs, (2, 4, *(size,) * rank))


def _model(draw: Drawing, outputs: dict[str, int], shape: tuple[int, ...]) -> ModelProto:
    nodes = draw.nodes if draw.chance(0.3) else _needed(draw.nodes, set(outputs))
    read = {name for node in nodes for name in node.input}
    code = TensorProto.DOUBLE if draw.dtype == np.float64 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("x", code, shape)],
        [helper.make_tensor_value_info(n, code, [None] * rank) for n, rank in outputs.items()],
        [
            numpy_helper.from_array(array, name)
            for name, array in draw.constants.items()
            if name in read
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _needed(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes that outputs need."""
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _conv(draw: Drawing, value: Value) -> None:
    rank, groups = len(value.sizes), int(draw.pick(1, 1, 2, value.channels))  # type: ignore[call-overload]
    out = value.channels if groups == value.channels else 4
    if value.channels % groups:
        groups = 1
    taps = int(draw.pick(1, 1, 3))  # type: ignore[call-overload]
    pads = [int(n) for n in draw.generator.integers(0, 2, 2 * rank)] if taps > 1 else [0] * 2 * rank
    if draw.chance():
        pads = pads[:rank] * 2
    sizes = tuple(size + pads[d] + pads[rank + d] - taps + 1 for d, size in enumerate(value.sizes))
    if min(sizes) < 1:
        return
    weight = draw.constant((out, value.channels // groups, *(taps,) * rank))
    inputs = [value.name, weight, *([draw.constant((out,))] if draw.chance() else [])]
    made = Value("", out, sizes)
    draw.add("Conv", inputs, made, group=groups, kernel_shape=[taps] * rank, pads=pads)


def _conv_transpose(draw: Drawing, value: Value) -> None:
    rank, groups = len(value.sizes), 2 if value.channels % 2 == 0 and draw.chance() else 1
    if max(value.sizes) > 9:
        return
    weight = draw.constant((value.channels, 4 // groups, *(2,) * rank))
    inputs = [value.name, weight, *([draw.constant((4,))] if draw.chance() else [])]
    made = Value("", 4, tuple(2 * size for size in value.sizes))
    draw.add("ConvTranspose", inputs, made, group=groups, strides=[2] * rank)


def _batch_norm(draw: Drawing, value: Value) -> None:
    shape = (value.channels,)
    parts = [draw.constant(shape) for _ in range(3)] + [draw.constant(shape, positive=True)]
    draw.add("BatchNormalization", [value.name, *parts], value)


def _arithmetic(draw: Drawing, value: Value) -> None:
    op = str(draw.pick("Mul", "Add", "Sub", "Div"))
    shape = (value.channels, *[1] * len(value.sizes)) if draw.chance(0.8) else ()
    pair = [value.name, draw.constant(shape, positive=op == "Div")]
    draw.add(op, pair[::-1] if op != "Div" and draw.chance(0.3) else pair, value)


def _pointwise(draw: Drawing, value: Value) -> None:
    draw.add(str(draw.pick("Relu", "Identity", "Neg", "Dropout", "Tanh")), [value.name], value)


def _pad(draw: Drawing, value: Value) -> None:
    rank, mode = len(value.sizes), str(draw.pick("constant", "reflect", "edge"))
    sizes = tuple(size + 1 for size in value.sizes)
    pads = draw.whole(0, 0, *[1] * rank, 0, 0, *[0] * rank)
    draw.add("Pad", [value.name, pads], Value("", value.channels, sizes), mode=mode)


def _pool(draw: Drawing, value: Value) -> None:
    rank, op = len(value.sizes), str(draw.pick("AveragePool", "MaxPool"))
    if min(value.sizes) < 2:
        return
    sizes = tuple(size // 2 for size in value.sizes)
    made = Value("", value.channels, sizes)
    draw.add(op, [value.name], made, kernel_shape=[2] * rank, strides=[2] * rank)


def _concat(draw: Drawing, value: Value) -> None:
    fitting = [one for one in draw.values if one.sizes == value.sizes and one.channels < 9]
    other = fitting[int(draw.generator.integers(len(fitting)))] if fitting else value
    if value.channels > 8:
        return
    made = Value("", value.channels + other.channels, value.sizes)
    draw.add("Concat", [value.name, other.name], made, axis=1)


def _sum(draw: Drawing, value: Value) -> None:
    fitting = [
        one for one in draw.values
        if (one.channels, one.sizes) == (value.channels, value.sizes) and one != value
    ]  # fmt: skip
    if fitting:
        other = fitting[int(draw.generator.integers(len(fitting)))]
        draw.add(str(draw.pick("Add", "Sub", "Sum")), [value.name, other.name], value)


def _slice(draw: Drawing, value: Value) -> None:
    if value.channels > 4:
        ends = [draw.whole(number) for number in (1, 5, 1)]
        draw.add("Slice", [value.name, *ends], Value("", 4, value.sizes))


def _instance_norm(draw: Drawing, value: Value) -> None:
    pair = [draw.constant((value.channels,)) for _ in range(2)]
    draw.add("InstanceNormalization", [value.name, *pair], value)


def _classified(draw: Drawing, value: Value) -> str:
    """A flattened value behind matrices and affine ops."""
    flat = draw.add("Flatten", [value.name]) if draw.chance() else ""
    features = value.channels * int(np.prod(value.sizes))
    if not flat:
        axes = list(range(2, 2 + len(value.sizes)))
        flat, features = draw.add("ReduceMean", [value.name], axes=axes, keepdims=0), value.channels
    for _ in range(2):
        if draw.chance():
            flat = draw.add("MatMul", [flat, draw.constant((features, 3))])
        else:
            turned = int(draw.generator.integers(2))
            weight = draw.constant((3, features) if turned else (features, 3))
            inputs = [flat, weight, *([draw.constant((3,))] if draw.chance() else [])]
            flat = draw.add("Gemm", inputs, transB=turned, alpha=float(draw.pick(1.0, 0.5)))  # type: ignore[arg-type]
        features = 3
        if draw.chance():
            flat = draw.add(str(draw.pick("Mul", "Add")), [flat, draw.constant((3,))])
        if draw.chance():
            parts = [draw.constant((3,)) for _ in range(3)] + [draw.constant((3,), positive=True)]
            flat = draw.add("BatchNormalization", [flat, *parts])
    return flat


_STEPS = (
    _conv, _batch_norm, _arithmetic, _pointwise, _conv_transpose, _pad, _pool, _concat, _sum,
    _slice, _instance_norm,
)  # fmt: skip
_LIKELY = (0.26, 0.2, 0.16, 0.08, 0.05, 0.04, 0.04, 0.06, 0.06, 0.03, 0.02)
