"""What commands say of ONNX files: operators, nodes and values of the file, and none of torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import pytest
from onnx import GraphProto
from typer.testing import CliRunner

from fieldwise.capture.torch import registry
from fieldwise.cli.app import app
from tests.cli.onnx_networks import NETWORKS, Network

OPS = {part.split("::")[-1].strip("_") for n, (c, _) in registry._RULES.items() for part in (n, c)}
OPS = {name for name in OPS if not name.isalpha()}
OPS |= set(
    "bmm cat celu clamp conv einsum elu expand gelu linear matmul mish mm permute prelu".split()
)
OPS |= set("relu selu sigmoid silu softmax softplus squeeze tanh unsqueeze".split())
WORD = "|".join(sorted(map(re.escape, OPS), key=len, reverse=True))
TORCH = re.compile(
    rf"(?<![\w/.'-])(?:{WORD})(?![\w./-])|\baten\b|\bnn\.|torch\.|\bmodules?\b|\bforward\(|\(forward\)|eval\(\)|ceil_mode=|align_corners="
)


def spoken(net: Network) -> tuple[set[str], set[str], dict[str, str]]:
    """The values of a file, its initialisers among them, its nodes, and their operators."""
    values, nodes = set[str](), dict[str, str]()
    for path, graph in every_graph(net.model().graph):
        values |= {one.name for one in (*graph.input, *graph.initializer)}
        for node in graph.node:
            values |= set(node.output)
            kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            nodes[f"{path}{node.name or node.output[0]}"] = kind
    return values, set(nodes), nodes


def every_graph(graph: GraphProto, path: str = "") -> Iterator[tuple[str, GraphProto]]:
    """A graph and those within it, each with the path at which its nodes are."""
    yield path, graph
    for node in graph.node:
        for one in node.attribute:
            if one.HasField("g"):
                yield from every_graph(one.g, f"{path}{node.name or node.output[0]}.{one.name}.")


def shape_of(net: Network) -> tuple[int, ...]:
    """Of the first input."""
    dims = net.model().graph.input[0].type.tensor_type.shape.dim
    return tuple(one.dim_value for one in dims)


def run(*args: str) -> str:
    """What a command writes; it ends on purpose, not by an error that nobody expected."""
    found = CliRunner().invoke(app, args)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert "fieldwise did not expect" not in found.output
    return found.output


PLAN = "tile F in.npy o.npy --plan --layout L --input S".split()
COMMANDS: dict[str, Sequence[Sequence[str]]] = {
    "reports": [
        ["field", "F", "--format", "json", "--ignore-global"],
        ["field", "F", "--layer", "nothing_like_it"],
        ["fold", "F", "--format", "json", "--check", "0"],
        ["shift", "F", "--format", "json"],
        ["stream", "F", "--format", "json"],
    ],
    "plans": [
        [*PLAN],
        [*PLAN, "--global-ops", "auto"],
        [*PLAN, "--engine", "halo", "--tile", "8"],
        ["diagram", "F", "-o", "d.svg"],
    ],
    "tables": [
        ["field", "F"],
        ["fold", "F"],
        ["shift", "F", "--measure"],
        ["stream", "F"],
        ["stream", "F", "--emit", "step.onnx"],
    ],
    "repairs": [
        ["shift", "F", "--repair", "circular", "--format", "json"],
        ["shift", "F", "--repair", "antialias"],
        ["shift", "F", "--repair", "polyphase"],
        ["shift", "F", "--repair", "circular", "-o", "periodic.onnx"],
    ],
}


QUICK = (
    "clip, gather, pool", "gelu and swish", "a norm behind a clip", "a norm in a fork",
    "SAME padding", "resizing to corners", "a grid that is computed", "what the data decide",
    "quantised on the fly", "one direction", "a branch",
)  # fmt: skip


@pytest.mark.parametrize(
    ("commands", "name"),
    [
        pytest.param(
            commands,
            name,
            marks=() if name in QUICK and commands in ("reports", "plans") else pytest.mark.slow,
        )
        for commands in COMMANDS
        for name in NETWORKS
    ],
)
def test_commands_speak_of_a_file_in_its_own_names(tmp_path, monkeypatch, commands, name):
    monkeypatch.chdir(tmp_path)
    net = NETWORKS[name]
    onnx.save(net.model(), "net.onnx")
    np.save("in.npy", np.zeros(shape_of(net), np.float32))
    stands = {
        "F": "net.onnx",
        "L": "NCHW" if len(shape_of(net)) == 4 else "NCX",
        "S": "x".join(map(str, shape_of(net))),
    }
    for command in COMMANDS[commands]:
        output = run(*(stands.get(part, part) for part in command))
        assert output
        check(net, output)


def check(net: Network, output: str) -> None:
    """Raise AssertionError where something is named that the file does not have."""
    values, nodes, operators = spoken(net)
    try:
        data = json.loads(output)
    except ValueError:
        texts = output.splitlines()
    else:
        texts = []
        for key, found in entries(data):
            if key == "op":
                assert found in {*operators.values(), "input", ""}, found
            elif key in ("module", "node", "full_by", "into"):
                assert plain(found) in {*values, *nodes, ""}, found
            elif key in ("why", "remedy", "because", "note", "what"):
                texts.append(found)
    for text in texts:
        assert not TORCH.search(text), text
        for node, operator in re.findall(r"'([^']+)' \(([A-Z][\w.]*)\)", text):
            assert operators.get(plain(node)) == operator, text


def plain(name: str) -> str:
    """A name without the number of a run in a loop."""
    return re.sub(r"#\d+$", "", name)


def entries(data: object, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts in data, each with the key under which it stands."""
    if isinstance(data, str):
        yield key, data
    elif isinstance(data, list):
        for one in data:
            yield from entries(one, key)
    elif isinstance(data, dict):
        for name, one in data.items():
            yield from entries(one, name)


def test_the_check_would_notice_an_op_of_torch():
    for text in ("'c' is made by clamp", "'x' (max_pool2d): y", "name a module", "nn.BatchNorm2d"):
        assert TORCH.search(text)


def test_a_file_that_fits_one_size_is_streamed_at_that_size(tmp_path):
    """A positional table does not fit another one, at which a stream would be recorded too."""
    path = tmp_path / "net.onnx"
    onnx.save(NETWORKS["a positional table"].model(), path)
    output = run("stream", str(path))
    assert "once the total length is announced" in output
    assert "'/net/place' (Add): a constant that differs from row to row" in output


def test_a_node_that_fails_says_sizes_without_torch(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(NETWORKS["a positional table"].model(), path)
    output = run("field", str(path), "--input", "1x4x17x17")
    assert "Node '/net/place' (Add) fails" in output
    assert "[1, 1, 16, 16]" in output
    assert "torch" not in output
