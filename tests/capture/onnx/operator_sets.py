"""Nodes whose meaning or signature changed, at every operator set that says something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

X = (2, 4, 5, 6)
"""The usual operand."""


@dataclass(frozen=True)
class Node:
    """A node at several operator sets: attributes, shapes of operands, and constants.

    shapes: of the operands, drawn; a dtype may stand in front
    fixed:  constants behind the operands; None where one is left out
    """

    op: str
    opsets: Sequence[int]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    shapes: Sequence[tuple[Any, ...]] = (X,)
    fixed: Sequence[Any] = ()
    outputs: int = 1
    positive: bool = False


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSumSquare",
)  # fmt: skip
UNARY = (
    "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "Identity", "LeakyRelu",
    "Log", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign",
    "Sqrt", "Tanh", "ThresholdedRelu",
)  # fmt: skip
ONE = np.array([1.5], dtype=np.float32).reshape(())

NODES = [
    *(Node(op, (9, 13, 22), positive=op in ("Log", "Sqrt")) for op in UNARY),
    *(Node(op, (7, 13, 14), shapes=(X, (4, 1, 6))) for op in ("Add", "Sub", "Mul", "Div")),
    *(Node(op, (7, 9, 13), shapes=(X, (6,))) for op in ("Greater", "Less")),
    *(Node(op, (8, 12, 13), shapes=(X, (6,), (5, 1))) for op in ("Max", "Min", "Sum", "Mean")),
    Node("Pow", (7, 12, 13, 15), shapes=(X, (6,)), positive=True),
    Node("PRelu", (7, 9, 16), shapes=(X, (4, 1, 1))),
    Node("Clip", (7, 10), {"min": -0.5, "max": 0.7}),
    Node("Clip", (7,), {"max": 0.1}),
    Node("Clip", (11, 12, 13), fixed=(floats(-0.5).reshape(()), floats(0.7).reshape(()))),
    Node("Clip", (12, 13), fixed=(None, floats(0.2).reshape(()))),
    *(Node(op, (7, 11, 12), {"axis": a}) for op in ("Softmax", "LogSoftmax") for a in (1, 2, 3)),
    *(Node(op, (7, 11, 13)) for op in ("Softmax", "LogSoftmax", "Hardmax")),
    *(Node(op, (11, 13), {"axis": -2}) for op in ("Softmax", "LogSoftmax", "Hardmax")),
    Node("Dropout", (7, 10), {"ratio": 0.4}),
    Node("Dropout", (12, 13), fixed=(floats(0.4).reshape(()),)),
    Node(
        "BatchNormalization",
        (7, 9, 14, 15),
        {"epsilon": 0.01},
        (X, (4,), (4,), (4,), (4,)),
        positive=True,
    ),
    Node("InstanceNormalization", (7, 22), shapes=(X, (4,), (4,))),
    Node("GroupNormalization", (18,), {"num_groups": 2}, ((2, 4, 5), (2,), (2,))),
    Node("GroupNormalization", (21,), {"num_groups": 2}, ((2, 4, 5), (4,), (4,))),
    Node("LayerNormalization", (17,), {"axis": 2}, (X, (5, 6), (5, 6))),
    Node("LRN", (7, 13), {"size": 3, "alpha": 0.3}),
    Node("LRN", (13,), {"size": 5, "alpha": 0.3, "beta": 0.5, "bias": 2.0}, ((1, 7, 3, 3),)),
    Node("LpNormalization", (7, 22), {"axis": 2, "p": 1}),
    Node("MeanVarianceNormalization", (9, 13)),
    *(
        Node(op, (7, 11, 13), {"axes": [1, -1] if v else [1, 3], "keepdims": v}, positive=True)
        for op in REDUCTIONS
        for v in (0, 1)
    ),
    *(Node(op, (18,), {"keepdims": 0}, fixed=(ints(1, -1),), positive=True) for op in REDUCTIONS),
    *(Node(op, (7, 18), positive=True) for op in REDUCTIONS),
    Node("ReduceSum", (7, 11), {"axes": [0, 2]}),
    Node("ReduceSum", (13,), {"keepdims": 0}, fixed=(ints(0, -2),)),
    Node("ReduceSum", (13,), {"noop_with_empty_axes": 1}, fixed=(ints(),)),
    Node("ArgMax", (7, 11, 12, 13), {"axis": 2}),
    Node("ArgMin", (12, 13), {"axis": -1, "keepdims": 0, "select_last_index": 1}),
    Node("TopK", (7,), {"k": 3, "axis": 2}, outputs=2),
    Node("TopK", (10,), {"axis": 2}, fixed=(ints(3),), outputs=2),
    Node("TopK", (11, 24), {"axis": -1, "largest": 0}, fixed=(ints(2),), outputs=2),
    Node("CumSum", (11, 14), {"exclusive": 1, "reverse": 1}, fixed=(ints(2).reshape(()),)),
    Node("Squeeze", (7, 11), {"axes": [0, 2]}, ((1, 3, 1, 4),)),
    Node("Squeeze", (7, 13), shapes=((1, 3, 1, 4),)),
    Node("Squeeze", (13, 21), shapes=((1, 3, 1, 4),), fixed=(ints(-2),)),
    Node("Unsqueeze", (7, 11), {"axes": [0, 3]}),
    Node("Unsqueeze", (13, 21), fixed=(ints(-1, 1),)),
    Node("Split", (7, 11), {"axis": 3, "split": [1, 3, 2]}, outputs=3),
    Node("Split", (7, 13), {"axis": 3}, outputs=2),
    Node("Split", (13,), {"axis": 3}, fixed=(ints(1, 3, 2),), outputs=3),
    Node("Split", (18,), {"axis": 2, "num_outputs": 3}, outputs=3),
    Node("Slice", (7,), {"starts": [1, -4], "ends": [9, -1], "axes": [2, 3]}),
    Node("Slice", (10, 11, 13), fixed=(ints(1, -1), ints(9, -9), ints(2, 3), ints(2, -2))),
    Node("Slice", (10, 13), fixed=(ints(1, 0), ints(2, 3))),
    Node("Pad", (7,), {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}),
    *(
        Node("Pad", (7,), {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "mode": m})
        for m in ("reflect", "edge")
    ),
    Node("Pad", (7,), {"pads": [0, 0, -1, 2, 0, 0, 3, -2]}),
    *(
        Node("Pad", (11, 13), {"mode": m}, fixed=(ints(0, 1, 1, 2, 0, 0, 3, 0),))
        for m in ("constant", "reflect", "edge")
    ),
    Node("Pad", (18, 19), {"mode": "reflect"}, fixed=(ints(2, 1), None, ints(-2))),
    Node("Pad", (19,), {"mode": "wrap"}, fixed=(ints(0, 0, 2, 3, 0, 0, 1, 0),)),
    Node("Upsample", (7,), {"scales": [1.0, 1.0, 2.0, 3.0]}),
    Node("Upsample", (9,), fixed=(floats(1, 1, 2, 1.5),)),
    Node("Upsample", (9,), {"mode": "linear"}, fixed=(floats(1, 1, 2, 2),)),
    Node("Resize", (10,), fixed=(floats(1, 1, 2, 2),)),
    Node("Resize", (10,), {"mode": "linear"}, fixed=(floats(1, 1, 2, 2),)),
    Node("Resize", (10,), fixed=(floats(1, 1, 0.6, 0.5),)),
    Node("Resize", (10,), {"mode": "linear"}, fixed=(floats(1, 1, 0.6, 0.5),)),
    *(
        Node(
            "Resize",
            (11, 13),
            {"mode": m, "coordinate_transformation_mode": c},
            fixed=(floats(), floats(), ints(2, 4, 7, 9)),
        )
        for m in ("nearest", "linear", "cubic")
        for c in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    ),
    *(
        Node(
            "Resize",
            (11, 13, 19),
            {"coordinate_transformation_mode": "asymmetric", "nearest_mode": m},
            fixed=(floats(), floats(1, 1, 1.4, 0.7)),
        )
        for m in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    ),
    Node("Resize", (18,), {"mode": "linear", "antialias": 1}, fixed=(None, None, ints(2, 4, 3, 2))),
    Node("Resize", (18,), {"axes": [3, 2], "mode": "linear"}, fixed=(None, floats(2, 1.5))),
    Node(
        "AveragePool",
        (7, 10, 11, 19),
        {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1], "strides": [2, 1]},
    ),
    Node(
        "AveragePool",
        (7, 11, 19, 22),
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    Node("AveragePool", (10, 19), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Node("AveragePool", (19, 22), {"kernel_shape": [2, 2], "dilations": [2, 1]}),
    *(
        Node("AveragePool", (7, 11), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": a})
        for a in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    Node(
        "MaxPool",
        (8, 10, 11, 12),
        {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1], "strides": [2, 1]},
        outputs=2,
    ),
    Node("MaxPool", (10, 12), {"kernel_shape": [2, 2], "dilations": [2, 2], "ceil_mode": 1}),
    Node("LpPool", (7, 11), {"kernel_shape": [2, 3], "p": 3}),
    Node("GlobalLpPool", (7,), {"p": 3}),
    Node(
        "Conv",
        (7, 11, 22),
        {"pads": [1, 0, 0, 1], "dilations": [1, 2], "group": 2},
        (X, (6, 2, 3, 2), (6,)),
    ),
    *(
        Node("Conv", (7, 11), {"strides": [2, 3], "auto_pad": a}, (X, (2, 4, 3, 4)))
        for a in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    Node(
        "ConvTranspose",
        (7, 11),
        {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
        (X, (4, 3, 3, 4), (3,)),
    ),
    Node("ConvTranspose", (11,), {"strides": [2, 3], "output_shape": [11, 17]}, (X, (4, 3, 3, 4))),
    *(
        Node("ConvTranspose", (11,), {"strides": [2, 2], "auto_pad": a}, (X, (4, 3, 3, 3)))
        for a in ("SAME_UPPER", "SAME_LOWER")
    ),
    Node("Gemm", (7, 9, 11, 13), {"transA": 1, "alpha": 0.5, "beta": 2.0}, ((4, 3), (4, 5), (5,))),
    Node("Gemm", (11, 13), {"transB": 1}, ((3, 4), (5, 4))),
    Node("MatMul", (7, 9, 13), shapes=((2, 1, 3, 4), (5, 4, 2))),
    Node("Gather", (7, 11, 13), {"axis": 2}, fixed=(ints(0, 3, 1),)),
    Node("Gather", (11, 13), {"axis": -1}, fixed=(ints(-1, 0).reshape(1, 2),)),
    Node(
        "GatherElements", (11, 13), {"axis": 1}, ((3, 3),), (ints(0, -1, 2, 1, 0, 0).reshape(3, 2),)
    ),
    Node("GatherND", (11, 12, 13), shapes=((3, 3, 2),), fixed=(ints(0, 2, -1, 1).reshape(2, 2),)),
    Node(
        "Scatter",
        (9,),
        {"axis": 1},
        ((3, 5),),
        (ints(1, 3, 0, 4).reshape(2, 2), floats(1, 2, 3, 4).reshape(2, 2)),
    ),
    Node(
        "ScatterElements",
        (11, 13, 16),
        {"axis": 1},
        ((3, 5),),
        (ints(1, -1, 0, 4).reshape(2, 2), floats(1, 2, 3, 4).reshape(2, 2)),
    ),
    *(
        Node(
            "ScatterElements",
            (16 if r in ("add", "mul") else 18,),
            {"axis": 0, "reduction": r},
            ((3, 2),),
            (ints(1, 0, 1, 0).reshape(2, 2), floats(1, 2, 3, 4).reshape(2, 2)),
        )
        for r in ("add", "mul", "max", "min")
    ),
    Node(
        "ScatterND",
        (11, 13, 16),
        shapes=((4, 2),),
        fixed=(ints(1, 3).reshape(2, 1), floats(1, 2, 3, 4).reshape(2, 2)),
    ),
    *(
        Node(
            "ScatterND",
            (16 if r in ("add", "mul") else 18,),
            {"reduction": r},
            ((4, 2),),
            (ints(1, 1).reshape(2, 1), floats(1, 2, 3, 4).reshape(2, 2)),
        )
        for r in ("add", "mul", "max", "min")
    ),
    Node("OneHot", (9, 11), {"axis": 1}, ((np.int64, 3, 4),), (ints(5).reshape(()), floats(-1, 2))),
    Node("Cast", (7, 9, 13, 19), {"to": 7}),
    Node("Cast", (9, 13, 19), {"to": 9}),
    Node("Flatten", (7, 9, 13), {"axis": 2}),
    Node("Flatten", (11, 13), {"axis": -1}),
    Node("Concat", (7, 11, 13), {"axis": 2}, (X, (2, 4, 1, 6))),
    Node("Transpose", (7, 13), {"perm": [2, 0, 3, 1]}),
    Node("Transpose", (13,)),
    Node("Tile", (7, 13), fixed=(ints(1, 2, 1, 3),)),
    Node("Expand", (8, 13), shapes=((4, 1, 6),), fixed=(ints(2, 1, 5, 1),)),
    Node("DepthToSpace", (7, 11, 13), {"blocksize": 2}),
    Node("DepthToSpace", (11, 13), {"blocksize": 2, "mode": "CRD"}),
    Node("SpaceToDepth", (7, 13), {"blocksize": 2}, ((1, 2, 4, 6),)),
    Node("Trilu", (14,), {"upper": 0}, fixed=(ints(1).reshape(()),)),
    Node(
        "ReverseSequence", (10,), {"time_axis": 1, "batch_axis": 0}, ((3, 5, 2),), (ints(1, 4, 5),)
    ),
    Node("Einsum", (12,), {"equation": "bij,bjk->bik"}, ((2, 3, 4), (2, 4, 5))),
    Node("GridSample", (16,), {"mode": "bilinear", "align_corners": 1}, (X, (2, 3, 4, 2))),
    Node("GridSample", (16,), {"mode": "bicubic", "padding_mode": "border"}, (X, (2, 3, 4, 2))),
    Node("GridSample", (20,), {"mode": "nearest", "padding_mode": "reflection"}, (X, (2, 3, 4, 2))),
    *(
        Node(
            "RoiAlign",
            (10, 16),
            {
                "output_height": 3,
                "output_width": 2,
                "sampling_ratio": r,
                "spatial_scale": 0.5,
                "mode": "avg",
            },
            ((2, 3, 9, 9),),
            (floats(1, 2, 14, 12, 0, 0, 7, 16).reshape(2, 4), ints(1, 0)),
        )
        for r in (0, 2)
    ),
    Node(
        "RNN", (7, 14, 22), {"hidden_size": 3}, ((5, 2, 4), (1, 3, 4), (1, 3, 3), (1, 6)), outputs=2
    ),
    Node(
        "GRU",
        (7, 14),
        {"hidden_size": 3, "direction": "bidirectional"},
        ((5, 2, 4), (2, 9, 4), (2, 9, 3), (2, 18)),
        outputs=2,
    ),
    Node(
        "GRU",
        (7, 14),
        {"hidden_size": 3, "linear_before_reset": 1},
        ((5, 2, 4), (1, 9, 4), (1, 9, 3), (1, 18)),
        outputs=2,
    ),
    Node(
        "LSTM",
        (7, 14),
        {"hidden_size": 3, "direction": "reverse"},
        ((5, 2, 4), (1, 12, 4), (1, 12, 3), (1, 24)),
        outputs=3,
    ),
    Node(
        "QuantizeLinear", (10, 13), fixed=(floats(0.02).reshape(()), np.array(100, dtype=np.uint8))
    ),
    Node(
        "QuantizeLinear",
        (13, 19),
        {"axis": 1},
        fixed=(floats(0.01, 0.02, 0.03, 0.04), np.array([1, 2, 0, -3], dtype=np.int8)),
    ),
    Node(
        "DequantizeLinear",
        (10, 13),
        shapes=((np.uint8, 3, 4),),
        fixed=(floats(0.02).reshape(()), np.array(100, dtype=np.uint8)),
    ),
    Node("DynamicQuantizeLinear", (11,), outputs=3),
    Node("DFT", (17,), {"axis": 1, "onesided": 1}, ((2, 8, 1),)),
    Node("DFT", (20,), shapes=((2, 8, 2),), fixed=(None, ints(1).reshape(()))),
    Node(
        "STFT",
        (17,),
        {"onesided": 1},
        ((1, 20, 1),),
        (ints(3).reshape(()), floats(*np.hanning(8)), ints(8).reshape(())),
    ),
    Node("HannWindow", (17,), shapes=(), fixed=(ints(9).reshape(()),)),
    Node("HammingWindow", (17,), {"periodic": 0}, shapes=(), fixed=(ints(9).reshape(()),)),
    Node(
        "MelWeightMatrix",
        (17,),
        shapes=(),
        fixed=(
            ints(8).reshape(()),
            ints(32).reshape(()),
            ints(8000).reshape(()),
            floats(0).reshape(()),
            floats(4000).reshape(()),
        ),
    ),
]
