"""Whether tiles give what the whole image gives; see peers.py.

Tools run at their own defaults with a window that users give, and once more with what a plan of
fieldwise hands over.  Truth is the network on the whole image, in float64; the difference is in
standard deviations of that.  Time is over that of the whole image.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peers_frame import SILENTLY_WRONG, Capability, NoAnswerError, Run, Tool
from peers_networks import UNet
from tile import UNet as DeepUNet
from tile_tools import by_dask, by_monai, by_patchly, by_torchio
from torch import Tensor, nn

RIGHT = 1e-5


@dataclass(frozen=True, slots=True)
class Image:
    """A network, the size of its input, and the tile that is asked for."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    tile: int

    def made(self) -> nn.Module:
        """In eval mode and float64, with the gain that keeps deep levels alive."""
        torch.manual_seed(0)
        model = self.build()
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        return model.eval().double().requires_grad_(requires_grad=False)

    def image(self) -> Tensor:
        """Noise, the same in every process."""
        return torch.randn(
            self.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )


@dataclass(frozen=True, slots=True)
class Tiled:
    """A result, and what was said of its exactness before it ran."""

    output: Tensor
    said: str = ""


# ------------------------------------------------------------------------------ the tools


def by_whole(image: Image) -> Run:
    """The network on the whole image."""
    model, x = image.made(), image.image()
    return lambda: Tiled(model(x))


def by_fieldwise(image: Image) -> Run:
    """Crops with an exact halo."""
    from fieldwise.tile import tiled

    model, x = image.made(), image.image()
    return lambda: Tiled(tiled(model, x, tile=image.tile)(x))


def by_streamed(image: Image) -> Run:
    """Bands that keep rows for each other; layers that read the whole axis by several passes."""
    from fieldwise.tile import streamed

    model, x = image.made(), image.image()
    return lambda: Tiled(streamed(model, x, band=image.tile, global_ops="multipass")(x))


def of_defaults(by: Callable[..., Tensor], **settings: Any) -> Callable[[Image], Run]:
    """A tool with the window that was asked for, and its own defaults."""

    def prepare(image: Image) -> Run:
        model, x = image.made(), image.image()
        given = {
            name: value(image.tile) if callable(value) else value
            for name, value in settings.items()
        }
        return lambda: Tiled(by(model, x, **given))

    return prepare


def of_plan(by: Callable[..., Tensor], adapter: str) -> Callable[[Image], Run]:
    """A tool with the settings that a plan names for it, and what the plan says of them."""

    def prepare(image: Image) -> Run:
        from fieldwise.tile import plan_tiles

        model, x = image.made(), image.image()

        def run() -> Tiled:
            settings = getattr(plan_tiles(model, x, tile=image.tile), adapter)()
            return Tiled(by(model, x, **settings.settings), "; ".join(settings.why))

        return run

    return prepare


def by_diffusers(image: Image) -> Run:
    """The tiling of an autoencoder's decoder, where the network is one, at its defaults."""
    model, x = image.made(), image.image()
    if not isinstance(model, Decoder):
        raise NoAnswerError("it tiles its own autoencoders alone")
    model.vae.enable_tiling()
    documented = re.sub(r"\s+", " ", type(model.vae).tiled_decode.__doc__ or "")
    said = re.search(r"[^.]*different from[^.]*\.", documented)
    said = said or re.search(r"[^.]*different from[^.]*\.", type(model.vae)._tiled_encode.__doc__)
    return lambda: Tiled(model(x), " ".join(said[0].split()) if said else "")


# ------------------------------------------------------------------------------ the networks


class Decoder(nn.Module):
    """The decoder of a small autoencoder of diffusers, with its group norms."""

    def __init__(self) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.vae = AutoencoderKL(
            block_out_channels=(16, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            sample_size=64,
            mid_block_add_attention=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4, H, W) to (N, 3, 2 H, 2 W)."""
        return self.vae.decode(x, return_dict=False)[0]


def normed() -> nn.Module:
    """Convolutions with an instance norm between them."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.InstanceNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 2, 3, padding=1),
    )


def dilated() -> nn.Module:
    """Dilated convolutions in a row."""
    rates = (1, 2, 4, 8)
    layers = [nn.Conv2d(8 if n else 3, 8, 3, padding=d, dilation=d) for n, d in enumerate(rates)]
    return nn.Sequential(*(one for layer in layers for one in (layer, nn.ReLU())))


# ------------------------------------------------------------------------------ the judgement


def judge(image: Image, found: Tiled) -> tuple[str, str]:
    """The largest difference; samples that are NaN are counted apart."""
    whole = image.made()(image.image())
    if found.output.shape != whole.shape:
        return SILENTLY_WRONG, f"of shape {tuple(found.output.shape)}, not {tuple(whole.shape)}"
    there = found.output.isfinite()
    missing = 1 - float(there.double().mean())
    error = float((found.output - whole)[there].abs().max() / whole.std()) if missing < 1 else 0.0
    if not missing and error <= RIGHT:
        return "right", ""
    if error <= RIGHT:
        return ("right but the border" if found.said else SILENTLY_WRONG), f"{missing:.0%} NaN"
    return ("differs, as said" if found.said else SILENTLY_WRONG), f"by {error:.1g} σ"


def _square(tile: int) -> tuple[int, int]:
    return (tile, tile)


MONAI = partial(by_monai, sw_batch_size=1)
CAPABILITY = Capability(
    module="peers_tiles",
    subjects={
        "U-Net, one pool": Image(lambda: UNet(bilinear=False), (1, 3, 192, 256), 64),
        "U-Net, bilinear": Image(lambda: UNet(bilinear=True), (1, 3, 192, 256), 64),
        "U-Net, four pools": Image(lambda: DeepUNet(width=4), (1, 3, 512, 512), 128),
        "dilated convolutions": Image(dilated, (1, 3, 192, 256), 64),
        "with instance norm": Image(normed, (1, 3, 192, 256), 64),
        "VAE decoder": Image(Decoder, (1, 4, 64, 96), 32),
    },
    tools={
        "fieldwise, tiles": Tool(by_fieldwise, ("fieldwise",)),
        "fieldwise, bands": Tool(by_streamed, ("fieldwise",)),
        "MONAI": Tool(of_defaults(MONAI, roi_size=_square), ("monai",)),
        "MONAI, Gaussian, overlap ½": Tool(
            of_defaults(MONAI, roi_size=_square, overlap=0.5, mode="gaussian"), ("monai",)
        ),
        "MONAI, as planned": Tool(of_plan(by_monai, "as_monai"), ("monai",)),
        "TorchIO": Tool(of_defaults(by_torchio, patch_size=lambda t: (t, t, 1)), ("torchio",)),
        "TorchIO, as planned": Tool(of_plan(by_torchio, "as_torchio"), ("torchio",)),
        "patchly": Tool(of_defaults(by_patchly, patch_size=int, step_size=None), ("patchly",)),
        "Dask, as planned": Tool(of_plan(by_dask, "as_dask"), ("dask",)),
        "diffusers": Tool(by_diffusers, ("diffusers",)),
    },
    judge=judge,
    base=by_whole,
    base_name="the whole image",
)
