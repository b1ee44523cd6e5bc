"""A deployment engineer: an exported program made smaller, a plan for a machine, a stream."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch
from jsonschema import Draft202012Validator
from torch import nn
from torch.export import Dim
from torchvision.models.resnet import BasicBlock, ResNet

from tests.folding.saving.networks import settled
from tests.people.bare import ROOT, Bare
from tests.people.nets import Denoiser

DENOISER = ("nets.py:Denoiser", "--input", "1x1x400")


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return settled(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10))


def denoiser() -> nn.Module:
    torch.manual_seed(0)
    return settled(Denoiser())


def valid(text: str, schema: str) -> dict:
    """A report as data, which has to be what its schema on the site says."""
    report = json.loads(text)
    form = json.loads((ROOT / "docs" / "schema" / f"{schema}.json").read_text())
    Draft202012Validator(form).validate(report)
    return report


NORMS = [module for module in classifier().modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.fixture(scope="module")
def engineer(user: Bare) -> Bare:
    """Someone who was handed net.pt2, a classifier of any batch, and the weights of a denoiser."""
    example = torch.rand(2, 3, 32, 32)
    program = torch.export.export(classifier(), (example,), dynamic_shapes=({0: Dim.AUTO},))
    torch.export.save(program, user.here / "net.pt2")
    torch.save(denoiser().state_dict(), user.here / "denoiser.pth")
    np.save(user.here / "photo.npy", np.zeros((3, 512, 256), "uint8"))
    return user


def fold(engineer: Bare, out: str) -> None:
    said = engineer.fieldwise("fold", "net.pt2", "-o", out, "--no-time")
    assert said.err == ""
    lines = said.out.splitlines()
    saved = f"{len(NORMS)} ops and {sum(norm.num_features for norm in NORMS)} parameters fewer"
    total = f"{len(NORMS)} of {len(NORMS)} affine ops and parallel branches folded"
    assert f"{total}: {saved}" in lines
    assert any(line.startswith(f"wrote {out}, ") for line in lines)
    assert "  args_0 axis 0: size any" in lines


@torch.no_grad()
def test_a_program_is_folded_into_a_program_that_gives_the_same_for_any_batch(engineer):
    fold(engineer, "small.pt2")
    before, now = (torch.export.load(engineer.here / name) for name in ("net.pt2", "small.pt2"))
    assert not [name for name in now.state_dict if "running_mean" in name]
    for batch in (1, 2, 5):
        x = torch.rand(batch, 3, 32, 32)
        torch.testing.assert_close(now.module()(x), before.module()(x), rtol=1e-4, atol=1e-5)
    same = engineer.fieldwise("compare", "net.pt2", "small.pt2")
    assert same.out.endswith("the outputs see the same, with the same halo\n")


@torch.no_grad()
def test_a_program_is_folded_into_a_file_for_onnx_runtime(engineer):
    fold(engineer, "small.onnx")
    session = onnxruntime.InferenceSession(engineer.here / "small.onnx")
    (given,) = session.get_inputs()
    for batch in (2, 3):
        x = torch.rand(batch, 3, 32, 32)
        (found,) = session.run(None, {given.name: x.numpy()})
        np.testing.assert_allclose(found, classifier()(x).numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_is_replaced_before_that_is_asked_for(engineer):
    there = engineer.here / "there.pt2"
    there.write_text("mine")
    said = engineer.fieldwise("fold", "net.pt2", "-o", "there.pt2", code=2)
    assert said.err.startswith("error: 'there.pt2' is there already; name another file, or ")
    assert "--overwrite" in said.err
    assert there.read_text() == "mine"


def test_a_plan_is_data_by_the_schema_and_runs_nothing(engineer):
    asked = ("tile", "torchvision:fcn_resnet50", "photo.npy", "out.npy", "--plan")
    said = engineer.fieldwise(*asked, "--format", "json")
    plan = valid(said.out, "JobReport")
    assert (plan["shape"], plan["engine"], plan["along"]) == ([1, 3, 512, 256], "stream", 2)
    assert plan["results"][0]["path"] == "out.npy"
    assert plan["done"] == 0
    assert plan["outputs"][0]["shape"] == [1, 21, 512, 256]
    assert said.err.startswith("warning: 'torchvision:fcn_resnet50' has random weights; ")
    assert not (engineer.here / "out.npy").exists()


def test_the_latency_of_the_denoiser_is_data_in_samples_and_milliseconds(engineer):
    said = engineer.fieldwise("stream", *DENOISER, "--rate", "16000", "--format", "json")
    report = valid(said.out, "LatencyReport")
    (output,) = report["outputs"]
    # 4 samples for the kernel of 9, 8 for 5 taps 4 apart, 1 for the last kernel of 3
    assert (output["causal"], output["look_ahead"], output["latency"]) == (False, 13, 13)
    assert output["latency_ms"] == pytest.approx(13 / 16000 * 1000)
    assert (report["lengths"], report["state_growth"]) == ("any", 0)


@torch.no_grad()
def test_the_stream_is_emitted_and_runs_chunk_by_chunk_without_fieldwise(engineer):
    said = engineer.fieldwise(
        "stream", *DENOISER, "--weights", "denoiser.pth",
        "--emit", "live.onnx", "--chunk", "100", "--rest", "30",
    )  # fmt: skip
    assert "compared with the whole on 1x1x430: " in said.out
    about = json.loads((engineer.here / "live.json").read_text())
    first, step, last = (
        onnxruntime.InferenceSession(engineer.here / about["files"][part])
        for part in ("start", "step", "finish")
    )
    sound = torch.randn(1, 1, about["first"] + 7 * about["chunk"] + about["rest"])
    chunks = sound.numpy()[..., : -about["rest"]]
    rows, *states = first.run(None, {"samples": chunks[..., : about["first"]]})
    found = [rows]
    for start in range(about["first"], chunks.shape[-1], about["chunk"]):
        chunk = chunks[..., start : start + about["chunk"]]
        rows, *states = step.run(None, {"samples": chunk, **named(states)})
        found.append(rows)
    found += last.run(None, {"samples": sound.numpy()[..., -about["rest"] :], **named(states)})
    whole = denoiser()(sound).numpy()
    np.testing.assert_allclose(np.concatenate(found, -1), whole, rtol=1e-4, atol=1e-5)


def named(states: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"state_{number}": state for number, state in enumerate(states)}


def test_a_stream_with_random_weights_is_not_emitted(engineer):
    said = engineer.fieldwise("stream", *DENOISER, "--emit", "random.onnx", code=2)
    assert "'nets.py:Denoiser' has random weights in " in said.err
    assert said.err.endswith("--random-weights writes it nevertheless.\n")
    assert not list(engineer.here.glob("random*"))


def test_a_change_of_the_architecture_ends_a_check_with_1_and_a_mistake_with_2(engineer):
    asked = ("compare", "nets.py:UNet", "nets.py:Sharper", "--input", "1x3x32x32")
    changed = engineer.fieldwise(*asked, "--format", "json", code=1)
    report = valid(changed.out, "NetworkComparison")
    (output,) = report["outputs"]
    assert (report["outputs_differ"], output["one"]["extent"], output["two"]["extent"]) == (
        True, [10, 10], [12, 12],
    )  # fmt: skip
    mistaken = engineer.fieldwise("compare", "nets.py:UNet", "no.pt2", *asked[3:], code=2)
    message = "There is no file 'no.pt2'; check the path."
    assert (mistaken.out, mistaken.err) == ("", f"error: {message}\n")
