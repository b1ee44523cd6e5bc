"""Models from torchvision, timm and factories."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from fieldwise.capture import load_model
from fieldwise.capture.torch.zoo import uninitialised
from fieldwise.errors import UsageError
from fieldwise.field import receptive_fields

FACTORIES = """
import torch
from torch import nn

weights = nn.Conv2d(3, 4, 3).state_dict()
net = nn.Conv2d(3, 4, 3)

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

def needs(width):
    return nn.Conv2d(3, width, 3)

def number():
    return 3
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(FACTORIES)
    (tmp_path / "broken_net.py").write_text("raise RuntimeError('no luck')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)


def refusal(*args):
    with pytest.raises(UsageError) as caught:
        load_model(*args)
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("torchvision:squeezenet1_1", (1, 3, 224, 224)),
        ("torchvision:swin_v2_t", (1, 3, 256, 256)),
        ("torchvision:r3d_18", (1, 3, 16, 112, 112)),
        ("torchvision:lraspp_mobilenet_v3_large", (1, 3, 224, 224)),
        ("timm:inception_v3.tv_in1k", (1, 3, 299, 299)),
        ("timm:mobilenetv3_small_050", (1, 3, 224, 224)),
    ],
)
def test_a_listed_model_comes_in_eval_mode_with_its_usual_input(spec, shape):
    model = load_model(spec, weights=False)
    assert isinstance(model.source, nn.Module)
    assert not any(module.training for module in model.source.modules())
    assert model.shapes == (shape,)
    assert [tuple(tensor.shape) for tensor in model.example()] == [shape]


def test_a_detector_stands_for_its_backbone():
    model = load_model("torchvision:fasterrcnn_mobilenet_v3_large_fpn", weights=False)
    assert type(model.source).__name__ == "BackboneWithFPN"


def test_weights_are_drawn_unless_only_the_structure_counts():
    drawn = load_model("torchvision:squeezenet1_1").source
    assert 0 < next(drawn.parameters()).std() < 10


def test_parameters_are_one_and_not_memory_as_found_where_only_the_structure_counts():
    with uninitialised():
        assert nn.init.normal_(nn.Parameter(torch.full((3,), float("-inf")))).eq(1).all()
    assert nn.init.normal_(nn.Parameter(torch.zeros(3))).ne(0).all()


def test_an_initialiser_that_draws_until_every_value_fits_ends():
    with uninitialised():
        outside = nn.init.trunc_normal_(nn.Parameter(torch.full((8,), 1e9)))
    assert outside.abs().le(2).all()


def test_an_unknown_torchvision_model_suggests_close_ones():
    assert refusal("torchvision:resnet5").startswith(
        "torchvision has no model 'resnet5'; did you mean torchvision:resnet"
    )


def test_an_unknown_timm_model_suggests_close_ones():
    assert "did you mean timm:convnext_tiny" in refusal("timm:convnext_tinyy")


def test_an_unknown_model_without_close_ones_says_where_the_names_are():
    assert refusal("timm:qqqqqqqq") == (
        "timm has no model 'qqqqqqqq'; timm.list_models() lists all."
    )


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_missing_zoo_is_named_with_the_extra_that_brings_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert refusal(f"{package}:resnet18") == (
        f"'{package}' is not installed; install it with pip install 'fieldwise[zoo]'."
    )


def test_a_factory_in_the_working_directory_is_called(factories):
    model = load_model("my_nets:build", "1x3x8x8")
    assert isinstance(model.source, nn.Sequential)
    assert not model.source.training


def test_a_module_itself_is_taken_as_it_is(factories):
    assert isinstance(load_model("my_nets:net", "1x3x8x8").source, nn.Conv2d)


def test_a_factory_without_an_input_shape_is_refused(factories):
    assert refusal("my_nets:build") == (
        "The input shape of 'my_nets:build' is not known; give it, for example --input 1x3x224x224."
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no_such_package:build", "Cannot import 'no_such_package' for 'no_such_package:build'"),
        ("my_nets:biuld", "'my_nets' has no 'biuld' for 'my_nets:biuld'; did you mean 'build'?"),
        ("my_nets:needs", "my_nets:needs(width) cannot be called with (): missing a required"),
        (
            "my_nets:weights",
            "'my_nets:weights' is of type 'OrderedDict', neither a torch.nn.Module nor a function",
        ),
        ("my_nets:number", "'my_nets:number' returned 'int', which is no torch.nn.Module"),
        (
            "broken_net:build",
            "Importing 'broken_net' for 'broken_net:build' raised RuntimeError: no",
        ),
    ],
)
def test_a_factory_that_gives_no_model_is_refused(factories, spec, said):
    assert refusal(spec, "1x3x8x8").startswith(said)


def test_a_layer_list_becomes_a_module_where_a_network_must_run():
    model = load_model("layers:conv3 relu").runnable()
    assert isinstance(model.source, nn.Sequential)
    assert model.source(*model.example()).shape == (1, 1, 9)


def test_a_torchscript_program_is_code_and_the_form_that_runs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(FutureWarning):
        torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()).save("net.pt")
    said = refusal("net.pt")
    assert said.startswith("'net.pt' is a TorchScript program, which is code and may write files")
    model = load_model(said.partition("name '")[2].partition("'")[0], "1x3x8x8")
    assert receptive_fields(model.module, (1, 3, 8, 8))["output"].row.extent == (3, 3)


def test_inputs_of_a_module_may_be_named():
    model = load_model("torch.nn:Bilinear(2, 3, 4)", "input2=5x3,input1=5x2")
    assert {name: tuple(x.shape) for name, x in model.example().items()} == {
        "input2": (5, 3), "input1": (5, 2),
    }  # fmt: skip
    assert tuple(model.module(**model.example()).shape) == (5, 4)
