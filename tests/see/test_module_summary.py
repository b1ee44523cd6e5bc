"""Summaries: parameters and operations as counted otherwise, the tree, and 80 columns."""

from __future__ import annotations

import re
from io import StringIO

import onnx.parser
import pytest
import torch
from rich.cells import cell_len
from rich.console import Console
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import fieldwise
from fieldwise.capture import load_model
from fieldwise.capture.layers import layers_graph
from fieldwise.cli import app
from fieldwise.views import summary as view


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "googlenet", "vit_b_32"])
def test_parameters_and_multiplications_are_those_that_torch_counts(name):
    """Torch's counter counts two operations per multiplication; padding counts in both."""
    size = 224 if name.startswith("vit") else 64
    shape = (1, 3, size, size)
    model = load_model(f"torchvision:{name}", "x".join(map(str, shape))).module
    found = fieldwise.summary(model, shape)
    assert found.parameters == sum(one.numel() for one in model.parameters())
    # The counter knows matrix products, and none of the kernels that attention is fused into.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.randn(shape))
    assert 2 * found.macs == counter.get_total_flops()


def test_a_recurrent_layer_uses_each_weight_once_per_position():
    """Both of its matrices, and no bias."""
    found = fieldwise.summary(nn.LSTM(4, 6, batch_first=True), (1, 12, 4), axes=1)
    assert found.macs == 12 * 4 * 6 * (4 + 6)


def test_every_module_stands_below_the_one_that_it_lies_in():
    """Down to the depth that is asked for, with what is within it."""
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 4, 1), nn.Identity()
    )
    found = fieldwise.summary(net, (1, 3, 9, 9))
    assert [(row.name, row.kind, row.depth) for row in found] == [
        ("", "Sequential", 0), ("0", "Sequential", 1), ("0.0", "Conv2d", 2), ("0.1", "ReLU", 2),
        ("1", "Conv2d", 1), ("2", "Identity", 1),
    ]  # fmt: skip
    assert found.rows[1].macs == found.rows[2].macs == 7 * 7 * 4 * 27
    assert found.macs == found.rows[1].macs + 7 * 7 * 16
    shallow = fieldwise.summary(net, (1, 3, 9, 9), depth=1)
    assert [row.name for row in shallow] == ["", "0", "1", "2"]
    assert shallow.macs == found.macs


def test_shared_parameters_count_once():
    """Where one module runs twice, its operations count twice."""
    conv = nn.Conv2d(2, 2, 3, padding=1)
    found = fieldwise.summary(nn.Sequential(conv, nn.ReLU(), conv), (1, 2, 8, 8))
    assert found.parameters == sum(one.numel() for one in conv.parameters())
    assert found.macs == 2 * 8 * 8 * 2 * 18


def test_a_module_that_does_not_run_has_no_field():
    """As an auxiliary head in eval mode."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv1d(1, 1, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.used(x)

    rows = {row.name: row for row in fieldwise.summary(Net(), (1, 1, 8))}
    assert rows["unused"].field is None
    assert rows["unused"].parameters == 12
    assert rows["used"].field.extent == (3,)


def test_a_list_of_layers_has_a_row_per_layer():
    """It has no modules and no parameters."""
    found = fieldwise.summary(layers_graph("conv3 relu conv5/2", (1, 1, 20)))
    assert [row.name for row in found] == ["", "conv3", "relu", "conv5/2"]
    assert [row.macs for row in found] == [18 * 3 + 7 * 5, 54, 0, 35]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", ["torchvision:inception_v3", "torchvision:resnet18"])
def test_a_table_fits_the_width_and_no_number_is_cut(name, width):
    """Kinds go first, then names lose their middles, then columns go from the right."""
    model = load_model(name, None, weights=False)
    found = fieldwise.summary(model.source, model.example(), depth=2)
    console = Console(width=width, record=True, file=StringIO())
    console.print(view.render(found))
    lines = console.export_text().splitlines()
    table = lines[1 : len(found.rows) + 2]
    assert max(len(line.rstrip()) for line in table) <= width
    stem = next(line for line in table if "64x" in line or "32x" in line)
    assert re.search(r"\dx\d+x\d+x\d+", stem)
    assert all("…" not in line.split()[-1] for line in table[1:])


@pytest.mark.parametrize("width", [40, 50, 60, 80])
def test_wide_and_control_characters_in_names_cut_no_number(width):
    """An ideograph takes two cells of a terminal; a control character is written as its escape."""
    net = nn.Sequential()
    net.add_module("最初の畳み込み層", nn.Conv2d(3, 4, 3))
    net.add_module("line\nbreak\x1b[31m", nn.ReLU())
    found = fieldwise.summary(net, (1, 3, 9, 9))
    console = Console(width=width, record=True, file=StringIO())
    console.print(view.render(found))
    table = console.export_text().splitlines()[1 : len(found.rows) + 2]
    assert [len(re.findall(r"1x4x7x7", line)) for line in table] == [0, 1, 1, 1]
    assert "…" not in table[0]
    ends = {cell_len(line[: line.index("1x4x7x7")]) for line in table if "1x4x7x7" in line}
    assert len(ends) == 1
    assert max(map(cell_len, table)) <= width
    assert cell_len(table[0]) <= width
    assert all(line.isprintable() for line in table)


def test_a_module_that_does_not_depend_on_the_input_has_a_shape():
    """One that works on another input: its field there is no field of the first."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(1, 4, 3, padding=1)

        def forward(self, x, y):
            return self.one(x) + self.two(y)

    found = fieldwise.summary(Two(), ((1, 3, 8, 8), (1, 1, 8, 8)))
    assert [(row.name, row.shape) for row in found] == [
        (name, (1, 4, 8, 8)) for name in ("", "one", "two")
    ]
    assert [row.field is None for row in found] == [False, False, True]
    assert [module["shape"] for module in view.data(found)["modules"]] == [[1, 4, 8, 8]] * 3


