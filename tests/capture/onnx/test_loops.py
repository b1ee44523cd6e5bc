"""Scan and Loop: their rows follow the axis, as what ONNX Runtime computes shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import fieldwise
import fieldwise.onnx

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'

SCAN = """
net (float[12, 1, 3] x) => (float[12, 1, 3] y)
<float[1, 3] start = {{0, 0, 0}}, float[3, 3] w = {weights}>
{{
    last, y = Scan <num_scan_inputs = 1 {directions}, body = step
        (float[1, 3] before, float[1, 3] row) => (float[1, 3] after, float[1, 3] made)
        {{ product = MatMul (row, w) {body} }}> (start, x)
}}
"""
ALONE = "made = Tanh (product) after = Identity (before)"
CARRIED = "sum = Add (product, before) made = Tanh (sum) after = Identity (made)"
BACKWARDS = ", scan_input_directions = [1], scan_output_directions = [1]"
REVERSED = ", scan_input_directions = [1]"

LOOP = """
net (float[12, 1, 3] x) => (float[10, 1, 3] y) <int64 steps = {10}, bool yes = {1}, int64 two = {2}>
{
    y = Loop <body = step (int64 i, bool going) => (bool goes_on, float[1, 3] made)
        { one = Gather <axis = 0> (x, i) j = Add (i, two) other = Gather <axis = 0> (x, j)
          sum = Add (one, other) made = Tanh (sum) goes_on = Identity (going) }> (steps, yes)
}
"""


def scan(body: str, directions: str = "") -> str:
    weights = ", ".join(f"{number:.3f}" for number in np.random.default_rng(0).normal(size=9))
    return SCAN.format(weights="{" + weights + "}", body=body, directions=directions)


FILES = {
    "rows": scan(ALONE),
    "reversed": scan(ALONE, REVERSED),
    "backwards": scan(ALONE, BACKWARDS),
    "past": scan(CARRIED),
    "future": scan(CARRIED, BACKWARDS),
    "pairs": LOOP,
}


def loaded(name: str, folder: Path) -> tuple[torch.nn.Module, Callable[[np.ndarray], np.ndarray]]:
    """The network of a file, and what ONNX Runtime makes of it."""
    path = folder / "net.onnx"
    onnx.save(onnx.parser.parse_model(HEADER + FILES[name]), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return fieldwise.onnx.load(path), lambda x: session.run(["y"], {"x": x})[0]


@pytest.mark.parametrize("name", FILES)
def test_a_row_sees_what_moves_it_in_onnx_runtime(name, tmp_path):
    net, run = loaded(name, tmp_path)
    seen = fieldwise.receptive_fields(net, (12, 1, 3), axes=(0,))["y"]
    x = np.random.default_rng(1).normal(size=(12, 1, 3)).astype(np.float32)
    base = run(x)
    moved = np.zeros((len(base), 12), bool)
    for position in range(12):
        changed = x.copy()
        changed[position] += 1
        moved[:, position] = (run(changed) != base).any((1, 2))
    assert [seen.at(row).mask().tolist() for row in range(len(base))] == moved.tolist()


@pytest.mark.parametrize(
    ("name", "extent", "stride", "start"),
    [
        ("rows", 1, 1, 0),
        ("reversed", 1, -1, 11),
        ("backwards", 1, 1, 0),
        ("past", None, 1, None),
        ("future", None, 1, 0),
        ("pairs", 3, 1, 0),
    ],
)
def test_rows_follow_the_axis_in_closed_form(name, extent, stride, start, tmp_path):
    net, _ = loaded(name, tmp_path)
    row = fieldwise.receptive_fields(net, (12, 1, 3), axes=(0,))["y"].row
    [axis] = row.axes
    assert (axis.extent, axis.stride, axis.start) == (extent, stride, start)
    assert (axis.past, axis.future) == (name == "past", name == "future")
    assert row.exact
    assert not row.at_this_size


@pytest.mark.parametrize(
    ("name", "step", "inside"),
    [
        ("rows", 1, (0, 12)),
        ("reversed", -1, (0, 12)),
        ("past", None, None),
        ("pairs", None, (0, 10)),
    ],
)
def test_a_shift_is_answered_where_the_body_is_the_same_for_all_rows(name, step, inside, tmp_path):
    net, _ = loaded(name, tmp_path)
    [found] = fieldwise.certify(net, (12, 1, 3), axes=(0,))["y"].axes
    assert found.circular.holds == (step is not None)
    assert found.circular.step == step
    assert found.interior.range == inside


@pytest.mark.parametrize("name", ["rows", "past", "pairs"])
def test_rows_stream_as_onnx_runtime_computes_them(name, tmp_path):
    net, run = loaded(name, tmp_path)
    x = torch.randn(12, 1, 3, generator=torch.Generator().manual_seed(0))
    found = fieldwise.streamed(net, x, axis=0, band=2)(x)
    np.testing.assert_allclose(found.numpy(), run(x.numpy()), rtol=1e-5, atol=1e-6)
