"""Folding ONNX files: the file that is written is right, and is the one that was read elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, numpy_helper
from onnx.reference import ReferenceEvaluator

import fieldwise.onnx
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.errors import UsageError
from fieldwise.folding import Folded, fold
from tests.folding.onnx_networks import drawn_network, network

NORM = dict.fromkeys(("g", "b", "m", "v"), (4,))
BN = "BatchNormalization"


def folded(model: ModelProto, folder: Path, **options: object) -> Folded:
    path = folder / "net.onnx"
    onnx.save(model, path)
    shapes = [
        tuple(dim.dim_value or 2 for dim in one.type.tensor_type.shape.dim)
        for one in model.graph.input
    ]
    dtype = (
        torch.float64 if model.graph.input[0].type.tensor_type.elem_type == 11 else torch.float32
    )
    example = tuple(torch.zeros(shape, dtype=dtype) for shape in shapes)
    return fold(fieldwise.onnx.load(path), example, **options)  # type: ignore[arg-type]


def ops(found: Folded) -> list[str]:
    return [node.op_type for node in found.model.file.proto.graph.node]


def in_runtime(model: ModelProto, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)


def image(text: str = "float[2, 3, 8, 8] x", out: str = "float[N, C, H, W] y") -> str:
    return f"net ({text}) => ({out})"


# -------------------------------------------------------------------- what goes, and what stays

GOES = {
    "Conv and BatchNormalization": (
        f"c = Conv <pads = [1, 1, 1, 1]> (x, w) y = {BN} (c, g, b, m, v)",
        {"w": (4, 3, 3, 3), **NORM}, ["Conv"],
    ),
    "before a Conv that pads nothing": (
        f"n = {BN} (x, g, b, m, v) y = Conv (n, w)",
        {"w": (5, 3, 3, 3), **dict.fromkeys(NORM, (3,))}, ["Conv"],
    ),
    "a grouped ConvTranspose": (
        f"c = ConvTranspose <group = 3, strides = [2, 2], pads = [1, 1, 1, 1], "
        f"output_padding = [1, 1]> (x, w) y = {BN} (c, g, b, m, v)",
        {"w": (3, 2, 3, 3), **dict.fromkeys(NORM, (6,))}, ["ConvTranspose"],
    ),
    "a ConvTranspose that is cut unevenly": (
        f"c = ConvTranspose <strides = [2, 2], pads = [0, 1, 1, 0]> (x, w, a) "
        f"y = {BN} (c, g, b, m, v)",
        {"w": (3, 4, 3, 3), "a": (4,), **NORM}, ["ConvTranspose"],
    ),
    "a depthwise Conv": (
        f"c = Conv <group = 3> (x, w) y = {BN} (c, g, b, m, v)",
        {"w": (3, 1, 3, 3), **dict.fromkeys(NORM, (3,))}, ["Conv"],
    ),
    "arithmetic per channel": (
        "c = Conv (x, w) d = Mul (s, c) e = Sub (t, d) f = Div (e, v1) h = Neg (f) "
        "y = Add (h, s)",
        {"w": (4, 3, 3, 3), "s": (4, 1, 1), "t": (1, 4, 1, 1), "v1": (4, 1, 1)}, ["Conv"],
    ),
    "behind a Concat": (
        f"c = Conv (x, w) d = Conv (x, u, a) e = Concat <axis = 1> (c, d) "
        f"y = {BN} (e, g, b, m, v)",
        {"w": (1, 3, 3, 3), "u": (3, 3, 3, 3), "a": (3,), **NORM}, ["Conv", "Conv", "Concat"],
    ),
    "behind copies and means": (
        f"c = Conv (x, w) d = Identity (c) e = Dropout (d) "
        f"f = AveragePool <kernel_shape = [2, 2]> (e) y = {BN} (f, g, b, m, v)",
        {"w": (4, 3, 3, 3), **NORM}, ["Conv", "Identity", "Dropout", "AveragePool"],
    ),
    "into two readers": (
        f"n = {BN} (x, g, b, m, v) c = Conv (n, w) d = Conv (n, u) y = Concat <axis = 1> (c, d)",
        {"w": (4, 3, 3, 3), "u": (2, 3, 3, 3), **dict.fromkeys(NORM, (3,))},
        ["Conv", "Conv", "Concat"],
    ),
    "a weight that two nodes share": (
        f"c = Conv (x, w) n = {BN} (c, g, b, m, v) d = Conv (x, w) y = Concat <axis = 1> (n, d)",
        {"w": (4, 3, 3, 3), **NORM}, ["Conv", "Conv", "Concat"],
    ),
    "parallel branches": (
        f"c = Conv <pads = [1, 1, 1, 1]> (x, w) n = {BN} (c, g, b, m, v) d = Conv (x, u) "
        f"e = Add (n, d) y = Relu (e)",
        {"w": (4, 3, 3, 3), "u": (4, 3, 1, 1), **NORM}, ["Conv", "Relu"],
    ),
    "a bias that is cast to the type of the input": (
        f"t = CastLike (a, x) c = Conv (x, w, t) y = {BN} (c, g, b, m, v)",
        {"w": (4, 3, 3, 3), "a": (4,), **NORM}, ["Conv"],
    ),
    "an output in the middle": (
        f"c = Conv (x, w) y = {BN} (c, g, b, m, v) z = Relu (y)",
        {"w": (4, 3, 3, 3), **NORM}, ["Conv", "Relu"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GOES)
def test_what_can_go_goes_and_the_file_is_right(case, tmp_path):
    text, shapes, left = GOES[case]
    out = "float[N, C, H, W] y, float[N, C, H, W] z" if "z =" in text else "float[N, C, H, W] y"
    model = network(f"{image(out=out)} {{ {text} }}", **shapes)
    found = folded(model, tmp_path)
    assert ops(found) == left
    assert found.report.verify.passed
    assert found.report.runtime.passed
    assert all(item.error is None or item.error < 1e-6 for item in found.report.items)
    casts = sum(node.op_type == "CastLike" for node in model.graph.node)
    assert found.report.ops_saved == len(model.graph.node) - len(left) - casts
    made = found.model.file.proto
    onnx.checker.check_model(made, full_check=True)
    assert [one.name for one in made.graph.output] == [one.name for one in model.graph.output]
    read = {name for node in made.graph.node for name in node.input}
    assert {one.name for one in made.graph.initializer} <= read


STAYS = {
    "before a Conv that pads": (
        f"n = {BN} (x, g, b, m, v) y = Conv <pads = [1, 1, 1, 1]> (n, w)",
        {"w": (5, 3, 3, 3), **dict.fromkeys(NORM, (3,))},
        "pads with zeros, which a shift would have to reach",
    ),
    "statistics of the sample": (
        f"c = Conv (x, w) i = InstanceNormalization (c, g, b) y = {BN} (i, g, b, m, v)",
        {"w": (4, 3, 3, 3), **NORM}, "'i' is made by InstanceNormalization",
    ),
    "a norm that has to have a scale and a shift": (
        "i = InstanceNormalization (x, g, b) y = Conv (i, w)",
        {"w": (4, 3, 3, 3), "g": (3,), "b": (3,)},
        "node 'i' (InstanceNormalization) has to have a scale and a shift",
    ),
    "a value that is read elsewhere": (
        f"c = Conv (x, w) y = {BN} (c, g, b, m, v) z = Relu (c)",
        {"w": (4, 3, 3, 3), **NORM}, "'c' is also read by 'z'",
    ),
    "a constant of the size of the input": (
        "c = Conv (x, w) s = Shape (x) f = Cast <to = 1> (s) h = ReduceProd (f) y = Div (c, h)",
        {"w": (4, 3, 3, 3)}, "a constant of node 'y' (Div) depends on the size of the input",
    ),
    "a weight of eight bits": (
        f"q = QuantizeLinear (w, vs) d = DequantizeLinear (q, vs) c = Conv (x, d) "
        f"y = {BN} (c, g, b, m, v)",
        {"w": (4, 3, 3, 3), "vs": (), **NORM}, "a weight of node 'c' (Conv) is quantised",
    ),
    "a value that is rounded": (
        f"c = Conv (x, w) q = QuantizeLinear (c, vs) d = DequantizeLinear (q, vs) "
        f"y = {BN} (d, g, b, m, v)",
        {"w": (4, 3, 3, 3), "vs": (), **NORM}, "made by DequantizeLinear, an affine op that stays",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STAYS)
def test_what_cannot_go_stays_with_a_reason_in_the_names_of_the_file(case, tmp_path):
    text, shapes, reason = STAYS[case]
    out = "float[N, C, H, W] y, float[N, C, H, W] z" if "z =" in text else "float[N, C, H, W] y"
    size = "float[2, 3, H, W] x" if "Shape" in text else "float[2, 3, 8, 8] x"
    model = network(f"{image(size, out)} {{ {text} }}", **shapes)
    if "H, W] x" in size:
        path = tmp_path / "open.onnx"
        onnx.save(model, path)
        found = fold(fieldwise.onnx.load(path), torch.zeros(2, 3, 8, 8))
    else:
        found = folded(model, tmp_path)
    assert found.report.folded == 0
    *_, because = found.report.reasons()
    assert reason in because
    assert ops(found) == [node.op_type for node in model.graph.node]


BRANCHES = """
    k = Conv (x, w)
    y = If (yes) <then_branch = a () => (float[N, C, H, W] p) { p = Relu (k) },
                  else_branch = o () => (float[N, C, H, W] q) { q = Tanh (k) }>
    z = BatchNormalization (k, g, b, m, v)
