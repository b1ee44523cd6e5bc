"""``fieldwise fold``: the report, the files, the exit codes."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fieldwise.cli import app

NETS = """
import torch
from torch import nn

def plain():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.running_mean += 1
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm, nn.ReLU())

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
    def forward(self, x):
        return self.conv(x) * self.scale

class Dead(nn.Sequential):
    def forward(self, x):
        return torch.clamp(super().forward(x) * 0 + 7, 0, 6)

def dead():
    return Dead(*plain()[:2])

def unfoldable():
    return Dead(nn.Conv2d(3, 4, 3))

def refused():
    return Dead(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))

made = plain()
"""
SHAPE = ("--input", "1x3x8x8")


@pytest.fixture(autouse=True)
def _nets(tmp_path, monkeypatch):
    (tmp_path / "fold_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "fold_nets", raising=False)


def run(*args, code=0):
    result = CliRunner().invoke(app, ["fold", *args])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code != 2 else result.stderr


def test_a_resnet_folds_and_the_table_says_so():
    told = run("torchvision:resnet18", "--input", "1x3x32x32")
    assert "layer1.0.bn1" in told
    assert "20 of 20 affine ops and parallel branches folded" in told
    assert "right: relative error" in told


def test_the_json_document_has_the_schema_of_the_issue():
    found = json.loads(run("fold_nets:plain", *SHAPE, "--format", "json"))
    (item,) = found["items"]
    assert set(item) == {"module", "op", "into", "direction", "error", "because"}
    assert (item["module"], item["into"], item["direction"]) == ("1", "0", "backward")
    assert item["because"] is None
    assert [found[key] for key in ("candidates", "folded", "refused", "exact_possible")] == [
        1, 1, 0, 1,
    ]  # fmt: skip
    assert {"max_abs", "max_rel", "unfolded_rel"} < set(found["verify"])


def test_what_stays_tells_its_reason_and_the_remedy():
    told = run("fold_nets:Scaled", *SHAPE)
    assert "the mul is written in the model's own forward" in told
    assert "1 more in a graph module: --allow-graph" in told
    allowed = run("fold_nets:Scaled", *SHAPE, "--allow-graph")
    assert "1 of 1 affine ops and parallel branches folded" in allowed


def test_the_written_files_are_the_folded_model(tmp_path):
    told = run("fold_nets:plain", *SHAPE, "-o", "out/net", "--random-weights")
    wrote = [line.split(", ")[0] for line in told.splitlines() if line.startswith("wrote")]
    assert wrote == ["wrote out/net.safetensors", "wrote out/net.pt2"]
    assert [line.strip() for line in told.splitlines()[-3:]] == [
        "load it     from fold_nets import plain",
        "from fieldwise import load_folded",
        "model = load_folded(plain(), 'out/net.safetensors')",
    ]
    assert re.search(r"time +[0-9.]+ ms before, [0-9.]+ ms now, medians of [0-9]+ runs", told)
    state = load_file(tmp_path / "out" / "net.safetensors")
    assert list(state) == ["0.bias", "0.weight"]
    program = torch.export.load(tmp_path / "out" / "net.pt2").module()
    sys.path.insert(0, str(tmp_path))
    from fold_nets import plain  # type: ignore[import-not-found]

    image = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(program(image), plain().eval()(image))


def test_the_lines_that_are_printed_load_the_weights(tmp_path):
    told = run("fold_nets:plain", *SHAPE, "-o", "net.safetensors", "--random-weights", "--no-time")
    assert "ms before" not in told
    sys.path.insert(0, str(tmp_path))
    lines = [line.removeprefix("  load it").strip() for line in told.splitlines()[-3:]]
    found: dict[str, object] = {}
    exec("\n".join(lines), found)
    assert [type(one).__name__ for one in found["model"]] == ["Conv2d", "Identity", "ReLU"]


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ("torchvision:resnet18", "torchvision.models.get_model('resnet18')"),
        ("timm:resnet18", "timm.create_model('resnet18')"),
        ("layers:conv3 relu", "load_model('layers:conv3 relu', '1x1x9').runnable().module"),
        ("fold_nets:plain", "plain()"),
        ("fold_nets.py:plain", "plain()"),
        ("fold_nets.py:made", "made"),
        ("./sub/more.py:made", "load_model('./sub/more.py:made', '1x1x9').runnable().module"),
    ],
)
def test_every_spec_has_an_expression_that_builds_it(spec, lines, tmp_path):
    from fieldwise.cli.loader import builder_of

    sys.path.insert(0, str(tmp_path))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.py").write_text(NETS)
    build, expression = builder_of(spec, ["1x1x9"])
    assert expression == lines
    found: dict[str, object] = {}
    exec(f"{build}\nmodel = {expression}", found)
    assert isinstance(found["model"], torch.nn.Module)


def test_a_file_is_not_replaced_and_nothing_is_folded_before_that_is_said(tmp_path, monkeypatch):
    (tmp_path / "net.pt2").touch()
    monkeypatch.setattr("fieldwise.folding.fold", lambda *_, **__: pytest.fail("it was folded"))
    said = run("fold_nets:plain", *SHAPE, "-o", "net.pt2", code=2)
    assert "'net.pt2' is there already; name another file, or replace it with --overwrite" in said
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, str(tmp_path))
    run("fold_nets:plain", *SHAPE, "-o", "net.pt2", "--random-weights", "--overwrite", "--no-time")
    assert (tmp_path / "net.pt2").stat().st_size


def test_a_pickle_is_not_written():
    assert "would be a pickle" in run("fold_nets:plain", *SHAPE, "-o", "net.pth", code=2)


@pytest.mark.parametrize("option", ["--overwrite", "--static"])
def test_options_about_the_file_need_one(option):
    assert "are about what -o writes; add -o OUT" in run("fold_nets:plain", option, code=2)


def test_an_onnx_file_is_one_file(tmp_path):
    told = run("fold_nets:plain", *SHAPE, "-o", "net.onnx", "--random-weights", "--no-time")
    assert "wrote net.onnx, " in told
    assert not (tmp_path / "net.onnx.pt2").exists()
    assert "input axis 0: size any" in told


def test_static_is_one_size(tmp_path):
    told = run(
        "fold_nets:plain", *SHAPE, "-o", "net.pt2", "--random-weights", "--no-time", "--static"
    )
    assert "input axis 0: 1 alone: it was asked for (--static, static=True)" in told


def test_an_exported_program_folds_without_a_flag(tmp_path):
    run("fold_nets:plain", *SHAPE, "-o", "once.pt2", "--random-weights", "--no-time", "--no-merge")
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 8, 8),)), "given.pt2")
    assert "1 of 1 affine ops and parallel branches folded" in run("given.pt2")


def test_a_graph_module_can_be_written_too(tmp_path):
    run("fold_nets:Scaled", *SHAPE, "--allow-graph", "-o", "net", "--random-weights")
    assert torch.export.load(tmp_path / "net.pt2").module()(torch.ones(1, 3, 8, 8)).shape[1] == 4


def test_several_inputs_can_be_compared_and_none():
    assert json.loads(run("fold_nets:plain", *SHAPE, "--check", "3", "--format", "json"))["verify"]
    none = json.loads(run("fold_nets:plain", *SHAPE, "--check", "0", "--format", "json"))
    assert none["verify"] is None


def test_a_wrong_result_exits_with_one(monkeypatch):
    from fieldwise.folding import run as running
    from fieldwise.folding.report import Verification

    wrong = Verification(1.0, 1.0, 0.0, passed=False)
    monkeypatch.setattr(running, "_judged", lambda *_: wrong)
    assert "WRONG" in run("fold_nets:plain", *SHAPE, code=1)


def test_a_missing_shape_is_a_usage_error():
    assert "--input" in run("fold_nets:plain", code=2)


def test_where_nothing_is_left_to_compare_it_is_not_checked_and_not_written(tmp_path):
    told = run("fold_nets:dead", *SHAPE, "-o", "out/net", "--random-weights", code=1)
    assert "not checked: its outputs are the same numbers whatever the input" in told
    found = json.loads(run("fold_nets:dead", *SHAPE, "--format", "json", code=1))["verify"]
    assert found["passed"] is None
    assert found["note"] == "its outputs are the same numbers whatever the input"
    assert not (tmp_path / "out").exists()
    run("fold_nets:dead", *SHAPE, "-o", "out/net", "--random-weights", "--check", "0")
    assert (tmp_path / "out" / "net.safetensors").exists()


@pytest.mark.parametrize("net", ["unfoldable", "refused"])
def test_nothing_to_fold_is_no_failure_even_where_nothing_can_be_compared(net, tmp_path):
    told = run(f"fold_nets:{net}", *SHAPE, "-o", "same", "--random-weights")
    assert "\n0 of " in told
    assert "not checked: its outputs are the same numbers whatever the input\n" in told
    assert (tmp_path / "same.pt2").exists()


def test_data_on_stdout_is_not_mixed_with_the_names_of_files():
    arguments = [
        "fold",
        "fold_nets:plain",
        *SHAPE,
        "-o",
        "net",
        "--random-weights",
        "--format",
        "json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert json.loads(result.stdout)["folded"] == 1
    assert result.stderr == "wrote net.safetensors\nwrote net.pt2\n"
    saved = json.loads(result.stdout)["saved"]
    assert [file["path"] for file in saved["files"]] == ["net.safetensors", "net.pt2"]
    assert saved["times"]["before"] > 0
    assert saved["program"]["verify"]["passed"]
