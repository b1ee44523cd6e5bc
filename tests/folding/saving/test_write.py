"""What is written, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch
from torch import nn

import fieldwise.onnx
from fieldwise.errors import UsageError
from fieldwise.folding import fold
from fieldwise.folding.onnx.export import RuntimeModule
from fieldwise.folding.saving.times import run_times
from tests.folding.saving.networks import UNet, block, settled


@pytest.fixture(scope="module")
def folded():
    torch.manual_seed(0)
    return fold(settled(UNet()), torch.randn(1, 3, 8, 8))


def test_a_torch_model_is_exported_to_onnx_for_any_batch_and_size(folded, tmp_path):
    found = folded.save(tmp_path / "net.onnx")
    assert found.paths == (tmp_path / "net.onnx",)
    assert [one.name for one in tmp_path.iterdir()] == ["net.onnx"]
    assert found.program.verify.passed
    assert found.program.verify.compared == 4 * 8 * 8 + 2 * 4 * 12 * 16
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (name,) = [one.name for one in session.get_inputs()]
    for shape in ((1, 3, 8, 8), (3, 3, 12, 4)):
        image = torch.randn(shape)
        with torch.no_grad():
            wanted = folded.source(image).numpy()
        assert np.abs(session.run(None, {name: image.numpy()})[0] - wanted).max() < 1e-4
    assert "BatchNormalization" not in {one.op_type for one in onnx.load(found.paths[0]).graph.node}


class Scenes(nn.Module):
    """Two inputs of which one may be longer than the other, and outputs with names."""

    def __init__(self):
        super().__init__()
        self.image, self.sound = nn.Conv2d(3, 2, 3, padding=1, stride=2), nn.Conv1d(1, 2, 3)

    def forward(self, picture, sound):
        seen, heard = self.image(picture), self.sound(sound)
        return {"seen": seen, "both": seen.mean((2, 3)) + heard.mean(2)}


def shapes_of(values):
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in values
    }


@pytest.mark.skipif(
    not hasattr(torch.onnx.ONNXProgram, "rename_axes"), reason="this torch cannot rename sizes"
)
def test_an_onnx_file_says_what_its_open_sizes_and_its_outputs_are(tmp_path):
    example = torch.randn(1, 3, 8, 8), torch.randn(1, 1, 20)
    fold(settled(Scenes()), example).save(tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert shapes_of(graph.input) == {
        "picture": ["batch", 3, "height", "width"], "sound": ["batch", 1, "length"],
    }  # fmt: skip
    found = shapes_of(graph.output)
    assert found["both"] == ["batch", 2]
    batch, channels, *space = found["seen"]
    assert (batch, channels) == ("batch", 2)
    assert ["height" in space[0], "width" in space[1]] == [True, True]


@pytest.mark.parametrize(
    ("model", "outputs"),
    [(lambda x: (x + 1, x * 2), None), (lambda x: {"x": x + 1}, None), (lambda x: x + 1, "output")],
    ids=["in order", "called like the input", "one"],
)
def test_outputs_without_a_name_of_their_own_keep_those_that_torch_gives(model, outputs, tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return model(self.conv(x))

    fold(settled(Net()), torch.randn(1, 1, 8, 8)).save(tmp_path / "net.onnx")
    names = list(shapes_of(onnx.load(tmp_path / "net.onnx").graph.output))
    assert "x" not in names
    assert outputs is None or names == [outputs]


def test_without_onnx_runtime_the_file_is_compared_as_it_is_read_here(
    folded, tmp_path, monkeypatch
):
    def missing(_self, _path):
        raise ImportError

    monkeypatch.setattr(RuntimeModule, "__init__", missing)
    found = folded.save(tmp_path / "net.onnx")
    assert found.program.verify.passed
    assert found.program.verify.compared == 4 * 8 * 8 + 2 * 4 * 12 * 16


def test_a_name_without_suffix_is_a_pair(folded, tmp_path):
    found = folded.save(tmp_path / "out" / "net")
    assert [path.name for path in found] == ["net.safetensors", "net.pt2"]
    assert found.nbytes == tuple(path.stat().st_size for path in found)
    assert found.loaded.passed
    assert found.program.verify.passed
    assert found.loader[0] == "from fieldwise import load_folded"


def test_parameters_multiplications_and_bytes_stand_side_by_side(folded, tmp_path):
    found = folded.save(tmp_path / "net.safetensors")
    before, after = found.parameters
    assert before - after == folded.report.parameters_saved == 5 * 4
    assert after == sum(one.numel() for one in folded.model.parameters())
    assert found.macs[0] == found.macs[1] > 0
    state = [*folded.source.parameters(), *folded.source.buffers()]
    assert found.weight_bytes[0] == sum(one.numel() * one.element_size() for one in state)
    assert found.weight_bytes[1] < found.weight_bytes[0]


def test_times_are_measured_when_asked_for(folded, tmp_path):
    assert folded.save(tmp_path / "a.safetensors").times is None
    times = folded.save(tmp_path / "b.safetensors", timed=True).times
    assert times.before > 0
    assert times.after > 0
    assert times.runs >= 3
    assert times.threads == torch.get_num_threads()


def test_what_takes_too_long_is_not_timed(monkeypatch):
    from fieldwise.folding.saving import times

    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(times, "perf_counter", lambda: next(clock))
    found = run_times(lambda: None, lambda: None, torch.device("cpu"))
    assert (found.before, found.runs) == (None, 0)
    assert found.note == "the first two runs took 40 s, which is too long to repeat"


def test_files_of_a_run_before_are_kept_unless_asked(folded, tmp_path):
    folded.save(tmp_path / "net.safetensors")
    with pytest.raises(UsageError, match="is there already"):
        folded.save(tmp_path / "net.safetensors")
    assert folded.save(tmp_path / "net.safetensors", overwrite=True).paths


def test_the_report_shows_itself(folded, tmp_path):
    found = folded.save(tmp_path / "net", timed=True)
    text = str(found)
    for part in ("wrote ", "  parameters  ", "  MACs a run  ", "  weights     ", "  time        ",
                 "x axis 2: size 4 or more", "compared    on 1x3x8x8, 2x3x12x16: 1792 numbers, "
                 "right", "  loaded      into a copy of the model: 256 numbers, right",
                 "from fieldwise import load_folded"):  # fmt: skip
        assert part in text
    data = found.to_dict()
    assert data == json.loads(found.to_json())
    assert data["files"][0]["bytes"] == found.nbytes[0]
    assert data["program"]["shapes"] == [[[1, 3, 8, 8]], [[2, 3, 12, 16]]]
    assert data["times"]["threads"] == torch.get_num_threads()
    assert "net.pt2" in found._repr_html_()


def test_an_exported_program_is_folded_by_its_graph_without_being_asked(tmp_path):
    net, image = settled(block(3, 4)), torch.randn(1, 3, 8, 8)
    torch.export.save(torch.export.export(net, (image,)), tmp_path / "net.pt2")
    from fieldwise.capture import load_model

    program = load_model(str(tmp_path / "net.pt2"))
    found = fold(program.module, program.example())
    assert (found.report.folded, found.report.candidates) == (1, 1)
    assert found.report.verify.passed
    saved = found.save(tmp_path / "small.pt2")
    assert saved.program.verify.passed
    made = torch.export.load(tmp_path / "small.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(made(image), net(image), rtol=1e-5, atol=1e-5)


def test_an_onnx_file_is_timed_in_onnx_runtime(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 1, 8, 8] x) => (float[1, 2, 6, 6] y)
    <float[2, 1, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9},
     float[2] s = {2, 3}, float[2] b = {1, 1}, float[2] m = {0, 1}, float[2] v = {1, 2}>
    { c = Conv (x, w)  y = BatchNormalization (c, s, b, m, v) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    found = fold(fieldwise.onnx.load(tmp_path / "net.onnx"), torch.randn(1, 1, 8, 8))
    saved = found.save(tmp_path / "small.onnx", timed=True)
    assert saved.times.runs >= 3
    assert saved.macs == (2 * 36 * 9, 2 * 36 * 9)
    assert saved.program is None


def test_biases_that_are_zero_by_chance_are_counted_apart():
    """Of fresh statistics a convolution gains no bias; of settled ones it does."""
    fresh = fold(block(3, 4).eval(), (1, 3, 8, 8)).report
    trained = fold(settled(block(3, 4)), (1, 3, 8, 8)).report
    assert (fresh.parameters_saved, fresh.zero_biases) == (8, 4)
    assert (trained.parameters_saved, trained.zero_biases) == (4, 0)
    assert "1 op and 4 parameters fewer" in str(fresh)
    assert "1 op and 4 parameters fewer" in str(trained)
    assert "with these weights 4 more: biases that are 0 and are left out" in str(fresh)
    assert "with these weights" not in str(trained)


def test_a_scale_alone_never_needs_a_bias():
    from tests.folding.saving.networks import Scaled

    net = Scaled()
    net.conv = nn.Conv2d(3, 4, 3, bias=False)
    found = fold(net.eval(), (1, 3, 8, 8), allow_graph=True).report
    assert (found.folded, found.zero_biases) == (1, 0)
