"""Files some of whose outputs only data decide: every verb answers for the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

import fieldwise.onnx
from fieldwise.cli import app

WEIGHT = ", ".join(str(one % 5 - 1.5) for one in range(36))
BODY = f"""<float[2,2,3,3] w = {{{WEIGHT}}}> {{
    y = Conv <pads=[1,1,1,1]> (x, w)
    places = NonZero (y)
    z = MaxPool <kernel_shape=[2,2], strides=[2,2]> (y) }}"""
OUTPUTS = {
    "beside": "int64[4,N] places, float[1,2,H,W] y, float[1,2,A,B] z",
    "alone": "int64[4,N] places",
}


@pytest.fixture(params=OUTPUTS, autouse=True)
def net(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[1,2,H,W] x) => ({OUTPUTS[request.param]}) {BODY}"""
    onnx.save(onnx.parser.parse_model(text), "net.onnx")
    np.save("in.npy", np.random.default_rng(0).normal(size=(2, 64, 48)).astype("float32"))
    return request.param


def run(*args, code=0):
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout + result.stderr


def wanted():
    x = torch.from_numpy(np.load("in.npy"))[None]
    weight = torch.tensor([float(one) for one in WEIGHT.split(", ")]).reshape(2, 2, 3, 3)
    return torch.nn.functional.conv2d(x, weight, padding=1)[0].numpy()


SHAPE = ("--input", "1x2x12x12")


def test_the_module_returns_all_that_the_file_does_and_in_a_verb_what_is_analysed(net):
    module = fieldwise.onnx.load("net.onnx")
    x = torch.randn(1, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x.numpy()})
    found = module(x)
    for mine, theirs in zip(found if isinstance(found, tuple) else [found], expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-4, atol=1e-4)
    with module.analysed():
        told = module(x)
    assert len(told) == 2 if net == "beside" else told.shape == (1, 2, 12, 12)


def test_a_shift_is_measured_and_repaired(net):
    told = run("shift", "net.onnx", *SHAPE, "--measure")
    measured = told.split("measured")[1]
    assert "\ny " in measured
    assert ("\nz " in measured) == (net == "beside")
    assert "repaired: error 0.0e+00" in run("shift", "net.onnx", *SHAPE, "--repair", "circular")


@pytest.mark.parametrize("engine", [(), ("--engine", "halo", "--tile", "32")])
def test_what_is_told_is_tiled(net, engine):
    run("tile", "net.onnx", "in.npy", "out.npy", "--layout", "CHW", "--verify", *engine)
    found = np.load("out.y.npy" if net == "beside" else "out.npy")
    np.testing.assert_allclose(found, wanted(), atol=1e-4)


def test_onnx_runtime_gives_the_outputs_of_the_file(net):
    job = ("tile", "net.onnx", "in.npy", "out.npy", "--layout", "CHW", "--engine", "halo")
    job = (*job, "--tile", "32", "--runtime", "ort", "--verify")
    if net == "beside":
        run(*job)
        np.testing.assert_allclose(np.load("out.y.npy"), wanted(), atol=1e-4)
    else:
        assert "and 'y' is none; let torch run it" in run(*job, code=1)


def test_a_stream_is_written_and_compared():
    told = run("stream", "net.onnx", *SHAPE, "--emit", "step.onnx")
    assert "wrote step.onnx" in told
    assert Path("step.onnx").exists()
