"""ONNX files under a shift: measured by the names of the file, and repaired in memory."""

from __future__ import annotations

import onnx
import onnx.parser
import pytest
from typer.testing import CliRunner

import fieldwise.onnx
from fieldwise.cli.app import app
from fieldwise.shift import measure
from fieldwise.shift.repair import circular

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 1, 16, 16] image) => (float[1, 1, 8, 8] mask)
<float[1, 1, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>
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


def test_a_repaired_model_is_not_written_as_the_file_that_was_read(net, tmp_path):
    out = tmp_path / "out.onnx"
    found = CliRunner().invoke(app, ["shift", str(net), "--repair", "circular", "-o", str(out)])
    assert found.exit_code == 2
    assert "a repaired model is not written as one" in " ".join(found.output.split())
    assert not out.exists()
