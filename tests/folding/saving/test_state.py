"""Folded weights, loaded into the user's own class."""

from __future__ import annotations

import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import fieldwise
from fieldwise.errors import UnsuitableError, UsageError
from fieldwise.folding import fold, load_folded
from tests.folding.saving.networks import Scaled, UNet, settled


class RepVGG(nn.Module):
    """Three branches, of which one convolution is left."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.point = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x):
        return self.act(self.wide(x) + self.point(x) + self.norm(x))


class Shared(nn.Module):
    """One block at two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
        self.again = self.first

    def forward(self, x):
        return self.again(torch.relu(self.first(x)))


def normed():
    return nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))


def layer_normed():
    return nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4))


NETWORKS = {
    "resnet18": (lambda: torchvision.models.resnet18(weights=None), (1, 3, 32, 32)),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(weights=None), (1, 3, 32, 32)),
    "unet": (UNet, (1, 3, 8, 8)),
    "repvgg": (RepVGG, (1, 4, 8, 8)),
    "shared": (Shared, (1, 3, 8, 8)),
    "weight norm": (normed, (1, 3, 8, 8)),
    "layer norm": (layer_normed, (2, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_round_trip_is_exact_in_float64(tmp_path, name):
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    net, image = settled(build()).double(), torch.randn(shape, dtype=torch.float64)
    folded = fold(net, image)
    assert folded.report.folded
    found = folded.save(tmp_path / "net.safetensors")
    assert found.loaded.passed
    assert found.loaded.compared == net(image).numel()
    fresh = build()
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    again = load_folded(fresh, tmp_path / "net.safetensors")
    assert type(again) is type(net)
    assert not again.training
    with torch.no_grad():
        assert torch.equal(again(image), folded.model(image))
        torch.testing.assert_close(again(image), net(image), rtol=1e-10, atol=1e-10)
    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in before.items())


def test_weights_are_loaded_into_a_model_without_data(tmp_path):
    net, image = settled(UNet()), torch.randn(1, 3, 8, 8)
    folded = fold(net, image)
    folded.save(tmp_path / "net.safetensors")
    with torch.device("meta"):
        empty = UNet()
    with torch.no_grad():
        assert torch.equal(
            load_folded(empty, tmp_path / "net.safetensors")(image), folded.model(image)
        )


@pytest.fixture
def file(tmp_path):
    fold(settled(UNet()), (1, 3, 8, 8)).save(tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


class Deeper(UNet):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Conv2d(1, 1, 1)


def strided():
    net = UNet()
    net.one[0].stride = (2, 2)
    return net


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: UNet(width=8), "'one.0' is Conv2d(3, 8,"),
        (strided, "stride=(2, 2)"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)), "'the model itself' is Sequential()"),
        (Deeper, "'the model itself' is Deeper()"),
        (lambda: fold(settled(UNet()), (1, 3, 8, 8)).model, "'one.0' is Conv2d(3, 4,"),
    ],
)
def test_a_model_that_is_built_otherwise_is_refused(file, build, said):
    with pytest.raises(UsageError, match=re.escape(said)) as error:
        load_folded(build(), file)
    assert str(error.value).endswith("build the model as it was then.")


def test_more_modules_than_before_are_refused(file):
    net = UNet()
    net.extra = nn.ReLU()
    with pytest.raises(UsageError, match="The model has 'extra', which the model that was folded"):
        load_folded(net, file)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="There is no file"):
        load_folded(UNet(), tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(UsageError, match="is no safetensors file"):
        load_folded(UNet(), tmp_path / "text.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(UsageError, match="holds weights that fold did not write"):
        load_folded(UNet(), tmp_path / "plain.safetensors")
    for text in ("{", "{}", '{"form": 1, "changes": 5}', "[]"):
        save_file(
            {"a": torch.ones(1)}, tmp_path / "odd.safetensors", metadata={"fieldwise.fold": text}
        )
        with pytest.raises(UsageError, match="does not say how its model was folded"):
            load_folded(UNet(), tmp_path / "odd.safetensors")
    save_file(
        {"a": torch.ones(1)},
        tmp_path / "new.safetensors",
        metadata={"fieldwise.fold": '{"form": 99}'},
    )
    with pytest.raises(UsageError, match="form 99 by another version"):
        load_folded(UNet(), tmp_path / "new.safetensors")


def test_a_class_is_not_a_model(file):
    with pytest.raises(UsageError, match="this is the class 'UNet'"):
        load_folded(UNet, file)


def test_weights_of_a_graph_are_refused_alone_and_noted_in_a_pair(tmp_path):
    folded = fold(Scaled().eval(), (1, 3, 8, 8), allow_graph=True)
    assert type(folded.model).__name__ == "GraphModule"
    with pytest.raises(UnsuitableError, match=r"a GraphModule and no Scaled.*write X\.pt2"):
        folded.save(tmp_path / "net.safetensors")
    assert not (tmp_path / "net.safetensors").exists()
    found = folded.save(tmp_path / "net")
    assert len(found.paths) == 2
    assert "a GraphModule and no Scaled" in found.notes[0]
    assert found.loader == ()


def test_the_package_offers_it():
    assert fieldwise.load_folded is load_folded
