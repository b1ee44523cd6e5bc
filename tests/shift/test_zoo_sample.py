"""The forty architectures of the field's sample, made periodic: proof and measurement agree."""

from __future__ import annotations

import pytest

from benchmarks.zoo import analyse_here
from fieldwise.capture.specs import load_model
from fieldwise.shift import circular
from tests.field.test_zoo_sample import SAMPLE, cases

OFTEN = {
    "torchvision:resnet18", "torchvision:densenet121", "torchvision:inception_v3",
    "torchvision:shufflenet_v2_x0_5", "torchvision:mobilenet_v2",
    "torchvision:lraspp_mobilenet_v3_large", "torchvision:mc3_18",
    "timm:tf_efficientnet_b0", "timm:hrnet_w18_small", "timm:dla34", "timm:skresnet18",
    "timm:convnext_atto", "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224",
    "timm:poolformer_s12", "timm:mobilevit_xxs",
}  # fmt: skip
"""One of each kind; the others differ from these by depth and width and are slow."""


@pytest.mark.parametrize("spec", cases(slow=SAMPLE.keys() - OFTEN))
def test_what_is_proven_is_measured_and_what_is_broken_measures_broken(spec):
    model = load_model(spec, SAMPLE[spec])
    repaired = circular(model.source, model.example())
    assert repaired.proof is not None
    proven = {
        (output.name, axis.axis): axis.circular.holds
        for output in repaired.proof.outputs
        for axis in output.axes
    }
    measured = {
        (moved.name, moved.axis): moved.verdict == "holds" for moved in repaired.measurement.outputs
    }
    assert proven
    assert all(measured[key] for key, holds in proven.items() if holds)
    if not any(proven.values()):
        assert repaired.measurement.verdict != "holds"


def test_the_benchmark_of_the_zoo_fills_every_column():
    found = analyse_here("torchvision:resnet18")
    assert (found.status, found.circular, found.broken_by) == ("full", "32", "")
    assert analyse_here("timm:vit_tiny_patch16_224").broken_by.endswith("varies along the axis")
    assert found.interior
    assert found.local == "435/32"
