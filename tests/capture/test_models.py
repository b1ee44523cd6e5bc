"""What an analysis takes as its model: modules, exported programs, specs, files, layer lists."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import fieldwise
from fieldwise.capture import layers_graph, load_model
from fieldwise.capture.models import as_module, as_source
from fieldwise.errors import UsageError
from fieldwise.shift import antialias, circular, lie_derivative, measure, polyphase
from fieldwise.tile import TileError

SHAPE = (1, 2, 16, 16)
CODE = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)).eval()

def drawn():
    return nn.Conv2d(2, 3, 3)
"""
VERBS = {
    "receptive_fields": lambda *net: fieldwise.receptive_fields(*net).rows[-1].extent,
    "connections": lambda *net: fieldwise.field.connections(*net).field,
    "summary": lambda *net: fieldwise.summary(*net).parameters,
    "certify": lambda *net: str(fieldwise.certify(*net).outputs),
    "measure": lambda *net: measure(*net).verdict,
    "lie_derivative": lambda *net: [found.axis for found in lie_derivative(*net)],
    "circular": lambda *net: circular(*net).measurement.verdict,
    "antialias": lambda *net: antialias(*net).measurement.verdict,
    "polyphase": lambda *net: polyphase(*net).measurement.verdict,
    "fold": lambda *net: fieldwise.fold(*net).report.folded,
    "tiled": lambda *net: str(fieldwise.tiled(*net, tile=8).plan(SHAPE)),
    "streamed": lambda *net: str(fieldwise.streamed(*net, band=8).plan(SHAPE)),
    "latency": lambda *net: str(fieldwise.latency(*net)),
    "plan_tiles": lambda *net: str(fieldwise.plan_tiles(*net, tile=8)),
    "suggest_tile": lambda *net: fieldwise.suggest_tile(*net, memory=1 << 20),
    "effective_field": lambda *net: fieldwise.effective_field(*net, noise=1).unit,
}
WHOLE = ("circular", "antialias", "polyphase")
"""Those that copy modules and change them: an exported program has none of their kinds."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("nets")
    (path / "taken.py").write_text(CODE)
    torch.export.save(exported(path), path / "net.pt2")
    return path


def net(folder) -> nn.Module:
    return load_model(f"{folder}/taken.py:net", "1x2x16x16").module


def exported(folder):
    """Of open sizes."""
    height, width = torch.export.Dim("h", min=4), torch.export.Dim("w", min=4)
    sizes = ({2: 2 * height, 3: 2 * width},)
    return torch.export.export(net(folder), (torch.zeros(SHAPE),), dynamic_shapes=sizes)


def test_these_are_all_verbs_that_take_a_model_and_an_example():
    mains = {"receptive_fields", "summary", "certify", "fold", "tiled", "streamed", "latency"}
    assert mains | {"plan_tiles", "suggest_tile", "effective_field"} < set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_spec_with_a_shape_stands_for_its_module(folder, verb):
    answer = VERBS[verb]
    assert answer(f"{folder}/taken.py:net", SHAPE) == answer(net(folder), SHAPE)


@pytest.mark.parametrize("verb", [name for name in VERBS if name not in WHOLE])
def test_an_exported_program_and_its_file_bring_their_shape_along(folder, verb):
    answer = VERBS[verb]
    expected = answer(net(folder), SHAPE)
    assert answer(exported(folder)) == expected
    assert answer(folder / "net.pt2") == expected


@pytest.mark.parametrize("verb", VERBS)
def test_a_name_that_no_zoo_has_is_told_with_close_ones(verb):
    with pytest.raises(UsageError) as said:
        VERBS[verb]("torchvision:resnt18")
    assert str(said.value).startswith(
        "torchvision has no model 'resnt18'; did you mean torchvision:resnet18"
    )


@pytest.mark.parametrize("verb", VERBS)
def test_a_module_without_an_example_is_told_to_pass_one(folder, verb):
    with pytest.raises(UsageError) as said:
        VERBS[verb](net(folder))
    assert str(said.value) == (
        "A torch module is analysed on an example input; pass one, or its shape."
    )


def test_a_folded_program_computes_what_the_module_does(folder):
    x = torch.randn(SHAPE)
    folded = fieldwise.fold(exported(folder))
    assert folded.report.folded == 1
    with torch.no_grad():
        assert torch.allclose(folded.model(x), net(folder)(x), atol=1e-5)


def test_a_program_with_an_open_size_is_tiled_at_any(folder):
    x = torch.randn(1, 2, 48, 40)
    with torch.no_grad():
        expected = net(folder)(x)
    assert torch.allclose(fieldwise.tiled(exported(folder), tile=8)(x), expected, atol=1e-6)


def test_a_program_of_a_fixed_size_says_so_at_another(folder):
    program = torch.export.export(net(folder), (torch.zeros(SHAPE),))
    with pytest.raises(UsageError) as said:
        fieldwise.receptive_fields(program, (1, 2, 32, 32))
    assert str(said.value) == (
        "'ExportedProgram' was exported for size 16 along axis 2, not for 1x2x32x32; give an input "
        "of such a shape (--input), or export it again with dynamic_shapes."
    )


def test_a_zoo_s_model_has_its_usual_shape_and_another_where_one_is_given():
    assert fieldwise.receptive_fields("torchvision:resnet18")["layer4"].row.extent == (435, 435)
    found = fieldwise.receptive_fields("torchvision:resnet18", (1, 3, 64, 64))
    assert found.input.shape == (1, 3, 64, 64)


def test_a_shape_may_be_written(folder):
    assert fieldwise.receptive_fields(net(folder), "1x2x32x32").input.shape == (1, 2, 32, 32)
    assert as_module("layers:conv3", "1x1x32", values=False)[1] == ((1, 1, 32),)


def test_code_of_ones_own_without_a_shape_is_told_to_pass_one(folder):
    spec = f"{folder}/taken.py:net"
    with pytest.raises(UsageError) as said:
        fieldwise.receptive_fields(spec)
    assert str(said.value) == (
        f"The input shape of {spec!r} is not known; pass an example, or its shape such as "
        "(1, 3, 224, 224)."
    )


@pytest.mark.parametrize(
    "example", [(1, 1, 40), ((1, 1, 40),), torch.zeros(1, 1, 40), {"x": (1, 1, 40)}]
)
def test_a_layer_list_is_built_for_the_example(example):
    graph, _ = as_source("layers:conv3 relu", example)
    assert graph.shape("relu") == (1, 1, 38)


def test_a_layer_list_with_two_inputs_is_refused():
    with pytest.raises(UsageError, match="A layer list has one input, but 2 shapes are given"):
        as_source("layers:conv3 relu", ((1, 1, 40), (1, 1, 40)))


def test_modules_graphs_and_what_is_no_model_stay_as_they_are():
    for given in (nn.ReLU(), layers_graph("conv3"), nn.ReLU, None, 3):
        assert as_source(given, (1, 2)) == (given, (1, 2))


def test_two_models_are_compared_by_their_specs_or_with_one_example(folder):
    found = fieldwise.compare("layers:conv3 relu", "layers:conv5 relu")
    assert found.names == ("layers:conv3 relu", "layers:conv5 relu")
    assert found.outputs_differ
    same = fieldwise.compare(net(folder), exported(folder), example=SHAPE)
    assert same.names == ("A", "B")
    assert not same.outputs_differ


# ----------------------------------------------------------------------------- random weights


def test_random_weights_are_said_where_values_count(folder):
    with pytest.warns(UserWarning, match="random weights") as said:
        fieldwise.fold("layers:conv3 relu")
    assert [str(one.message) for one in said] == [
        "'layers:conv3 relu' has random weights; for trained ones give "
        "load_model('layers:conv3 relu').given(FILE), of fieldwise.capture."
    ]
    with pytest.warns(UserWarning, match="has random weights; for trained ones give"):
        fieldwise.streamed(f"{folder}/taken.py:drawn", SHAPE)


def test_nothing_is_said_where_only_structure_counts_or_weights_are_given(folder, tmp_path):
    torch.save(net(folder).state_dict(), tmp_path / "best.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fieldwise.latency(f"{folder}/taken.py:drawn", SHAPE)
        fieldwise.certify(f"{folder}/taken.py:drawn", SHAPE)
        model = load_model(f"{folder}/taken.py:net", "1x2x16x16").given(tmp_path / "best.pt")
        assert fieldwise.fold(model).report.folded == 1
        fieldwise.fold(f"{folder}/taken.py:net", SHAPE)


def test_a_plan_is_run_by_a_model_that_a_spec_names(folder):
    spec = f"{folder}/taken.py:net"
    plan = fieldwise.plan_tiles(spec, SHAPE, tile=8)
    x = torch.randn(SHAPE)
    with torch.no_grad():
        assert torch.allclose(fieldwise.tiled(spec, plan)(x), net(folder)(x), atol=1e-6)


def test_a_tile_off_the_grid_of_a_spec_is_refused_as_of_a_module(folder):
    with pytest.raises(TileError, match="not a multiple of"):
        fieldwise.tiled(f"{folder}/taken.py:net", SHAPE, tile=7)
