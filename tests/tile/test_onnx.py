"""ONNX files in pieces: streamed and tiled, in memory and as jobs, equal to ONNX Runtime."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from typer.testing import CliRunner

import fieldwise.onnx
from fieldwise.cli.app import app
from fieldwise.errors import UsageError
from fieldwise.tile import streamed, tiled
from fieldwise.tile.errors import TileError
from fieldwise.tile.files import AxisLayout, open_source
from fieldwise.tile.jobs import Job, Request, job_model, plan_job

Sizes = tuple[int | str, int | str]


def written(path: Path, sizes: Sizes = ("high", "wide")) -> Path:
    """A segmenter in a file: a stride, a dilation, and nearest resizing by constant factors."""
    draw = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "w3": (2, 8, 1, 1)}
    constants = [
        numpy_helper.from_array((0.2 * draw.standard_normal(shape)).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    constants.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[2] * 4, dilations=[2, 2]),
        helper.make_node("Resize", ["c2", "", "scales"], ["u"], mode="nearest"),
        helper.make_node("Conv", ["u", "w3"], ["mask"]),
    ]
    image = helper.make_tensor_value_info("image", 1, [1, 3, *sizes])
    mask = helper.make_tensor_value_info("mask", 1, [1, 2, None, None])
    graph = helper.make_graph(nodes, "segmenter", [image], [mask], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return written(tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).standard_normal((1, 3, 150, 100)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(net, image):
    session = onnxruntime.InferenceSession(str(net), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


HALO = ("--engine", "halo", "--tile", "64")


def run(*arguments: object) -> str:
    found = CliRunner().invoke(app, [str(one) for one in arguments])
    assert found.exit_code == 0, found.output
    return found.output


# -------------------------------------------------------------------- in memory


def test_pieces_of_a_file_are_what_onnx_runtime_gives_for_the_whole(net, image, whole):
    model = fieldwise.onnx.load(net)
    for found in (
        streamed(model, (1, 3, 64, 64), band=20)(image),
        tiled(model, (1, 3, 64, 64), tile=64)(image),
        tiled(model, (1, 3, 64, 64), tile=64, runtime="ort")(image),
    ):
        assert np.abs(found - whole).max() < 1e-5


def test_a_module_of_a_file_can_be_pickled(net, image, whole):
    again = pickle.loads(pickle.dumps(fieldwise.onnx.load(net)))
    assert np.abs(again(torch.from_numpy(image)).numpy() - whole).max() < 1e-5


# -------------------------------------------------------------------- jobs


@pytest.mark.parametrize("options", [(), HALO, (*HALO, "--runtime", "ort", "--verify")])
def test_a_job_on_a_file_needs_no_layout(options, net, image, whole, tmp_path):
    np.save(tmp_path / "in.npy", image[0])
    run("tile", net, tmp_path / "in.npy", tmp_path / "out.npy", *options)
    assert np.abs(np.load(tmp_path / "out.npy") - whole).max() < 1e-5


def test_a_job_through_onnx_runtime_goes_on_where_it_stopped(net, image, whole, tmp_path):
    np.save(tmp_path / "in.npy", image[0])
    job = job_of(net, tmp_path, runtime="ort")

    def stop(_: object) -> None:
        done.append(1)
        if len(done) == 4:
            raise KeyboardInterrupt

    done: list[int] = []
    with job.open() as journal, pytest.raises(KeyboardInterrupt):
        job.run(journal, advance=stop)
    again = pickle.loads(pickle.dumps(job_of(net, tmp_path, runtime="ort")))
    with again.open(resume=True) as journal:
        assert journal.done
        again.run(journal)
    assert np.abs(np.load(tmp_path / "out.npy") - whole).max() < 1e-5
    other = job_of(net, tmp_path)
    with pytest.raises(UsageError, match="--runtime"), other.open(resume=True) as journal:
        other.run(journal)


def job_of(net: Path, folder: Path, **options: str) -> Job:
    source = open_source(folder / "in.npy")
    asked = Request(
        job_model(str(net), "1x3x150x100"),
        source,
        AxisLayout.of("CHW"),
        folder / "out.npy",
        engine="halo",
        tile=64,
        **options,
    )
    return plan_job(asked)


# -------------------------------------------------------------------- what cannot be


def test_a_size_that_the_file_fixes_is_refused_with_the_remedy(image, tmp_path):
    net = fieldwise.onnx.load(written(tmp_path / "fixed.onnx", (96, 96)))
    found = tiled(net, (1, 3, 96, 96), tile=64, runtime="ort")
    with pytest.raises(TileError, match=r"size of 96 along axis 2 alone.*--runtime torch"):
        found(image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"providers": ["MagicExecutionProvider"]}, "ONNX Runtime has no MagicExecutionProvider"),
        ({"runtime": "torch", "providers": ["X"]}, "give runtime='ort' too"),
    ],
)
def test_providers_that_are_not_there_are_named(options, said, net):
    with pytest.raises(UsageError, match=said):
        tiled(fieldwise.onnx.load(net), (1, 3, 64, 64), tile=64, **{"runtime": "ort", **options})


def test_only_files_are_run_by_onnx_runtime():
    net = torch.nn.Conv2d(3, 4, 3).eval()
    with pytest.raises(UsageError, match="this model was not read from one"):
        tiled(net, (1, 3, 64, 64), tile=64, runtime="ort")


def test_crops_through_onnx_runtime_need_the_engine_that_cuts_crops(net, tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((3, 64, 64), np.float32))
    paths = (str(net), str(tmp_path / "in.npy"), str(tmp_path / "out.npy"))
    found = CliRunner().invoke(app, ["tile", *paths, "--runtime", "ort"])
    assert found.exit_code == 2
    assert "--runtime ort runs crops; give --engine halo too." in found.output
