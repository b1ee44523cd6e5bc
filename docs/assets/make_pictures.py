"""Pictures of the pages that take too long to be drawn where they stand, for light and dark pages.

python docs/assets/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.spines import Spine
from matplotlib.text import Text

from fieldwise import effective_field, receptive_fields
from fieldwise.capture.specs import load_model
from fieldwise.capture.torch.private import seeded
from fieldwise.effective import EffectiveField
from fieldwise.field import FieldReport
from fieldwise.views.plot_canvas import DPI, save
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
GROUND, INK = "#1e2129", "#e6e8ee"


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


def darken(figure: Figure) -> None:
    """Turn ground and ink around: what is written and what frames it become light."""
    figure.set_facecolor(GROUND)
    for axes in figure.axes:
        axes.set_facecolor(GROUND)
        axes.tick_params(colors=INK)
    for text in figure.findobj(Text):
        text.set_color(INK)
    for spine in figure.findobj(Spine):
        spine.set_edgecolor(INK)
    for legend in figure.findobj(Legend):
        legend.get_frame().set_facecolor(GROUND)


def save_both(figure: Figure, name: str) -> None:
    """The picture as it is, and dark beside it."""
    save(figure, HERE / f"{name}.png")
    darken(figure)
    figure.savefig(HERE / f"{name}-dark.png", facecolor=GROUND, dpi=DPI)


def main() -> None:
    """Draw them."""
    first, *others = (report(*network) for network in CHARTED.values())
    save_both(first.chart(*others, names=tuple(CHARTED)), "chart")
    save_both(effective_figure(*map(measured, MEASURED)), "effective")


if __name__ == "__main__":
    main()
