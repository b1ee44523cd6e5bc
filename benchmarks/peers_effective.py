"""How much each sample matters to the middle position of a layer; see peers.py.

The question is openerf's: the mean over channels at the middle of a map, its gradient averaged over
the colours, what is positive of it, averaged over images, over its sum.  Truth is that definition
written out in float64.  Two images of noise, weights drawn so that nothing is constant.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fold_subjects import randomise
from peers_frame import SILENTLY_WRONG, Capability, Run, Tool
from torch import Tensor, nn

IMAGES = 2
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an architecture of timm."""

    architecture: str
    layer: str

    def made(self) -> nn.Module:
        """The network in eval mode, the same one in every process."""
        import timm

        torch.manual_seed(0)
        return randomise(timm.create_model(self.architecture)).eval()


@contextmanager
def pictures() -> Iterator[Path]:
    """A folder with pictures of noise."""
    from PIL import Image

    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(IMAGES):
            pixels = draw.integers(0, 256, (256, 256, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path(folder, f"{number}.png"))
        yield Path(folder)


def inputs(model: nn.Module) -> list[Tensor]:
    """The pictures as timm's evaluation gives them to a model, which is what openerf takes."""
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config

    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    with pictures() as folder:
        return [transform(Image.open(path))[None] for path in sorted(folder.iterdir())]


def middle(layer: Layer) -> tuple[int, ...]:
    """The position (h // 2, w // 2) of the layer's map."""
    model, shapes = layer.made(), []
    module = model.get_submodule(layer.layer)
    module.register_forward_hook(lambda _module, _given, out: shapes.append(out.shape))
    with torch.no_grad():
        model(inputs(model)[0])
    return tuple(size // 2 for size in shapes[0][2:])


def by_fieldwise(layer: Layer) -> Run:
    """``effective_field`` by openerf's protocol."""
    from fieldwise import effective_field

    model, unit = layer.made(), middle(layer)
    images = [one.numpy() for one in inputs(model)]

    def run() -> np.ndarray:
        found = effective_field(
            model, tuple(images[0].shape), images=images, layer=layer.layer, unit=unit,
            protocol="openerf",
        )  # fmt: skip
        return found.map / found.map.sum()

    return run


def by_openerf(layer: Layer) -> Run:
    """``compute_erf`` on a folder."""
    from openerf import erf

    model = layer.made()

    def run() -> np.ndarray:
        with pictures() as folder:
            found = erf.compute_erf(model, folder, target_layer=layer.layer, show_progress=False)
        return found.erf_map

    return run


def judge(layer: Layer, found: np.ndarray) -> tuple[str, str]:
    """Held against the definition, in float64."""
    model, unit, kept = layer.made().double(), middle(layer), []
    model.get_submodule(layer.layer).register_forward_hook(lambda _m, _g, out: kept.append(out))
    total = torch.zeros(found.shape, dtype=torch.float64)
    for picture in inputs(model):
        x = picture.double().requires_grad_()
        model(x)
        [gradient] = torch.autograd.grad(kept[-1][(0, slice(None), *unit)].mean(), x)
        total += gradient[0].mean(0).clamp(min=0)
    truth = (total / total.sum()).numpy()
    error = float(np.abs(found - truth).max() / truth.max())
    return ("right" if error <= TOLERANCE else SILENTLY_WRONG), f"by {error:.0e}"


CAPABILITY = Capability(
    module="peers_effective",
    subjects={
        f"{one.architecture}, {one.layer}": one
        for one in (
            Layer("resnet18", "layer3"),
            Layer("convnext_atto", "stages.2"),
            Layer("efficientnet_b0", "blocks.3"),
        )
    },
    tools={
        "fieldwise": Tool(by_fieldwise, ("fieldwise",)),
        "openerf": Tool(by_openerf, ("openerf",)),
    },
    judge=judge,
    base=by_fieldwise,
)
