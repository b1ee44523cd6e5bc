"""What is known of real networks, made circular by hand where it takes that."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.capture.specs import load_model
from fieldwise.shift import AxisCertificate, Certificates, certify

models = pytest.importorskip("torchvision").models
timm = pytest.importorskip("timm")


class Wrapped(nn.Module):
    """A pool whose padding is wrapped around."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.padding, pool.padding = pool.padding, 0
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(nn.functional.pad(x, [self.padding] * 4, mode="circular"))


def circular(model: nn.Module) -> nn.Module:
    """Every padded convolution and max-pool wraps around."""
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d) and type(child) is nn.Conv2d and child.padding != (0, 0):
            child.padding_mode = "circular"
            child._reversed_padding_repeated_twice = [
                side for side in reversed(child.padding) for _ in range(2)
            ]
        elif isinstance(child, nn.MaxPool2d) and child.padding:
            setattr(model, name, Wrapped(child))
        else:
            circular(child)
    return model


def made(name: str, source=models, **options) -> nn.Module:
    """A network without values: the proof needs none."""
    make = timm.create_model if source is timm else models.get_model
    with torch.device("meta"):
        return make(name, **options).eval()


def certified(model: nn.Module, size: int, **options) -> Certificates:
    return certify(model, (1, 3, size, size), **options)


def both(found: Certificates) -> list[AxisCertificate]:
    return list(found.outputs[0].axes)


def test_the_interior_of_vgg16_at_640_is_columns_3_to_16_and_a_shift_by_32_keeps_3_to_15():
    for axis in both(certified(made("vgg16").features, 640)):
        assert axis.interior.range == (3, 17)
        assert axis.interior.carried == (3, 16)
        assert (axis.interior.period, axis.interior.step) == (32, 1)


def test_the_interior_of_resnet18_at_896_is_columns_7_to_21_and_a_shift_by_32_keeps_7_to_20():
    certificate = certified(made("resnet18"), 896)["layer4"]
    for axis in certificate.axes:
        assert axis.interior.range == (7, 22)
        assert axis.interior.carried == (7, 21)
        assert [breaker.module for breaker in axis.broken_by] == ["conv1"]


@pytest.mark.parametrize(
    "name",
    ["vgg16", "resnet50", "convnext_tiny", "mobilenet_v3_large", "efficientnet_b0", "densenet121"],
)
def test_a_circular_network_is_exact_for_multiples_of_32(name):
    model = circular(made(name))
    model = model.features if hasattr(model, "features") else nn.Sequential(*model.children())[:-2]
    for axis in both(certified(model, 96)):
        assert (axis.circular.period, axis.circular.step) == (32, 1), axis.broken_by
        assert axis.circular.conditions == (
            "the size of the axis is a multiple of 32",
            "no circular padding is larger than the axis that it pads",
        )


def test_the_classes_of_a_circular_network_do_not_change_at_all():
    for axis in both(certified(circular(made("mobilenet_v3_large")), 96)):
        assert (axis.circular.period, axis.circular.step) == (32, 0)
        assert axis.interior.empty


def test_resnet18_at_100_is_exact_up_to_layer1_and_loses_the_size_in_layer2():
    found = certified(circular(made("resnet18")), 100)
    assert {axis.circular.period for axis in found["layer1"].axes} == {4}
    for axis in found["layer2"].axes:
        assert not axis.circular.holds
        assert {b.module for b in axis.broken_by} == {"layer2.0.conv1", "layer2.0.downsample.0"}
        assert all("25 is not a multiple of the stride 2" in b.why for b in axis.broken_by)


def test_vit_is_broken_by_its_position_embedding_alone():
    model = timm.create_model("vit_tiny_patch16_224").eval()
    for axis in both(certified(model, 224)):
        assert [breaker.why for breaker in axis.broken_by] == [
            "it meets 'pos_embed' that varies along the axis"
        ]
    del model.pos_embed
    model.pos_embed = torch.zeros(1, 197, 192)
    for axis in both(certified(model, 224)):
        assert (axis.circular.period, axis.circular.step) == (16, 0)


def test_swin_is_broken_by_its_masks_and_without_them_exact_at_224_on_448():
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=448).eval()
    found = both(certified(model, 448))
    assert all("attn_mask" in breaker.why for axis in found for breaker in axis.broken_by)
    assert all(axis.broken_by for axis in found)
    for module in model.modules():
        if getattr(module, "attn_mask", None) is not None:
            module.attn_mask = None
    for axis in both(certified(model, 448)):
        assert (axis.circular.period, axis.circular.step) == (224, 0), axis.broken_by


def test_deeplab_is_broken_by_its_clamped_interpolation_alone():
    model = made("deeplabv3_resnet50", weights=None, weights_backbone=None)
    for axis in certified(circular(model), 320).outputs[0].axes:
        assert ["clamped" in breaker.why for breaker in axis.broken_by] == [True]


def test_tf_efficientnet_is_broken_by_asymmetric_same_padding():
    for axis in both(certified(circular(made("tf_efficientnet_b0", timm)), 96)):
        assert [(b.module, "asymmetric" in b.why) for b in axis.broken_by] == [("conv_stem", True)]


def test_a_feature_pyramid_moves_at_32_and_its_extra_pool_at_64():
    model = load_model("torchvision:fasterrcnn_resnet50_fpn", "1x3x64x256", weights=False)
    periodic = circular(model.source)
    found = [output.along(3).circular for output in certify(periodic, model.example()).outputs]
    assert [(one.period, one.step) for one in found] == [
        (32, 8), (32, 4), (32, 2), (32, 1), (64, 1),
    ]  # fmt: skip