"""


def test_what_a_subgraph_reads_stays_as_it_is_though_it_may_never_run(tmp_path):
    out = "float[N, C, H, W] y, float[N, C, H, W] z"
    model = network(f"{image(out=out)} <bool yes = {{1}}> {{ {BRANCHES} }}", w=(4, 3, 3, 3), **NORM)
    found = folded(model, tmp_path)
    [because] = found.report.reasons()
    assert "'k' is also read" in because
    assert found.report.runtime.passed


# -------------------------------------------------------------------- matrices


def test_a_gemm_takes_what_follows_whatever_its_factors(tmp_path):
    model = network(
        f"net (float[2, 3] x) => (float[2, 4] y) {{ c = Gemm <alpha = 0.5, beta = 2.0> (x, w, a) "
        f"y = {BN} (c, g, b, m, v) }}", w=(3, 4), a=(1, 4), **NORM,
    )  # fmt: skip
    found = folded(model, tmp_path)
    assert ops(found) == ["Gemm"]
    assert found.report.verify.passed
    assert found.report.runtime.passed


def test_a_matmul_and_its_bias_take_what_follows(tmp_path):
    model = network(
        "net (float[2, 5, 3] x) => (float[2, 5, 4] y) { c = MatMul (x, w) d = Add (c, a) "
        "y = Mul (d, s) }", w=(3, 4), a=(4,), s=(4,),
    )  # fmt: skip
    found = folded(model, tmp_path)
    assert ops(found) == ["MatMul", "Add"]
    assert found.report.ops_saved == 1
    assert found.report.runtime.passed


def test_an_add_behind_a_matmul_is_its_bias_and_stays(tmp_path):
    model = network(
        "net (float[2, 5, 3] x) => (float[2, 5, 4] y) { c = MatMul (x, w) y = Add (c, a) }",
        w=(3, 4), a=(4,),
    )  # fmt: skip
    found = folded(model, tmp_path)
    assert found.report.folded == 0
    assert "'c' is a MatMul, which has no bias" in next(iter(found.report.reasons()))


def test_a_constant_that_becomes_a_bias_is_a_parameter_more(tmp_path):
    model = network(f"{image()} {{ c = Conv (x, w) y = Add (c, s) }}", w=(4, 3, 1, 1), s=(1,))
    found = folded(model, tmp_path)
    assert ops(found) == ["Conv"]
    assert "1 op fewer and 4 parameters more" in str(found.report)


def test_a_layer_norm_hands_its_scale_on(tmp_path):
    model = network(
        "net (float[2, 5, 3] x) => (float[2, 5, 4] y) { n = LayerNormalization (x, s, t) "
        "y = Gemm_like (n) }".replace("y = Gemm_like (n)", "y = MatMul (n, w)"),
        s=(3,), t=(3,), w=(3, 4),
    )  # fmt: skip
    found = folded(model, tmp_path)
    assert ops(found) == ["LayerNormalization", "MatMul", "Add"]
    assert found.report.runtime.passed


# -------------------------------------------------------------------- the file


CONV = f"c = Conv (x, w) y = {BN} (c, g, b, m, v)"


def a_file() -> ModelProto:
    model = network(f"{image()} {{ {CONV} }}", w=(4, 3, 3, 3), **NORM)
    model.producer_name, model.doc_string = "someone", "about it"
    model.metadata_props.add(key="stride", value="32")
    model.graph.node[0].doc_string = "the first"
    model.graph.initializer[0].doc_string = "weights"
    return model


def test_what_is_said_about_a_file_is_kept(tmp_path):
    model = a_file()
    found = folded(model, tmp_path)
    [written] = found.save(tmp_path / "out" / "small.onnx")
    made = onnx.load(written)
    assert (made.producer_name, made.doc_string, made.ir_version) == ("someone", "about it", 8)
    assert made.metadata_props == model.metadata_props
    assert made.opset_import == model.opset_import
    assert made.graph.node[0].doc_string == "the first"
    assert made.graph.initializer[0].doc_string == "weights"
    assert {one.name for one in made.graph.initializer} == {"w", "c.bias"}


def test_tensors_that_lay_beside_the_file_lie_beside_the_folded_one(tmp_path):
    wide = dict.fromkeys(NORM, (32,))
    model = network(f"{image()} {{ {CONV} }}", w=(32, 3, 3, 3), **wide)
    given = {"x": np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    [wanted] = in_runtime(model, given)
    onnx.save(
        model, tmp_path / "net.onnx", save_as_external_data=True, location="net.bin",
        size_threshold=0,
    )  # fmt: skip
    found = fold(fieldwise.onnx.load(tmp_path / "net.onnx"), (2, 3, 8, 8))
    assert found.report.runtime.passed
    paths = found.save(tmp_path / "elsewhere" / "small.onnx")
    assert [path.name for path in paths] == ["small.onnx", "small.onnx.data"]
    assert len({path.stat().st_mode for path in paths.paths}) == 1  # whoever reads one reads both
    session = onnxruntime.InferenceSession(str(paths.paths[0]), providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, given)[0] - wanted).max() < 1e-4


def test_a_module_in_another_precision_than_its_file_is_refused(tmp_path):
    onnx.save(a_file(), tmp_path / "net.onnx")
    module = fieldwise.onnx.load(tmp_path / "net.onnx").double()
    with pytest.raises(UsageError, match="as float32 and the module as float64; fold the module"):
        fold(module, torch.zeros(2, 3, 8, 8, dtype=torch.float64))


def test_the_file_that_was_read_is_not_written_over(tmp_path):
    found = folded(a_file(), tmp_path)
    with pytest.raises(UsageError, match="which would be lost; name another"):
        found.save(tmp_path / "net.onnx", overwrite=True)


def test_old_files_list_their_initialisers_as_inputs(tmp_path):
    model = network(f"{image()} {{ {CONV} }}", ir=3, opset=9, w=(4, 3, 3, 3), **NORM)
    for one in model.graph.initializer:
        kind = onnx.helper.make_tensor_type_proto(one.data_type, list(one.dims))
        model.graph.input.add(name=one.name).type.CopyFrom(kind)
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    made = fold(fieldwise.onnx.load(path), (2, 3, 8, 8)).model.file.proto
    onnx.checker.check_model(made)
    assert [one.name for one in made.graph.input] == ["x", "w", "c.bias"]


def test_an_input_that_was_given_a_value_is_a_constant_of_the_folded_file(tmp_path):
    model = network(f"{image('float[2, 3, 8, 8] x, float s')} {{ c = Conv (x, w) y = Mul (c, s) }}",
                    w=(4, 3, 3, 3))  # fmt: skip
    onnx.save(model, tmp_path / "net.onnx")
    net = fieldwise.onnx.load(tmp_path / "net.onnx", {"s": 3.0})
    found = fold(net, (2, 3, 8, 8))
    assert ops(found) == ["Conv"]
    assert found.report.runtime.passed
    assert [one.name for one in found.model.file.proto.graph.input] == ["x"]


def test_what_onnx_runtime_itself_is_off_by_is_allowed(tmp_path):
    """Its sigmoid is right to 1e-7, which is much of a value of 1e-5."""
    draw = np.random.default_rng(0)
    model = network(f"{image()} {{ c = Conv (x, w, a) n = {BN} (c, g, b, m, v) y = Sigmoid (n) }}")
    low = {"w": 0.1 * draw.standard_normal((4, 3, 3, 3)), "a": np.zeros(4), "g": np.ones(4),
           "b": np.full(4, -14.0), "m": 0.1 * draw.standard_normal(4), "v": np.ones(4)}  # fmt: skip
    for name, array in low.items():
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    found = folded(model, tmp_path)
    assert ops(found) == ["Conv", "Sigmoid"]
    assert found.report.verify.passed
    assert found.report.runtime.passed


def test_without_onnx_runtime_the_report_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    found = folded(a_file(), tmp_path)
    assert found.report.runtime.passed is None
    assert "not compared with ONNX Runtime: it is not installed" in str(found.report)


# -------------------------------------------------------------------- random networks


def both(found: Folded, model: ModelProto, given: np.ndarray) -> tuple[list, list]:
    """The outputs before and after: by the evaluator of onnx, or, where that fails, by torch."""
    try:
        after = ReferenceEvaluator(found.model.file.proto).run(None, {"x": given})
        return ReferenceEvaluator(model).run(None, {"x": given}), after
    except ValueError:  # it cannot do a grouped ConvTranspose
        before = fieldwise.onnx.load(found.model.file.path)
        x = torch.from_numpy(given)
        return tuple([t.numpy() for t in tensors_in(net(x))] for net in (before, found.model))


@pytest.mark.parametrize("seed", range(40))
def test_a_random_network_computes_the_same(seed, tmp_path):
    model = drawn_network(seed)
    found = folded(model, tmp_path)
    made = found.model.file.proto
    onnx.checker.check_model(made, full_check=True)
    sizes = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    before, after = both(found, model, np.random.default_rng(seed).standard_normal(sizes))
    for one, two in zip(before, after, strict=True):
        assert np.abs(one - two).max() <= 1e-10 * np.abs(one).max()
    assert found.report.ops_saved == len(model.graph.node) - len(made.graph.node)
    assert all(item.error is None or item.error < 1e-10 for item in found.report.items)


@pytest.mark.parametrize("seed", range(100, 110))
def test_a_random_network_computes_the_same_in_onnx_runtime(seed, tmp_path):
    model = drawn_network(seed, np.float32)
    found = folded(model, tmp_path)
    assert found.report.runtime.passed
    assert all(one.dtype == np.float32 for one in map(numpy_helper.to_array, reals(found)))


def reals(found: Folded) -> list[onnx.TensorProto]:
    return [one for one in found.model.file.proto.graph.initializer if one.data_type != 7]
