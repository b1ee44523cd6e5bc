"""Pictures of the pages that take too long to be drawn where they stand.

python docs/assets/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path

from fieldwise import effective_field, receptive_fields
from fieldwise.capture.specs import load_model
from fieldwise.capture.torch.private import seeded
from fieldwise.effective import EffectiveField
from fieldwise.field import FieldReport
from fieldwise.views.plot_canvas import save
from fieldwise.views.plot_effective import effective_figure

HERE = Path(__file__).parent
CHARTED = {
    "ResNet-50": ("torchvision:resnet50", "1x3x224x224"),
    "VGG16": ("torchvision:vgg16", "1x3x224x224"),
    "DenseNet-121": ("torchvision:densenet121", "1x3x224x224"),
    "Inception-v3": ("torchvision:inception_v3", "1x3x299x299"),
}
MEASURED = (
    "torchvision:resnet50",
    "torchvision:vgg16",
    "torchvision:densenet121",
    "timm:convnext_tiny",
    "timm:vit_small_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
)
IMAGES = 6


def report(spec: str, shape: str) -> FieldReport:
    """The fields of a network."""
    model = load_model(spec, shape, weights=False)
    return receptive_fields(model.source, model.example())


def measured(spec: str) -> EffectiveField:
    """The effective field of a network with fresh weights, on noise."""
    with seeded():
        model = load_model(spec, "1x3x224x224").module
    found = effective_field(model, (1, 3, 224, 224), noise=IMAGES)
    return EffectiveField(**{**vars(found), "model": spec})


def main() -> None:
    """Draw them."""
    first, *others = (report(*network) for network in CHARTED.values())
    save(first.chart(*others, names=tuple(CHARTED)), HERE / "chart.png")
    save(effective_figure(*map(measured, MEASURED)), HERE / "effective.png")


if __name__ == "__main__":
    main()
