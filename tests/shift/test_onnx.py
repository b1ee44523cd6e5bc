"""ONNX files under a shift: measured by the names of the file, and repaired in memory."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from typer.testing import CliRunner

import fieldwise.onnx
from fieldwise.cli.app import app
from fieldwise.shift import measure
from fieldwise.shift.repair import circular

WINDOWS = {
    "a stride": "mask = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w)",
    "padding on one side": "mask = Conv <pads = [0, 2, 2, 0]> (image, w)",
    "SAME": 'mask = Conv <auto_pad = "SAME_LOWER", kernel_shape = [3, 3]> (image, w)',
    "pools": "p = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image) "
    "mask = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (p)",
    "a padding": "p = Pad (image, by) mask = Conv (p, w)",
}

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 1, 16, 16] image) => (float[1, 1, 8, 8] mask)
<int64[8] by = {0, 0, 1, 1, 0, 0, 1, 1}, float[1, 1, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>
{ mask = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w) }"""


@pytest.fixture
def net(tmp_path):
    onnx.save(onnx.parser.parse_model(TEXT), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_a_measurement_names_the_outputs_of_the_file(net):
    found = measure(fieldwise.onnx.load(net), (1, 1, 16, 16), shift=2)
    assert [one.name for one in found.outputs] == ["mask", "mask"]
    assert found.verdict == "broken"


def test_a_file_is_repaired_in_memory(net):
    repaired = circular(fieldwise.onnx.load(net), (1, 1, 16, 16))
    assert repaired.done
    assert [one.verdict for one in repaired.measurement.outputs] == ["holds", "holds"]


@pytest.mark.parametrize("case", WINDOWS)
def test_a_repaired_file_moves_as_its_input_moves_in_onnx_runtime(case, tmp_path):
    text = TEXT.replace(WINDOWS["a stride"], WINDOWS[case]).replace("1, 8, 8]", "1, H, W]")
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    paths = (str(tmp_path / "net.onnx"), str(tmp_path / "out.onnx"))
    found = CliRunner().invoke(app, ["shift", paths[0], "--repair", "circular", "-o", paths[1]])
    assert found.exit_code == 0, found.output
    onnx.checker.check_model(paths[1], full_check=True)
    session = onnxruntime.InferenceSession(paths[1], providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype(np.float32)
    one, two = (session.run(None, {"image": x})[0] for x in (image, np.roll(image, 2, 2)))
    step = 16 // one.shape[2]
    assert np.abs(np.roll(one, 2 // step, 2) - two).max() < 1e-4


def test_what_is_no_wrapped_operand_is_refused(tmp_path):
    node = "mask = ConvTranspose <strides = [2, 2], pads = [1, 1, 0, 0]> (image, w)"
    text = TEXT.replace(WINDOWS["a stride"], node).replace("1, 8, 8]", "1, H, W]")
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    paths = (str(tmp_path / "net.onnx"), str(tmp_path / "out.onnx"))
    found = CliRunner().invoke(app, ["shift", paths[0], "--repair", "circular", "-o", paths[1]])
    assert found.exit_code == 2
    assert "has layers whose periodic form is no wrapped operand" in " ".join(found.output.split())


def test_a_repaired_model_is_not_written_as_the_file_that_was_read(net, tmp_path):
    out = tmp_path / "out.onnx"
    found = CliRunner().invoke(app, ["shift", str(net), "--repair", "polyphase", "-o", str(out)])
    assert found.exit_code == 2
    assert "a repaired model is not written as one" in " ".join(found.output.split())
    assert not out.exists()
