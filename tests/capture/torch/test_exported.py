"""Exported programs: loaded without unpickling and without running code from the file."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from torch import nn

from fieldwise.capture import load_model
from fieldwise.errors import UsageError

GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.register_buffer("order", torch.tensor([2, 0, 1]), persistent=False)

    def forward(self, x):
        return {"out": self.features(x[:, self.order])}


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    height = torch.export.Dim("height", min=8, max=512)
    torch.manual_seed(0)
    exported = torch.export.export(
        Net().eval(), (torch.zeros(1, 3, 16, 12),), dynamic_shapes=({2: height},)
    )
    torch.export.save(exported, path)
    return path


def rewritten(source, target, changes):
    """A copy of an archive; ``changes`` maps names to functions on the member's bytes."""
    with ZipFile(source) as old, ZipFile(target, "w") as new:
        for name in old.namelist():
            change = changes.get(name.split("/", 1)[1], lambda data: data)
            new.writestr(name, change(old.read(name)))
    return str(target)


def edited(change):
    def apply(data):
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return apply


def refusal(spec):
    with pytest.raises(UsageError) as caught:
        load_model(spec)
    return str(caught.value)


def test_its_submodules_and_its_input_shape_are_those_it_was_exported_with(program):
    model = load_model(str(program))
    assert "features.0" in dict(model.source.named_modules())
    assert model.shapes == ((1, 3, 16, 12),)


def test_it_computes_what_the_exported_program_computes(program):
    x = torch.rand(1, 3, 16, 12)
    expected = torch.export.load(program).module()(x)["out"]
    assert torch.equal(load_model(str(program)).source(x)["out"], expected)


def test_the_pickled_sample_inputs_are_not_read(program, tmp_path):
    mark = tmp_path / "exploded"
    path = rewritten(
        program,
        tmp_path / "net.pt2",
        {"data/sample_inputs/model.pt": lambda data: pickle.dumps(Bomb(mark))},
    )
    load_model(path)
    assert not mark.exists()


def test_guards_of_the_file_are_not_executed(program, tmp_path):
    mark = tmp_path / "exploded"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch() or True"
    path = rewritten(
        program,
        tmp_path / "net.pt2",
        {GRAPH: edited(lambda document: document.update(guards_code=[code]))},
    )
    load_model(path).source(torch.zeros(1, 3, 16, 12))
    assert not mark.exists()


def test_a_pickled_weight_is_refused_and_not_loaded(program, tmp_path):
    mark = tmp_path / "exploded"
    path = rewritten(
        program,
        tmp_path / "net.pt2",
        {
            WEIGHTS: edited(
                lambda document: document["config"]["features.0.weight"].update(use_pickle=True)
            ),
            "data/weights/weight_0": lambda data: pickle.dumps(Bomb(mark)),
        },
    )
    assert "stores 'features.0.weight' as a pickle, which fieldwise never loads" in refusal(path)
    assert not mark.exists()


def first_node(document):
    return document["graph_module"]["graph"]["nodes"][0]


def test_a_target_outside_torchs_operators_is_refused(program, tmp_path):
    path = rewritten(
        program,
        tmp_path / "net.pt2",
        {GRAPH: edited(lambda document: first_node(document).update(target="torch.os.system"))},
    )
    assert "holds 'torch.os.system' where fieldwise expects a plain operator" in refusal(path)


def test_a_symbolic_size_that_is_more_than_arithmetic_is_refused(program, tmp_path):
    evil = "__import__('os').getcwd()"

    def change(document):
        values = document["graph_module"]["graph"]["tensor_values"]
        (size,) = (s for s in values["x"]["sizes"] if "as_expr" in s)
        size["as_expr"]["expr_str"] = evil

    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: edited(change)})
    assert "where fieldwise expects a plain operator, size or container" in refusal(path)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    path.write_bytes(pickle.dumps([1]))
    assert "is not an exported program (File is not a zip file)" in refusal(str(path))


def test_an_archive_that_is_no_program_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    with ZipFile(path, "w") as archive:
        archive.writestr("net/readme", "hello")
    assert "is not an exported program of this format (models/model.json is missing)" in refusal(
        str(path)
    )


def test_a_checkpoint_in_disguise_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    buffer = io.BytesIO()
    torch.save(Net().state_dict(), buffer)
    path.write_bytes(buffer.getvalue())
    assert "is not an exported program of this format" in refusal(str(path))
