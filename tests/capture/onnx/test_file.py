"""ONNX files: what is read, what is refused, and what values are called."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest
import torch
from typer.testing import CliRunner

import fieldwise
import fieldwise.onnx
from fieldwise.cli.app import app
from fieldwise.errors import UsageError
from fieldwise.graph.names import resolve

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'


def written(folder: Path, text: str) -> Path:
    """A file with this network."""
    path = folder / "net.onnx"
    onnx.save(parsed(text), path)
    return path


def parsed(text: str) -> onnx.ModelProto:
    """A network, with the names that the parser of onnx does not read in place of plain ones."""
    model = onnx.parser.parse_model(HEADER + text)
    graph = model.graph
    for node in graph.node:
        node.name = NAMES.get(node.name, node.name)
        for names in (node.input, node.output):
            names[:] = [NAMES.get(name, name) for name in names]
    for one in (*graph.initializer, *graph.output, *graph.input):
        one.name = NAMES.get(one.name, one.name)
    return model


NAMES = {"w0k": "w[0].k", "abc0": "a/b.c:0", "firstnode": "first.node"}


def loaded(folder: Path, text: str, **values: object) -> torch.nn.Module:
    return fieldwise.onnx.load(written(folder, text), values)


TWO = """
net (float[1, 1, 32] x) => (float[1, 1, 30] abc0) <float[1, 1, 3] w0k = {1, 2, 3}>
{
    [firstnode] conv = Conv (x, w0k)
    [second] abc0 = Relu (conv)
}
"""


def test_values_bear_the_names_of_the_file(tmp_path):
    report = fieldwise.receptive_fields(loaded(tmp_path, TWO), (1, 1, 32))
    assert [row.name for row in report.rows] == ["x", "conv", "a/b.c:0"]
    assert report.rows[-1].extent == (3,)
    assert resolve(report.graph, "first.node") == "conv"


def test_parameters_bear_the_names_of_initialisers(tmp_path):
    net = loaded(tmp_path, TWO)
    assert [name for name, _ in net.named_parameters()] == ["w[0].k"]
    assert net.get_submodule("first.node").node.op == "Conv"


def test_a_run_is_that_of_the_file(tmp_path):
    x = torch.randn(1, 1, 32)
    expected = torch.relu(torch.nn.functional.conv1d(x, torch.tensor([[[1.0, 2, 3]]])))
    assert torch.equal(loaded(tmp_path, TWO)(x), expected)
    assert torch.equal(loaded(tmp_path, TWO)(x=x), expected)


def test_in_double_precision_everything_that_was_single_is_double(tmp_path):
    net = loaded(
        tmp_path,
        """net (float[1, 2, 8] x) => (float[1, 2, 8] y) <float[1] half = {0.5}>
        { n = Shape (x) wide = Cast <to = 1> (n) one = Mul (x, half)
          two = Cast <to = 1> (one) mean = ReduceMean <keepdims = 0> (wide)
          y = Mul (two, mean) }""",
    ).double()
    x = torch.randn(1, 2, 8, dtype=torch.float64)
    assert torch.equal(net(x), x * 0.5 * (11 / 3))


DATA = """
net (float[1, 4, 4] x, int64[1] k) => (float[n] y, int64[3, m] z)
{
    near = Relu (x)
    z = NonZero (near)
    flat = Reshape (near, k)
    y = Exp (flat)
}
"""


def test_what_depends_on_the_data_is_listed_and_the_rest_is_answered(tmp_path):
    from fieldwise.capture.graphs import graph_of

    graph = graph_of(loaded(tmp_path, DATA, k=[-1]), (1, 4, 4))
    assert graph.outputs == ("y", "near") or set(graph.outputs) == {"y", "near"}
    assert graph.lost == {"z": "its size depends on the data (node 'z' (NonZero))"}
    assert fieldwise.receptive_fields(graph)["near"].at(2)


def test_an_input_that_decides_a_shape_has_to_be_set(tmp_path):
    from fieldwise.capture.graphs import graph_of

    net = loaded(tmp_path, DATA)
    graph = graph_of(net, (torch.zeros(1, 4, 4), torch.zeros(1, dtype=torch.int64)))
    assert set(graph.lost) == {"z", "flat", "y"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net (float[4] x) => (float[4] y) { y = Banana (x) }", "Banana at version 17 is not"),
        ("net (float[4] x) => (float[4] y) { y = Relu (z) }", "reads 'z', which nothing makes"),
        ("net (float[4] x) => (float[4] z) { y = Relu (x) }", "nothing makes the output 'z'"),
        ("net (float[4] x) => (float[4] y) { y = Relu (x) y = Exp (x) }", "makes 'y', which is"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        loaded(tmp_path, text)
    assert str(caught.value).count(".") <= 3


def test_a_file_that_is_no_onnx_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(UsageError, match="is no ONNX file, or not all of one"):
        fieldwise.onnx.load(path)


def test_data_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    inside = tmp_path / "in"
    inside.mkdir()
    model = parsed(TWO)
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (inside / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"keeps the data of 'w\[0\].k' outside its folder"):
        fieldwise.onnx.load(inside / "net.onnx")


def test_data_beside_the_file_is_mapped(tmp_path):
    model = parsed(TWO)
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    x = torch.randn(1, 1, 32)
    assert torch.equal(fieldwise.onnx.load(path)(x), loaded(tmp_path, TWO)(x))


LAST = """
net (float[1, 9, 12, 3] x) => (float[1, 4, 5, 2] y) <float[2, 3, 3, 3] w, float[1] nought = {0}>
{
    z = Add (x, nought)
    t = Transpose <perm = [0, 3, 1, 2]> (z)
    c = Conv <strides = [2, 2]> (t, w)
    y = Transpose <perm = [0, 2, 3, 1]> (c)
}
"""


def with_channels_last(folder: Path) -> torch.nn.Module:
    model = onnx.parser.parse_model(HEADER + LAST.replace("float[2, 3, 3, 3] w, ", ""))
    weight = onnx.numpy_helper.from_array(torch.randn(2, 3, 3, 3).numpy(), "w")
    model.graph.initializer.append(weight)
    onnx.save(model, folder / "net.onnx")
    return fieldwise.onnx.load(folder / "net.onnx")


def test_with_channels_last_the_axes_are_those_along_which_the_first_window_slides(tmp_path):
    net = with_channels_last(tmp_path)
    report = fieldwise.receptive_fields(net, (1, 9, 12, 3))
    assert report.axes == (1, 2)
    assert report["y"].row.extent == (3, 3)
    assert fieldwise.certify(net, (1, 9, 12, 3)).axes == (1, 2)
    assert fieldwise.receptive_fields(net, (1, 9, 12, 3), axes=(2, 3)).axes == (2, 3)


def test_what_does_not_fit_says_what_the_file_takes(tmp_path):
    with pytest.raises(UsageError, match="its input 'x' is 1x9x12x3, and it was given"):
        fieldwise.receptive_fields(with_channels_last(tmp_path), (1, 3, 9, 12))


TWICE = """
net (float[1, 1, 8] x) => (float[1, 1, 8] y, float[1, 1, 8] z)
{
    a = Relu (x)
    y = Identity (a)
    [loop] z = Softmax (a)
}
"""


@pytest.mark.parametrize("first", ["N", "batch_size"])
def test_an_open_batch_of_images_is_one(tmp_path, first):
    kind = f"float[{first}, 1, 8, 8]"
    path = str(written(tmp_path, f"net ({kind} x) => ({kind} y) {{ y = Relu(x) }}"))
    assert fieldwise.receptive_fields(path).input.shape == (1, 1, 8, 8)
    assert fieldwise.receptive_fields(path, (2, 1, 8, 8)).input.shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("time, 4, 8", "its size 'time' is open; give it, for example --input x=1x4x8"),
        (
            "N, 1, height, 8",
            "its sizes 'N', 'height' are open; give them, for example --input x=1x1",
        ),
        (
            "batch, length",
            "its sizes 'batch', 'length' are open; give them, for example --input x=1x224",
        ),
        ("N, 3, ?, ?", "3 of its sizes are open; give them, for example --input x=1x3x224x224"),
        ("1, 3, 8, ?", "a size is open; give it, for example --input x=1x3x8x224"),
    ],
)
def test_any_other_open_size_has_to_be_given(tmp_path, sizes, message):
    kind = f"float[{sizes}]"
    path = str(written(tmp_path, f"net ({kind} x) => ({kind} y) {{ y = Relu(x) }}"))
    with pytest.raises(UsageError, match="is not known; pass an example, or its shape"):
        fieldwise.receptive_fields(path)
    told = CliRunner().invoke(app, ["field", path])
    assert message in " ".join(told.output.split())


def test_a_value_that_is_another_under_another_name_has_a_row_of_its_own(tmp_path):
    report = fieldwise.receptive_fields(loaded(tmp_path, TWICE), (1, 1, 8))
    assert [row.name for row in report.rows] == ["x", "a", "y", "z"]
    assert report["loop"].row.name == "loop"
    assert report["loop"].row.names == ("loop", "z")


def test_steps_within_a_node_have_no_row(tmp_path):
    old = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 11]> '
        "net (float[2, 3, 8] x) => (float[2, 3, 8] y) { y = Softmax <axis = 2> (x) }"
    )
    onnx.save(old, tmp_path / "net.onnx")
    report = fieldwise.receptive_fields(fieldwise.onnx.load(tmp_path / "net.onnx"), (2, 3, 8))
    assert [row.name for row in report.rows] == ["x", "y"]
    assert len(report.graph.nodes) == 3


@pytest.mark.parametrize(
    "body",
    [
        "big = ConstantOfShape (n) y = Add (x, big)",
        "one = ConstantOfShape (o) big = Expand (one, n) two = Exp (big) y = Add (x, two)",
        "one = ConstantOfShape (o) big = Tile (one, n) y = Add (x, big)",
    ],
)
def test_a_few_bytes_that_ask_for_terabytes_are_refused_before_they_are_made(tmp_path, body):
    text = "net (float[1] x) => (float[m] y) <int64[1] n = {4000000000}, int64[1] o = {1}> "
    net = loaded(tmp_path, text + "{" + body + "}")
    with pytest.raises(UsageError, match=r"makes constants of more than .* raise --max-constant"):
        fieldwise.receptive_fields(net, (1,))


def test_a_gather_that_makes_windows_is_an_unfold(tmp_path):
    """What torch exports of F.unfold: tables of two dimensions, then a reshape."""
    net = loaded(
        tmp_path,
        """net (float[1, 1, 20] x) => (float[1, 1, 8] y)
        <int64[3, 8] t = {1, 3, 5, 7, 9, 11, 13, 15, 3, 5, 7, 9, 11, 13, 15, 17,
                          5, 7, 9, 11, 13, 15, 17, 19}>
        { frames = Gather <axis = 2> (x, t) y = ReduceMax <axes = [2], keepdims = 0> (frames) }""",
    )
    x = torch.randn(1, 1, 20)
    assert torch.equal(net(x), x[..., 1:].unfold(2, 5, 2)[..., ::2].amax(-1))
    row = fieldwise.receptive_fields(net, x)["y"].row
    assert (row.extent, row.count, row.stride, row.start) == ((5,), (3,), (2,), (1,))


def test_a_name_is_taken_as_it_is_before_it_is_a_pattern(tmp_path):
    model = parsed(
        "net (float[1, 1, 8] x) => (float[1, 1, 8] y) { a1 = Relu (x) b1 = Exp (a1) y = Abs (b1) }"
    )
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["a[1]" if name == "b1" else name for name in names]
    onnx.save(model, tmp_path / "net.onnx")
    report = fieldwise.receptive_fields(fieldwise.onnx.load(tmp_path / "net.onnx"), (1, 1, 8))
    assert [row.name for row in report.select("a[1]")] == ["a[1]"]
    assert [row.name for row in report.select("a*")] == ["a1", "a[1]"]


@pytest.mark.parametrize("verb", ["field", "shift", "stream"])
def test_names_that_no_terminal_holds_are_shortened_in_every_table(tmp_path, verb):
    long = "model/conv;" * 40
    model = parsed(TWO)
    for node in model.graph.node:
        node.name = f"{node.name}{long}"
        node.output[:] = [f"{name}{long}" for name in node.output]
        node.input[:] = [f"{name}{long}" if name == "conv" else name for name in node.input]
    model.graph.output[0].name = model.graph.node[1].output[0]
    onnx.save(model, tmp_path / "net.onnx")
    shown = CliRunner().invoke(app, [verb, str(tmp_path / "net.onnx")])
    assert "…" in shown.output
    assert long not in shown.output