def test_the_others_of_several_outputs_are_counted():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.split = nn.LSTM(4, 6, batch_first=True)
            self.head = nn.Conv1d(6, 2, 3)

        def forward(self, x):
            y, states = self.split(x)
            return {"map": self.head(y.transpose(1, 2)), "mean": y.mean(1), "last": states[0]}

    found = fieldwise.summary(Two().eval(), (1, 20, 4))
    shapes = {row.name: (row.shape, row.others) for row in found.rows}
    assert shapes == {
        "": ((1, 2, 18), ((1, 6), (1, 1, 6))),
        "split": ((1, 20, 6), ((1, 1, 6), (1, 1, 6))),
        "head": ((1, 2, 18), ()),
    }
    cells = [line.split() for line in str(found).splitlines()]
    assert cells[2][:5] == ["(the", "model)", "1x2x18", "+2", str(found.parameters)]


def test_a_name_that_holds_dots_is_one_module():
    """As the nodes of an ONNX file have: they lie in the model, whatever their names are."""
    net = nn.Module()
    for name in ("/a/a.0/Conv", "/b/b.0/Conv"):
        net._modules[name] = nn.Conv2d(1, 1, 3, padding=1)
    net.forward = lambda x: net._modules["/b/b.0/Conv"](net._modules["/a/a.0/Conv"](x))
    found = fieldwise.summary(net, (1, 1, 8, 8), depth=1)
    assert [(row.name, row.depth) for row in found][1:] == [("/a/a.0/Conv", 1), ("/b/b.0/Conv", 1)]
    assert found.rows[1].macs == found.rows[2].macs == 64 * 9
    console = Console(width=100, record=True, file=StringIO())
    console.print(view.render(found))
    assert re.findall(r"^  (\S+)", console.export_text(), re.MULTILINE) == [
        "/a/a.0/Conv", "/b/b.0/Conv",
    ]  # fmt: skip


def test_a_node_of_an_onnx_file_is_of_the_kind_of_its_operator(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2, 8] x) => (float[1, 2, 8] y)'
        "{ [one] z = Relu(x) [two] y = Sqrt(z) }"
    )
    onnx.save(model, tmp_path / "net.onnx")
    found = fieldwise.summary(str(tmp_path / "net.onnx"))
    assert [(row.name, row.kind) for row in found][1:] == [("one", "Relu"), ("two", "Sqrt")]


def test_a_node_of_an_onnx_file_has_the_parameters_that_it_reads(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2, 8] x) => (float[1, 3, 8] y)'
        "<float[3, 2, 1] w = {1, 2, 3, 4, 5, 6}, float[3] b = {1, 2, 3}>"
        "{ [one] z = Relu(x) [two] y = Conv(z, w, b) }"
    )
    onnx.save(model, tmp_path / "net.onnx")
    found = fieldwise.summary(str(tmp_path / "net.onnx"))
    assert [(row.name, row.parameters) for row in found] == [("", 9), ("one", 0), ("two", 9)]


def test_the_command_prints_it_and_its_data(tmp_path, monkeypatch):
    """``fieldwise summary``, to a depth."""
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["summary", "torchvision:resnet18", "--depth", "1"])
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert lines[0] == "torchvision:resnet18, input 1x3x224x224"
    assert lines[-1] == "11,689,512 parameters, 1,814,073,344 multiplications per run"
    assert "layer4" in told.stdout
    assert "layer4.0" not in told.stdout
