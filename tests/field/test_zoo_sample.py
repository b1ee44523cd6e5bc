"""Forty architectures across families: every row exact, units confirmed by the gradient probe."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fieldwise.capture.specs import load_model
from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.probes import GradientProbe

SAMPLE = {
    "torchvision:alexnet": "1x3x80x80",
    "torchvision:vgg11_bn": "1x3x64x64",
    "torchvision:resnet18": "1x3x64x96",
    "torchvision:resnext50_32x4d": "1x3x64x64",
    "torchvision:densenet121": "1x3x64x64",
    "torchvision:googlenet": "1x3x64x64",
    "torchvision:inception_v3": "1x3x107x99",
    "torchvision:squeezenet1_1": "1x3x65x65",
    "torchvision:shufflenet_v2_x0_5": "1x3x64x64",
    "torchvision:mobilenet_v2": "1x3x63x65",
    "torchvision:mnasnet0_5": "1x3x64x64",
    "torchvision:regnet_y_400mf": "1x3x64x64",
    "torchvision:maxvit_t": "1x3x224x224",
    "torchvision:fcn_resnet50": "1x3x64x64",
    "torchvision:lraspp_mobilenet_v3_large": "1x3x64x64",
    "torchvision:r3d_18": "1x3x4x32x32",
    "torchvision:r2plus1d_18": "1x3x4x32x32",
    "torchvision:mc3_18": "1x3x4x32x32",
    "timm:inception_v4": "1x3x107x107",
    "timm:xception41": "1x3x64x64",
    "timm:efficientnet_b0": "1x3x64x64",
    "timm:tf_efficientnet_b0": "1x3x65x64",
    "timm:mixnet_s": "1x3x64x64",
    "timm:hrnet_w18_small": "1x3x64x64",
    "timm:dla34": "1x3x64x64",
    "timm:res2net50_26w_4s": "1x3x64x64",
    "timm:skresnet18": "1x3x64x64",
    "timm:resnetblur50": "1x3x64x64",
    "timm:resnetv2_50x1_bit": "1x3x64x64",
    "timm:dpn48b": "1x3x64x64",
    "timm:cspdarknet53": "1x3x64x64",
    "timm:repvgg_a0": "1x3x64x64",
    "timm:convnext_atto": "1x3x64x64",
    "timm:vit_tiny_patch16_224": "1x3x224x224",
    "timm:swin_tiny_patch4_window7_224": "1x3x224x224",
    "timm:coat_tiny": "1x3x224x224",
    "timm:levit_128s": "1x3x224x224",
    "timm:poolformer_s12": "1x3x64x64",
    "timm:mobilevit_xxs": "1x3x64x64",
    "timm:mambaout_femto": "1x3x64x64",
}

SELDOM_RED = ("torchvision:maxvit_t", "timm:coat_tiny")
"""The two that take longest; of other networks with windows and tokens four stay with the rest."""


def cases(slow: Iterable[str]) -> list[object]:
    """The sample as parameters of a test, for which these are slow."""
    return [
        pytest.param(spec, marks=[pytest.mark.slow] if spec in set(slow) else []) for spec in SAMPLE
    ]


def sampled_values(report: FieldReport) -> list[str]:
    """Three values with units of their own: early, in the middle, and the last such one."""
    mapped = [row.name for row in report.rows[1:] if report.roles(row.name).unit]
    return list(dict.fromkeys((mapped[len(mapped) // 5], mapped[len(mapped) // 2], mapped[-1])))


def sampled_units(report: FieldReport, name: str) -> set[tuple[int, ...]]:
    """The first unit, the middle one and one near the end."""
    sizes = [report.graph.shape(name)[dim] for dim in report.roles(name).unit]
    return {
        tuple(0 for _ in sizes),
        tuple(size // 2 for size in sizes),
        tuple(max(size - 2, 0) for size in sizes),
    }


@pytest.mark.parametrize("spec", cases(slow=SELDOM_RED))
def test_every_row_is_exact_and_gradients_confirm_sampled_units(spec):
    model = load_model(spec, SAMPLE[spec], weights=False)
    report = receptive_fields(model.source, model.example())
    assert all(row.exact for row in report.rows)
    probe = GradientProbe.of_graph(report.graph)
    for name in sampled_values(report):
        dims = report.roles(name).unit
        for unit in sampled_units(report, name):
            seen = report[name].at(*unit)
            measured = probe.field(name, unit, dims=dims, wrt_dims=report.axes)
            assert seen.exact
            assert measured.exact, measured.why
            assert (seen.mask() == measured.mask).all(), (name, unit)
