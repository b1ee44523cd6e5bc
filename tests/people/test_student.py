"""A student with the exercise sheet: fuse a BatchNorm, find fields by three ways, shift a map."""

from __future__ import annotations

import json
import re

LISTS = ("conv3 conv1", "conv3 conv3", "conv3/2 conv3")


def test_the_field_of_vgg16_is_that_of_the_formula(user):
    said = user.script("field", "torchvision:vgg16", "--layer", "features.*", "--format", "json")
    layers = {row["name"]: row for row in json.loads(said.out)["layers"]}
    extent, stride = 1, 1
    for number in range(31):
        row = layers[f"features.{number}"]
        if row["op"] != "relu":
            kernel, step = (2, 2) if row["op"] == "max_pool" else (3, 1)
            extent, stride = extent + (kernel - 1) * stride, stride * step
        assert (row["extent"], row["stride"], row["exact"]) == ([extent] * 2, [stride] * 2, True)
    assert (extent, stride) == (212, 32)
    assert said.err == "", "weights do not count"


def test_the_gradient_sees_what_the_formula_says(user):
    chosen = ("--layer", "features.9", "--layer", "features.30")
    said = user.fieldwise("field", "torchvision:vgg16", *chosen, "--method", "gradient")
    rows = [line.split() for line in said.out.splitlines() if line.startswith("features.")]
    assert [(row[3], row[6]) for row in rows] == [("16", "28,28"), ("212", "3,3")]
    for row in rows:
        first, last = map(int, row[7].split(".."))
        assert (last - first + 1, first) == (int(row[3]), _first(row)), row


def _first(row: list[str]) -> int:
    """The first column that the position of a row sees, by its stride and its start."""
    return int(row[6].partition(",")[2]) * int(row[4]) + int(row[5])


def test_the_three_networks_of_the_sheet_are_drawn_blank_and_then_with_lines(user):
    models = [f"layers:{layers}" for layers in LISTS]
    asked = ("diagram", *models, "--unit", "2", "-o")
    blank = user.fieldwise(*asked, "blank.svg", "--blank", "--symbols")
    assert (blank.out, blank.err) == ("", "wrote blank.svg\n")
    drawn = user.fieldwise(*asked, "three.svg")
    assert re.findall(r"sees (\d+) samples, .*; receptive field (\d+)$", drawn.out, re.M) == [
        ("3", "3"), ("5", "5"), ("7", "7"),
    ]  # fmt: skip
    drawings = [(user.here / name).read_text() for name in ("blank.svg", "three.svg")]
    assert all(text.count("<svg") == 1 for text in drawings)
    assert len(drawings[0]) < len(drawings[1])


def test_a_batchnorm_is_folded_and_a_circular_convolution_commutes_with_shifts(user):
    (user.here / "sheet.py").write_text("""
import numpy as np, torch
from torch import nn
import fieldwise
from fieldwise.shift import circular_conv, translate

torch.manual_seed(0)
pair = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4))
for _ in range(20):
    pair(torch.randn(8, 3, 16))
nn.init.normal_(pair[1].weight), nn.init.normal_(pair[1].bias)
folded = fieldwise.fold(pair.eval(), (1, 3, 16))
norm, scale = pair[1], pair[1].weight / (pair[1].running_var + pair[1].eps).sqrt()
weight = pair[0].weight * scale[:, None, None]
bias = (pair[0].bias - norm.running_mean) * scale + norm.bias
assert torch.allclose(folded.model[0].weight, weight, atol=1e-6)
assert torch.allclose(folded.model[0].bias, bias, atol=1e-6)
assert isinstance(folded.model[1], nn.Identity) and isinstance(pair[1], nn.BatchNorm1d)
report = folded.report
print(report.folded, report.candidates, report.verify.passed, report.verify.compared)

rng = np.random.default_rng(0)
A, W = rng.integers(-9, 9, (2, 12)), rng.integers(-9, 9, (2, 3))
whole = circular_conv(A, W)
moved = [circular_conv(translate(A, d), W) == translate(whole, d) for d in range(-13, 13)]
print(sum(equal.all() for equal in moved))
""")
    assert user.python("sheet.py").out.split() == ["1", "1", "True", "56", "26"]


def test_a_network_commutes_with_shifts_by_its_stride_where_it_wraps(user):
    asked = ("shift", "layers:conv3p1 maxpool2/2 conv3p1", "--input", "1x1x32x32", "--axes", "W")
    zeros, wraps = (
        json.loads(user.fieldwise(*asked, *more, "--format", "json").out)["outputs"][0]["axes"][0]
        for more in ((), ("--padding", "circular"))
    )
    assert (zeros["circular"]["holds"], zeros["broken_by"][0]["why"]) == (False, "zero padding")
    assert (wraps["circular"]["holds"], wraps["broken_by"]) == (True, [])
    assert (wraps["circular"]["period"], wraps["circular"]["step"]) == (2, 1)
    assert zeros["interior"] == wraps["interior"], "padding counts at the borders alone"


def test_the_summary_says_what_the_sheet_asks_of_every_layer(user):
    said = user.python("-m", "fieldwise", "summary", "torchvision:vgg16", "--depth", "1")
    assert said == user.fieldwise("summary", "torchvision:vgg16", "--depth", "1")
    header, *rows = said.out.splitlines()[1:]
    assert header.split() == "layer shape params MACs extent stride start ahead kind".split()
    (features,) = (row.split() for row in rows if row.split()[0] == "features")
    assert features == "features 1x512x7x7 14.7M 15.3G 212 32 -90 121 Sequential".split()
    assert rows[-1] == "138,357,544 parameters, 15,470,264,320 multiplications per run"


def test_a_layer_that_is_misspelt_is_answered_with_what_can_be_written(user):
    said = user.fieldwise("field", "layers:conv3 rellu", code=2)
    assert said.out == ""
    assert said.err == (
        "error: Unknown layer 'rellu'; did you mean 'relu'?\n  conv3 rellu\n        ^^^^^\n"
    )
