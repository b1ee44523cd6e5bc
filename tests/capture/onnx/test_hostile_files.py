"""Files that nobody wrote on purpose: cut, flipped, and changed where they are read."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from onnx import numpy_helper

import fieldwise
import fieldwise.onnx
from fieldwise.errors import FieldwiseError, UsageError

NETS = [
    """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 3, 16, 16] x) => (float[1, 4, 32, 32] y)
    <float[4, 3, 3, 3] w, float[4] b, int64[4] pads = {0, 0, 1, 1}, float[4] s = {1, 1, 2, 2}>
    {
        c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
        n = Shape (c)
        k = Gather <axis = 0> (n, one)
        r = Resize <mode = "nearest"> (c, , s)
        m = MaxPool <kernel_shape = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1]> (r)
        y = Clip (m)
    }""",
    """<ir_version: 8, opset_import: ["" : 17]>
    net (float[4, 2, 8] x) => (float[4, 1, 2, 6] y, float[2, 8] t)
    <float[1, 24, 8] w, float[1, 24, 6] r, int64[1] n = {3}, bool go = {1}, int64 two = {2}>
    {
        y, h, c = LSTM <hidden_size = 6> (x, w, r)
        a = Gather <axis = 0> (x, two)
        z = If (go) <then_branch = yes () => (float[2, 8] p) { p = Exp (a) },
                     else_branch = no () => (float[2, 8] q) { q = Neg (a) }>
        t = Softmax <axis = -1> (z)
    }""",
]


def model(number: int) -> onnx.ModelProto:
    """A network of the list, its weights filled in."""
    text = NETS[number]
    found = onnx.parser.parse_model(re.sub(r"float\[\d+(, \d+)+\] [wr], |float\[4\] b, ", "", text))
    for name, shape in re.findall(r"float\[(\d[\d, ]*)\] ([wrb]),", text):
        sizes = [int(size) for size in name.split(",")]
        found.graph.initializer.append(numpy_helper.from_array(torch.ones(sizes).numpy(), shape))
    found.graph.initializer.append(numpy_helper.from_array(torch.tensor(1).numpy(), "one"))
    return found


def cut_and_flipped(data: bytes, dice: random.Random) -> bytes:
    """Some bytes of a file lost, changed, or put in."""
    found = bytearray(data)
    at = dice.randrange(len(found))
    match dice.randrange(4):
        case 0:
            del found[at:]
        case 1:
            del found[at : at + dice.randrange(1, 40)]
        case 2:
            found[at:at] = dice.randbytes(dice.randrange(1, 20))
        case _:
            for _ in range(dice.randrange(1, 8)):
                found[dice.randrange(len(found))] = dice.randrange(256)
    return bytes(found)


WILD = [-1, 0, 1, 7, 10**6, 2**31, 2**40, 2**62, -(2**40)]


def changed(data: bytes, dice: random.Random) -> bytes:
    """A file that parses and says something else: other names, sizes, types, attributes, data."""
    found = onnx.load_from_string(data)
    graph = found.graph
    for _ in range(dice.randrange(1, 4)):
        node, tensor = dice.choice(graph.node), dice.choice(graph.initializer)
        values = [name for one in graph.node for name in one.output]
        match dice.randrange(10):
            case 0 if len(graph.initializer) > 1:
                graph.initializer.remove(tensor)
            case 1 if tensor.dims:
                tensor.dims[dice.randrange(len(tensor.dims))] = dice.choice(WILD)
            case 2 if node.input:
                node.input[dice.randrange(len(node.input))] = dice.choice(values)
            case 3:
                graph.node.append(node)
            case 4 if node.attribute:
                attribute = dice.choice(node.attribute)
                attribute.i = dice.choice(WILD)
                attribute.ints[:] = [dice.choice(WILD) for _ in attribute.ints]
            case 5:
                node.op_type = dice.choice(
                    ["Tile", "Loop", "Reshape", "Pad", "Banana", "TopK", "Expand"]
                )
            case 6:
                node.ClearField("attribute")
            case 7:
                sizes = graph.input[0].type.tensor_type.shape.dim
                sizes[dice.randrange(len(sizes))].dim_value = dice.choice(WILD)
            case 8:
                tensor.data_type = dice.choice([0, 1, 7, 8, 11, 99])
            case _ if tensor.data_type == onnx.TensorProto.INT64:
                wild = [dice.choice(WILD) for _ in numpy_helper.to_array(tensor).reshape(-1)]
                array = torch.tensor(wild).reshape(tuple(tensor.dims)).numpy()
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return found.SerializeToString()


@pytest.mark.parametrize("change", [cut_and_flipped, changed])
@pytest.mark.parametrize("number", range(len(NETS)))
def test_every_file_gives_an_answer_or_one_sentence(tmp_path, change, number):
    data = model(number).SerializeToString()
    path = tmp_path / "net.onnx"
    answers = refusals = 0
    for seed in range(60):
        path.write_bytes(change(data, random.Random(seed)))
        try:
            net = fieldwise.onnx.load(path)
            shapes = [
                [d if isinstance(d, int) and d < 99 else 2 for d in one.dims or ()]
                for one in net.graph.inputs
            ]
            fieldwise.receptive_fields(net, tuple(map(torch.zeros, shapes))).rows  # noqa: B018
            answers += 1
        except FieldwiseError as error:
            text = str(error)
            assert "fault of fieldwise" not in text
            assert "\n" not in text
            assert len(text) < 700
            refusals += 1
    assert answers
    assert refusals


def with_constant(change) -> onnx.ModelProto:
    found = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[4] x) => (float[4] y) '
        "{ k = Constant <value_float = 2.0> () y = Mul (x, k) }"
    )
    change(found.graph)
    return found


def sparse(values, places, sizes):
    """Lets a node read a tensor that is written sparsely."""

    def change(graph):
        one = graph.sparse_initializer.add()
        one.values.CopyFrom(numpy_helper.from_array(np.asarray(values, np.float32), "s"))
        one.indices.CopyFrom(numpy_helper.from_array(np.asarray(places), "places"))
        one.dims.extend(sizes)
        graph.node[1].input[1] = "s"

    return change


def of_type(kind):
    """Lets the value of a Constant be of another type than its name says."""
    return lambda graph: setattr(graph.node[0].attribute[0], "type", kind)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (of_type(onnx.AttributeProto.UNDEFINED), "has no number in the Constant 'k'"),
        (of_type(onnx.AttributeProto.STRING), "has no number in the Constant 'k'"),
        (sparse([1, 2], [-1, 2], [4]), "'s' has elements outside its shape"),
        (sparse([1, 2], [0, 4], [4]), "'s' has elements outside its shape"),
        (sparse([1, 2], [[0, 5], [1, 0]], [2, 2]), "'s' has elements outside its shape"),
        (sparse([1, 2], [[0, 1, 1], [1, 0, 0]], [2, 2]), "does not say where its elements lie"),
        (sparse([1, 2], [0.0, 2.0], [4]), "does not say where its elements lie"),
        (sparse([1, 2], [[[0]], [[1]]], [4]), "does not say where its elements lie"),
        (sparse([1, 2], [0, 2], [-2, -2]), "'s' is too large"),
    ],
)
def test_a_constant_that_cannot_be_is_refused(tmp_path, change, why):
    onnx.save(with_constant(change), tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=why):
        fieldwise.onnx.load(tmp_path / "net.onnx")


@pytest.mark.parametrize("places", [[0, 2], [[0], [2]]])
def test_a_constant_that_is_written_sparsely_has_zeros_elsewhere(tmp_path, places):
    onnx.save(with_constant(sparse([3, 5], places, [4])), tmp_path / "net.onnx")
    net = fieldwise.onnx.load(tmp_path / "net.onnx")
    assert net(torch.ones(4)).tolist() == [3, 0, 5, 0]


def test_a_file_of_very_many_nodes_is_answered(tmp_path):
    found = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[1, 1, 4] x) => (float[1, 1, 4] y) '
        "{ y = Identity (x) }"
    )
    count = 4000
    del found.graph.node[:]
    names = ["x", *(f"v{number}" for number in range(count - 1)), "y"]
    for before, after in pairwise(names):
        found.graph.node.append(onnx.helper.make_node("Relu", [before], [after]))
    onnx.save(found, tmp_path / "net.onnx")
    report = fieldwise.receptive_fields(fieldwise.onnx.load(tmp_path / "net.onnx"), (1, 1, 4))
    assert report["y"].row.extent == (1,)


def test_a_file_of_too_many_nodes_is_refused(tmp_path):
    found = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[4] x) => (float[4] y) { y = Exp (x) }'
    )
    node = found.graph.node[0]
    found.graph.node.extend([node] * 100_000)
    (tmp_path / "net.onnx").write_bytes(found.SerializeToString())
    with pytest.raises(UsageError, match="has more than 100,000 nodes"):
        fieldwise.onnx.load(tmp_path / "net.onnx")


def test_a_loop_that_nobody_would_wait_for_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fieldwise.capture.onnx.run._MOST_NODES", 1000)
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[4] x) => (float[4] y) <int64 n = {600}, bool go = {1}>
    { y = Loop (n, go, x) <body = step (int64 i, bool c, float[4] a) => (bool d, float[4] b)
        { d = Identity (c) b = Exp (a) }> }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="runs more than 1,000 nodes, loops unrolled"):
        fieldwise.receptive_fields(fieldwise.onnx.load(tmp_path / "net.onnx"), (4,))
