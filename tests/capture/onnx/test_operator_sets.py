"""Operators whose meaning or signature changed, at every version: held against ONNX Runtime."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from tests.capture.onnx.node_cases import loaded
from tests.capture.onnx.operator_sets import NODES, Node


def drawn(node: Node, dice: np.random.Generator) -> list[np.ndarray]:
    found = []
    for shape in node.shapes:
        if shape and isinstance(shape[0], type):
            found.append(dice.integers(0, 5, shape[1:]).astype(shape[0]))
        else:
            low = 0.1 if node.positive else -1.5
            found.append(dice.uniform(low, 1.5, shape).astype(np.float32))
    return found


def model_of(node: Node, opset: int, operands: Sequence[np.ndarray]) -> onnx.ModelProto:
    names = [f"x{n}" for n in range(len(operands))]
    fixed = ["" if one is None else f"c{n}" for n, one in enumerate(node.fixed)]
    outputs = [f"y{n}" for n in range(node.outputs)]
    made = helper.make_node(node.op, [*names, *fixed], outputs, name="node", **node.attributes)
    graph = helper.make_graph(
        [made],
        "net",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in zip(names, operands, strict=True)
        ],
        [onnx.ValueInfoProto(name=one) for one in outputs],
        [
            numpy_helper.from_array(one, name)
            for name, one in zip(fixed, node.fixed, strict=True)
            if name
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def name_of(node: Node, opset: int) -> str:
    told = zlib.crc32(repr(node).encode()) % 1000
    return f"{node.op}-{opset}-{told}"


CASES = [(node, opset) for node in NODES for opset in node.opsets]


def theirs(model: onnx.ModelProto, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {f"x{n}": x for n, x in enumerate(operands)})


def problem(node: Node, opset: int) -> str | None:
    operands = drawn(node, np.random.default_rng(zlib.crc32(node.op.encode())))
    model = model_of(node, opset, operands)
    expected = theirs(model, operands)
    with torch.no_grad():
        found = loaded(model)(*map(torch.from_numpy, operands))
    found = found if isinstance(found, tuple) else (found,)
    for ours, other in zip(found, expected, strict=True):
        if tuple(ours.shape) != other.shape:
            return f"{tuple(ours.shape)}, not {other.shape}"
        if not np.allclose(ours.numpy(), other, rtol=1e-4, atol=1e-5):
            return f"off by {np.abs(ours.numpy().astype(float) - other).max():.3g}"
    return None


@pytest.mark.parametrize("part", range(4))
def test_an_operator_is_what_onnx_runtime_computes_at_every_version(part):
    cases = CASES[part::4]
    wrong = {name_of(*case): why for case in cases if (why := problem(*case))}
    assert not wrong
    assert len(cases) > 70
