"""``fieldwise stream``: what a stream takes, as a table and as data; the exit codes."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from fieldwise.cli import app

NETS = """
import torch
from torch import nn
from tests.tile.bands.decoders import decoder

def codec():
    torch.manual_seed(0)
    return decoder()

def normed():
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.GroupNorm(1, 2))

def aligned():
    return nn.Upsample(scale_factor=2, mode="linear", align_corners=True)

def pooled():
    return nn.AvgPool1d(3)

def rows():
    return nn.Softmax(2)
"""
CODEC = ("stream_nets:codec", "--input", "1x3x40")


@pytest.fixture(autouse=True)
def _nets(tmp_path, monkeypatch):
    (tmp_path / "stream_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "stream_nets", raising=False)


def run(*args, code=0):
    result = CliRunner().invoke(app, ["stream", *args])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code != 2 else result.stderr


def test_the_table_tells_samples_and_milliseconds():
    title, head, row, *lines = run(*CODEC, "--rate", "16000/8").splitlines()
    assert title == "stream_nets:codec, input 1x3x40 along axis 2, 2000 samples per second"
    assert head.split() == "output causal rows per sample looks ahead sees back latency".split()
    assert row.split() == "output no 8 17/2 (4.25 ms) 75/8 (4.688 ms) 9 (4.5 ms)".split()
    assert lines[0] == "streams  chunks of any size; the total length need not be known"
    assert lines[1] == "grid     1 sample"
    assert lines[2].startswith("state    ")
    assert lines[3].endswith("FLOP/s")


def test_without_a_rate_nothing_is_said_in_seconds():
    told = run(*CODEC)
    assert " ms" not in told
    assert "/s" not in told


def test_the_document_has_the_numbers():
    found = json.loads(run(*CODEC, "--rate", "2000", "--format", "json"))
    assert (found["schema"], found["model"], found["axis"]) == (1, "stream_nets:codec", 2)
    (output,) = found["outputs"]
    assert (output["look_ahead"], output["look_ahead_ms"]) == ("17/2", 4.25)
    assert (output["latency"], output["latency_ms"]) == (9, 4.5)
    assert found["flops_per_second"] == 2000 * found["flops_per_sample"]


def test_a_model_that_cannot_be_streamed_says_why_and_ends_with_one():
    told = run("stream_nets:normed", "--input", "1x1x40", code=1)
    assert "'1' sees the whole axis" in told
    assert "  '1' (group_norm): every result reads the whole streamed axis" in told
    assert told.splitlines()[-1].startswith("A session sees its input once")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("torchvision:resnet18", "--rate", "30"), "2 spatial ones; say which is time"),
        ((*CODEC, "--rate", "fast"), "--rate 'fast' is no number of samples per second"),
        ((*CODEC, "--rate", "0"), "--rate '0' is no number of samples per second"),
        ((*CODEC, "--axis", "7"), "--axis '7' is no axis of an input of 3 axes (1x3x40)"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1],
)
def test_what_makes_no_sense_is_told_in_a_sentence(args, said):
    (line,) = run(*args, code=2).splitlines()
    assert said in line


# -------------------------------------------------------------------- the stream handed on


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_stream_is_written_once_it_has_been_compared_with_the_whole(tmp_path):
    told = run(*CODEC, "--emit", "out/net.pt2", "--chunk", "10", "--rest", "5")
    lines = told.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("start takes"))
    assert lines[at].startswith("start takes 10 samples, each step 10, finish 5; ")
    assert lines[at + 1] == "  output: 12 rows, 80 per step, 108 at the end; 8.5 samples late"
    assert lines[at + 2].startswith("compared with the whole on 1x3x45: ")
    names = ("net.start.pt2", "net.pt2", "net.finish.pt2", "net.json")
    assert lines[-4:] == [f"wrote out/{name}" for name in names]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert json.loads((tmp_path / "out" / "net.json").read_text())["rest"] == 5


def test_with_a_document_on_stdout_the_files_are_named_on_stderr():
    model = ("stream_nets:pooled", "--input", "1x1x48")
    result = CliRunner().invoke(
        app, ["stream", *model, "--emit", "net.pt2", "--chunk", "6", "--format", "json"]
    )
    assert json.loads(result.stdout)["lengths"] == "any"
    assert result.stderr.splitlines()[-1] == "wrote net.json"


def test_no_file_of_a_stream_is_replaced_unless_that_is_asked_for(tmp_path):
    (tmp_path / "net.finish.pt2").write_text("mine")
    asked = ("stream_nets:pooled", "--input", "1x1x48", "--emit", "net.pt2", "--chunk", "6")
    said = CliRunner().invoke(app, ["stream", *asked])
    assert said.exit_code == 2
    remedy = "'net.finish.pt2' is there already; name another file, or add --overwrite."
    assert said.stderr == f"error: {remedy}\n"
    assert not (tmp_path / "net.pt2").exists()
    run(*asked, "--overwrite")
    assert (tmp_path / "net.pt2").exists()


def test_a_model_that_is_refused_is_not_emitted(tmp_path):
    run("stream_nets:normed", "--input", "1x1x40", "--emit", "net.onnx", code=1)
    result = CliRunner().invoke(
        app, ["stream", "stream_nets:aligned", "--input", "1x1x40", "--emit", "net.onnx"]
    )
    assert result.exit_code == 1
    assert "Announce the length" in result.stderr
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".py"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("--emit", "net.pth"),
            "--emit 'net.pth' has no suffix of a file that a stream",
        ),
        (("--chunk", "8"), "--longest and --overwrite belong to --emit OUT.onnx"),
        (
            ("--longest", "8"),
            "--longest and --overwrite belong to --emit OUT.onnx",
        ),
        (("--rest", "8"), "--longest and --overwrite belong to --emit OUT.onnx"),
    ],
    ids=" ".join,
)
def test_an_emission_that_makes_no_sense_is_told_in_a_sentence(args, said):
    (line,) = run(*CODEC, *args, code=2).splitlines()
    assert said in line


def test_a_chunk_off_the_grid_is_told_the_nearest_that_are_on_it():
    result = CliRunner().invoke(
        app,
        ["stream", "stream_nets:pooled", "--input", "1x1x48", "--emit", "a.pt2", "--chunk", "7"],
    )
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith("no multiple of the grid 3, after which every layer has a whole number of "
                         "rows; use 6 or 9.")  # fmt: skip


def test_another_axis_that_was_tried_is_named():
    model = ("stream_nets:rows", "--input", "1x2x9x9")
    told = run(*model, "--axis", "2", code=1)
    assert "Along axis 3 it can be streamed: axis=3 (--axis 3)." in told
    assert "chunks of any size" in run(*model, "--axis", "3")
