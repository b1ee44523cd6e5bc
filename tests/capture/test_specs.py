"""Model specs that need no torch: how they are read, and what is said of those that cannot be."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from fieldwise.capture import load_model
from fieldwise.capture.written_inputs import parse_shapes
from fieldwise.errors import UsageError
from fieldwise.graph import Graph


def refusal(*args):
    with pytest.raises(UsageError) as caught:
        load_model(*args)
    return str(caught.value)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_layer_list_becomes_a_graph_with_a_default_input():
    model = load_model("layers:conv3 relu")
    assert isinstance(model.source, Graph)
    assert (model.name, model.shapes, model.example()) == ("layers:conv3 relu", ((1, 1, 11),), None)


def test_a_layer_list_takes_the_input_that_is_written():
    assert load_model("layers:conv3", "1x3x8x9").source.shape("conv3") == (1, 3, 6, 7)


def test_shapes_are_sizes_joined_by_x_and_several_inputs_are_separated_by_commas():
    assert parse_shapes("1x3x224x224, 2x10") == ((1, 3, 224, 224), (2, 10))


@pytest.mark.parametrize("text", ["", "1x3x", "axb", "1x0x3", "-1x3", "1 3 4", "1x3,"])
def test_a_shape_that_cannot_be_read_is_refused(text):
    assert refusal("layers:conv3", text) == (
        f"Cannot read the input shape {text.split(',')[-1].strip()!r}; write positive sizes joined "
        "by 'x', for example 1x3x224x224, and a comma between several inputs."
    )


def test_a_layer_list_with_two_inputs_is_refused():
    assert refusal("layers:conv3", "1x1x8,1x1x8") == (
        "A layer list has one input, but 2 shapes are given."
    )


def test_a_bare_name_is_refused_with_the_forms_it_may_have():
    assert refusal("resnet50") == (
        "Unknown model 'resnet50'; write torchvision:resnet50 or timm:resnet50, or one of "
        "layers:..., package.module:factory, FILE.py:factory, script:FILE.pt, FILE.onnx or "
        "FILE.pt2."
    )


def test_nonsense_is_refused_with_the_forms_of_a_spec():
    assert refusal("what is this?").startswith("Unknown model 'what is this?'; write torchvision:")


@pytest.mark.parametrize("suffix", ["pt", "pth", "pkl", "ckpt", "bin"])
def test_a_pickle_is_refused_and_not_loaded(tmp_path, suffix):
    path, mark = tmp_path / f"model.{suffix}", tmp_path / "exploded"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    said = refusal(str(path))
    assert said.startswith(f"{str(path)!r} is a pickle, which can run any code when it is loaded")
    assert said.endswith(
        "If it holds weights, name the model and give it these by --weights; write a whole model "
        "with torch.export.save to a .pt2 file, or name the code that builds it."
    )
    assert not mark.exists()


def test_a_file_that_does_not_exist_is_refused():
    assert refusal("nowhere.pt2") == "There is no file 'nowhere.pt2'; check the path."


@pytest.mark.parametrize(
    ("spec", "extra"),
    [("timm:resnet18", "zoo"), ("torchvision:resnet18", "zoo"), ("os:getcwd", "torch")],
)
def test_a_missing_torch_is_named_with_the_extra_that_brings_all_of_it(monkeypatch, spec, extra):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refusal(spec) == (
        f"This model needs torch; install it with pip install 'fieldwise[{extra}]'."
    )


def test_weights_without_a_model_are_refused():
    assert refusal("dir/best.safetensors") == (
        "'dir/best.safetensors' holds weights and no model; name the model, and give it these by "
        "--weights."
    )


@pytest.mark.parametrize(
    ("spec", "shape", "classes"),
    [
        ("torchvision:squeezenet1_1(num_classes=5)", (1, 3, 224, 224), 5),
        ("timm:resnet10t(num_classes=5, in_chans=1)", (1, 1, 176, 176), 5),
        ("timm:vit_tiny_patch16_224(img_size=32, num_classes=2)", (1, 3, 32, 32), 2),
    ],
)
def test_a_model_of_a_zoo_takes_arguments_and_its_usual_input_follows(spec, shape, classes):
    pytest.importorskip("torchvision" if spec.startswith("torchvision") else "timm")
    found = load_model(spec)
    assert found.shapes == (shape,)
    assert found.module(*found.example()).shape == (1, classes)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "torchvision:resnet18(classes=5)",
            "torchvision:resnet18 raised TypeError when called with (classes=5): "
            "ResNet.__init__() got an unexpected keyword argument 'classes'; write other "
            "arguments.",
        ),
        (
            "timm:resnet18(pretrained=True)",
            "'timm:resnet18(pretrained=True)' asks for trained weights by 'pretrained', and "
            "fieldwise downloads none; --weights FILE gives it those of a file.",
        ),
        (
            "torchvision:resnet18(10)",
            "'torchvision:resnet18(10)': write each argument by its name, as in "
            "'(num_classes=10)'.",
        ),
    ],
)
def test_what_a_model_of_a_zoo_does_not_take_is_refused(spec, said):
    pytest.importorskip("torchvision" if spec.startswith("torchvision") else "timm")
    with pytest.raises(UsageError) as caught:
        load_model(spec)
    assert str(caught.value) == said
