"""What ONNX Runtime's optimisers write: single nodes, and whole files, held against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper, parser

from tests.capture.onnx.node_cases import loaded

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Node:
    """A node of com.microsoft with operands that are drawn.

    given:  per operand a shape, a (dtype, shape), or an array; None where it is left out
    atol:   how far it may be off: one step, where it rounds
    """

    op: str
    given: Sequence[Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ("y",)
    atol: float = 1e-5
    domain: str = MICROSOFT


def scalar(value: float, dtype: Any = np.float32) -> np.ndarray:
    return np.array(value, dtype=dtype)


def row(*values: float, dtype: Any = np.float32) -> np.ndarray:
    return np.array(values, dtype=dtype)


U8, I8 = np.uint8, np.int8
S, Z = scalar(0.02), scalar(120, U8)
IMAGE = (1, 8, 6, 6)
TOKENS = (2, 5, 8)
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=np.int32)
CACHE = np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2)

NODES = [
    Node("NhwcMaxPool", ((U8, (1, 6, 6, 8)),), {"kernel_shape": [2, 3], "strides": [2, 1]}),
    Node("QLinearWhere", (np.tile([True, False], 4), (U8, TOKENS), S, Z, (U8, (8,)), S, Z, S, Z)),
    Node("FusedConv", (IMAGE, (4, 8, 3, 3), (4,)), {"activation": "Relu", "pads": [1, 1, 1, 1]}),
    Node("FusedConv", (IMAGE, (4, 8, 3, 3), (4,), (1, 4, 4, 4)), {"activation": "Relu"}),
    Node(
        "FusedConv",
        (IMAGE, (4, 8, 3, 3)),
        {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
    ),
    Node("FusedGemm", ((3, 4), (5, 4), (5,)), {"activation": "Relu", "transB": 1}),
    Node(
        "FusedGemm",
        ((3, 4), (4, 5)),
        {"activation": "LeakyRelu", "activation_alpha": 0.2, "alpha": 2.0},
    ),
    Node("FusedMatMul", ((2, 3, 4), (2, 5, 4)), {"transB": 1, "alpha": 0.3}),
    Node("FusedMatMul", ((2, 4, 3), (2, 4, 5)), {"transA": 1}),
    Node("FusedMatMul", ((3, 2, 4), (2, 4, 5)), {"transBatchA": 1}),
    Node("FusedMatMul", ((2, 3, 4), (5, 2, 4)), {"transBatchB": 1, "transB": 1}),
    Node("TransposeMatMul", ((2, 3, 4), (2, 5, 4)), {"transB": 1}),
    Node("QuickGelu", (TOKENS,), {"alpha": 1.5}),
    Node("Gelu", (TOKENS,)),
    Node("FastGelu", (TOKENS, (8,))),
    Node("FastGelu", (TOKENS,)),
    Node("BiasGelu", (TOKENS, (8,))),
    Node("SkipLayerNormalization", (TOKENS, TOKENS, (8,), (8,), (8,))),
    Node(
        "SkipLayerNormalization",
        (TOKENS, TOKENS, (8,), (8,)),
        {"epsilon": 0.01},
        outputs=("y", "", "", "total"),
    ),
    Node(
        "SkipSimplifiedLayerNormalization",
        (TOKENS, TOKENS, (8,)),
        {"epsilon": 0.01},
        outputs=("y", "", "", "total"),
    ),
    Node("SimplifiedLayerNormalization", (TOKENS, (8,)), {"axis": -1}, domain=""),
    Node(
        "EmbedLayerNormalization",
        (
            np.array([[1, 3, 0], [2, 2, 4]], dtype=np.int32),
            np.array([[0, 0, 1], [0, 1, 1]], dtype=np.int32),
            (5, 8),
            (6, 8),
            (2, 8),
            (8,),
            (8,),
            np.array([[1, 1, 0], [1, 1, 1]], dtype=np.int32),
        ),
        outputs=("y", "counts"),
    ),
    Node("Attention", (TOKENS, (8, 24), (24,)), {"num_heads": 2}),
    Node("Attention", (TOKENS, (8, 24), (24,), MASK), {"num_heads": 2}),
    Node("Attention", (TOKENS, (8, 24), (24,)), {"num_heads": 2, "unidirectional": 1}),
    Node(
        "Attention",
        (TOKENS, (8, 24), (24,), None, (2, 2, 2, 3, 4)),
        {"num_heads": 2, "unidirectional": 1},
        outputs=("y", "present"),
    ),
    Node("MultiHeadAttention", (TOKENS, (2, 7, 8), (2, 7, 6)), {"num_heads": 2}),
    Node(
        "MultiHeadAttention",
        (TOKENS, TOKENS, TOKENS, (24,), MASK, (1, 2, 5, 5)),
        {"num_heads": 2, "scale": 0.3},
    ),
    Node(
        "RotaryEmbedding",
        (TOKENS, np.array([3], dtype=np.int64), CACHE, CACHE[::-1].copy()),
    ),
    Node(
        "RotaryEmbedding",
        (
            (2, 2, 5, 4),
            np.arange(10, dtype=np.int64).reshape(2, 5),
            CACHE,
            CACHE[::-1].copy(),
        ),
        {"interleaved": 1},
    ),
    Node("QuantizeLinear", (TOKENS, S, Z), atol=0),
    Node("DequantizeLinear", ((U8, TOKENS), S, Z)),
    Node("QLinearAdd", ((U8, IMAGE), S, Z, (U8, IMAGE), scalar(0.03), Z, S, Z), atol=1),
    Node("QLinearMul", ((U8, IMAGE), S, Z, (U8, (8, 1, 1)), S, Z, scalar(0.05), Z), atol=1),
    Node("QLinearSigmoid", ((U8, IMAGE), S, Z, scalar(1 / 256), scalar(0, U8)), atol=1),
    Node("QLinearLeakyRelu", ((I8, IMAGE), S, scalar(-3, I8), S, scalar(1, I8)), atol=1),
    Node(
        "QLinearAveragePool",
        ((U8, IMAGE), S, Z, S, Z),
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        atol=1,
    ),
    Node("QLinearGlobalAveragePool", ((U8, IMAGE), S, Z, S, Z), atol=1),
    Node(
        "QLinearConcat",
        (S, Z, (U8, IMAGE), S, Z, (U8, IMAGE), scalar(0.03), Z),
        {"axis": 1},
        atol=1,
    ),
    Node(
        "QLinearSoftmax",
        ((U8, TOKENS), S, Z, scalar(1 / 256), scalar(0, U8)),
        {"axis": -1, "opset": 13},
        atol=1,
    ),
    Node(
        "QLinearConv",
        ((U8, (1, 6, 6, 8)), S, Z, (U8, (4, 8, 3, 3)), S, Z, scalar(0.4), Z),
        {"channels_last": 1},
        atol=1,
    ),
    Node("QGemm", ((U8, (3, 4)), S, Z, (I8, (4, 5)), S, scalar(0, I8)), {"alpha": 1.0}),
    Node(
        "MatMulIntegerToFloat",
        ((U8, (2, 3, 4)), (U8, (4, 5)), S, S, Z, Z, (5,)),
        atol=1e-4,
    ),
    Node("DynamicQuantizeMatMul", (TOKENS, (I8, (8, 5)), S, scalar(0, I8), (5,)), atol=1e-4),
    Node(
        "MatMulNBits",
        ((2, 32), (U8, (3, 2, 8)), (6,)),
        {"K": 32, "N": 3, "bits": 4, "block_size": 16},
        atol=1e-4,
    ),
    Node(
        "MatMulNBits",
        ((2, 32), (U8, (3, 2, 8)), (6,), (U8, (3,))),
        {"K": 32, "N": 3, "bits": 4, "block_size": 16},
        atol=1e-4,
    ),
    Node(
        "DynamicQuantizeLSTM",
        (
            (6, 2, 4),
            (U8, (1, 4, 12)),
            (U8, (1, 3, 12)),
            (1, 24),
            None,
            None,
            None,
            None,
            row(0.01),
            row(120, dtype=U8),
            row(0.01),
            row(120, dtype=U8),
        ),
        {"hidden_size": 3},
        outputs=("y", "h", "c"),
        atol=0.02,
    ),
]


def drawn(given: Any, dice: np.random.Generator) -> np.ndarray | None:
    if given is None or isinstance(given, np.ndarray):
        return given
    if isinstance(given[0], type):
        info = np.iinfo(given[0])
        return dice.integers(info.min, info.max, given[1], endpoint=True).astype(given[0])
    return dice.uniform(-1, 1, given).astype(np.float32)


def session_of(model: onnx.ModelProto, level: str = "DISABLE_ALL", path: str = "") -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.optimized_model_filepath = path
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def model_of(node: Node, operands: Sequence[np.ndarray | None]) -> onnx.ModelProto:
    """The first operand is an input, the others are constants."""
    names = ["" if one is None else f"x{n}" for n, one in enumerate(operands)]
    made = helper.make_node(
        node.op, names, list(node.outputs), "node", domain=node.domain, **node.attributes
    )
    first = operands[0]
    assert first is not None
    graph = helper.make_graph(
        [made],
        "net",
        [
            helper.make_tensor_value_info(
                "x0", helper.np_dtype_to_tensor_dtype(first.dtype), first.shape
            )
        ],
        [onnx.ValueInfoProto(name=one) for one in node.outputs if one],
        [
            numpy_helper.from_array(one, name)
            for one, name in zip(operands[1:], names[1:], strict=True)
            if one is not None
        ],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def difference(model: onnx.ModelProto, session: Any, x: np.ndarray) -> float:
    """The largest difference of any output between the module and a session."""
    expected = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        found = loaded(model)(torch.from_numpy(x))
    found = found if isinstance(found, tuple) else (found,)
    assert [tuple(one.shape) for one in found] == [one.shape for one in expected]
    return max(
        float(np.abs(ours.numpy().astype(float) - theirs).max())
        for ours, theirs in zip(found, expected, strict=True)
    )


def problem(node: Node) -> str | None:
    dice = np.random.default_rng(5)
    operands = [drawn(one, dice) for one in node.given]
    model = model_of(node, operands)
    assert operands[0] is not None
    off = difference(model, session_of(model), operands[0])
    return f"off by {off:.3g}" if off > node.atol else None


def test_a_fused_operator_is_what_onnx_runtime_computes():
    wrong = {f"{node.op} {node.attributes}": why for node in NODES if (why := problem(node))}
    assert not wrong


# -------------------------------------------------------------------- whole files

IMAGES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 32, 32] x) => (float[a, b, c, d] y, float[e, f, g, h] z) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w16x3x3x3, b16)
    b = Relu (a)
    c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
    d = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (c, w32x16x3x3, b32)
    e = LeakyRelu <alpha = 0.1> (d)
    f = Conv <pads = [1, 1, 1, 1], group = 32> (e, w32x1x3x3, b32)
    g = Sigmoid (f)
    h = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (g)
    i = Conv <group = 2> (h, w32x16x1x1, b32)
    j = Add (i, e)
    k = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
        (j, none, scales)
    z = Conv (k, w20x32x3x3, b20)
    l = GlobalAveragePool (k)
    y = Tanh (l)
}
"""
DEEP = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 20, 8, 8] x) => (float[a, b, c, d] y) {
    a = Conv (x, w16x20x3x3)
    b = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (a)
    y = Conv (b, w32x16x1x1)
}
"""
TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2, 5, 8] x) => (float[2, 5, 8] y) {
    a = MatMul (x, w8x8)
    b = Add (a, b8)
    s = Mul (b, scale)
    t = Sigmoid (s)
    c = Mul (b, t)
    d = Transpose <perm = [0, 2, 1]> (c)
    e = MatMul (c, d)
    f = Mul (e, scale)
    g = Softmax (f)
    y = MatMul (g, c)
}
"""
WHOLE = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 16, 16] x) => (float[a, b, c, d] y) {
    xq = QuantizeLinear (x, step, middle)
    xr = DequantizeLinear (xq, step, middle)
    wr = DequantizeLinear (q8x3x3x3, step, none8)
    a = Conv (xr, wr)
    aq = QuantizeLinear (a, large, middle)
    ar = DequantizeLinear (aq, large, middle)
    s = Sigmoid (ar)
    sq = QuantizeLinear (s, small, first)
    sr = DequantizeLinear (sq, small, first)
    m = Mul (ar, sr)
    mq = QuantizeLinear (m, large, middle)
    mr = DequantizeLinear (mq, large, middle)
    p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (mr)
    pq = QuantizeLinear (p, large, middle)
    pr = DequantizeLinear (pq, large, middle)
    t = Add (pr, pr)
    tq = QuantizeLinear (t, large, middle)
    y = DequantizeLinear (tq, large, middle)
}
"""
BLOCKED = (
    "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Upsample", "ReorderOutput",
)  # fmt: skip
FIXED = {
    "none": np.zeros(0, dtype=np.float32),
    "scales": row(1, 1, 2, 2),
    "scale": scalar(1.702),
    "step": S,
    "small": scalar(1 / 256),
    "large": scalar(0.05),
    "middle": Z,
    "first": scalar(0, U8),
    "none8": scalar(0, I8),
}


def network(text: str) -> onnx.ModelProto:
    """The network of a text in which constants are called by their shapes."""
    model = parser.parse_model(text)
    dice = np.random.default_rng(11)
    made = {name for node in model.graph.node for name in node.output} | {"x"}
    read = dict.fromkeys(name for node in model.graph.node for name in node.input)
    for name in (one for one in read if one not in made):
        if name in FIXED:
            value = FIXED[name]
        else:
            shape = tuple(map(int, name[1:].split("x")))
            value = dice.normal(size=shape).astype(np.float32) / 4
            value = (value * 200).astype(I8) if name[0] == "q" else value
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


@pytest.mark.parametrize(
    ("text", "level", "written", "atol"),
    [
        (IMAGES, "ENABLE_EXTENDED", {"com.microsoft:FusedConv"}, 1e-4),
        (
            IMAGES,
            "ENABLE_ALL",
            {f"com.microsoft.nchwc:{op}" for op in BLOCKED},
            1e-4,
        ),
        (DEEP, "ENABLE_ALL", {"com.microsoft.nchwc:ReorderInput"}, 1e-4),
        (TEXT, "ENABLE_ALL", {"com.microsoft:QuickGelu", "com.microsoft:FusedMatMul"}, 1e-4),
        (
            WHOLE,
            "ENABLE_EXTENDED",
            {
                ":QLinearConv",
                "com.microsoft:QLinearSigmoid",
                "com.microsoft:QLinearMul",
                "com.microsoft:QLinearAveragePool",
                "com.microsoft:QLinearAdd",
            },
            0.101,
        ),
    ],
)  # fmt: skip
def test_a_file_that_onnx_runtime_optimised_gives_the_same(tmp_path, text, level, written, atol):
    model = network(text)
    path = tmp_path / "fast.onnx"
    session = session_of(model, level, str(path))
    fast = onnx.load(path)
    assert written <= {f"{node.domain}:{node.op_type}" for node in fast.graph.node}
    shape = tuple(one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim)
    x = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    assert difference(fast, session, x) < atol
    assert difference(model, session, x) < atol
