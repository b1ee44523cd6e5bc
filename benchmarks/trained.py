"""Networks that someone else trained: the seams of their own tiling, and ours beside them.

    python benchmarks/trained.py

Everything is in float64 and compared with the whole image at once.  deepCR, platelet-unet-watershed
and facenet-pytorch come with the extra `zoo`; topaz-em (GPL-3) is no dependency, and takes part
where it is installed.  Writes docs/trained.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn
from trained_networks import (
    deepcr,
    deepcr_patches,
    platelet_chunks,
    platelet_volume,
    platelets,
    pnet,
    sky,
    weights,
)

from fieldwise.tile import streamed, tiled

DOCS = Path(__file__).parents[1] / "docs"
OFF = 1e-9


@dataclass(frozen=True, slots=True)
class Subject:
    """A network on an image.

    own:   how its package tiles, and with what result; None: it does not
    given: what the network itself gets; by default the image
    small: an example for the capture; axis, band, tile: of ours
    """

    name: str
    model: nn.Module
    given: Tensor
    own: tuple[str, Tensor] | None
    axis: int
    band: int
    tile: int


def subjects() -> Iterator[Subject]:
    """Those that are installed."""
    for make in (_deepcr, _platelets, _pnet, _topaz):
        try:
            yield make()
        except (LookupError, ImportError) as missing:
            print(f"left out: {missing}", file=sys.stderr)


def _deepcr() -> Subject:
    model, x = deepcr(), sky(600, 560)
    own = "patches of 256 side by side", deepcr_patches(model, x, 256)
    return Subject("deepCR, cosmic rays in ACS-WFC", model, x, own, 2, 32, 128)


def _platelets() -> Subject:
    model, x = platelets(), platelet_volume(192, 64)
    own = "chunks of 4 × 64 × 64, margin 0", platelet_chunks(model, x, (4, 64, 64))
    return Subject("platelet-unet-watershed, affinities in 3-D", model, x, own, 3, 32, 64)


def _pnet() -> Subject:
    x = torch.rand(1, 3, 241, 319, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    return Subject("facenet-pytorch, P-Net", pnet(), x, None, 2, 16, 64)


def _topaz() -> Subject:
    """Its command denoises in patches of 1024 with 500 pixels around, each normalised by itself."""
    state = weights("topaz", "topaz-em", "pretrained/denoise/unet_L2_v0.2.2.sav")
    from topaz.denoise import Denoise
    from topaz.denoising.models import UDenoiseNet

    model = UDenoiseNet(base_width=11, top_width=5)
    model.load_state_dict(state)
    denoise = Denoise.__new__(Denoise)  # it would load the weights with what setuptools dropped
    denoise.model, denoise.device, denoise.dims = model.double().eval(), torch.device("cpu"), 2
    image = sky(2048, 192)[0, 0]
    own = torch.from_numpy(denoise.denoise(image, patch_size=1024, padding=500))
    mean, deviation = image.mean(), image.std()
    x = ((image - mean) / deviation)[None, None]
    result = ((own - mean) / deviation)[None, None]
    way = "patches of 1024, padding 500, each normalised by itself"
    return Subject("topaz-em, U-Net that denoises micrographs", model, x, (way, result),
                   2, 64, 512)  # fmt: skip


def row(subject: Subject) -> str:
    """A line of the table."""
    x, model = subject.given, subject.model
    whole = _first(model(x))
    example = x.narrow(subject.axis, 0, 32) if subject.axis == 2 else x.narrow(3, 0, 32)
    stream = streamed(model, example, axis=subject.axis, band=subject.band)
    halo = tiled(model, example, tile=subject.tile, axes=[subject.axis])
    way, error, off = "does not tile", "–", "–"
    if subject.own is not None:
        way, result = subject.own
        error = f"{_error(result, whole):.1e}"
        off = f"{((result - whole).abs() > OFF * whole.std()).double().mean().item():.1%}"
    ours = (f"{_error(_first(run(x)), whole):.1e}" for run in (stream, halo))
    return f"| {subject.name} | {way} | {error} | {off} | {' | '.join(ours)} |"


def _first(found: Tensor | Sequence[Tensor]) -> Tensor:
    return found if isinstance(found, Tensor) else found[0]


def _error(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).abs().max() / wanted.std()).item()


def main() -> int:
    """Measure, print and write the table."""
    torch.set_num_threads(2)
    lines = []
    with torch.no_grad():
        for subject in subjects():
            lines.append(row(subject))
            print(lines[-1], flush=True)
    (DOCS / "trained.md").write_text(markdown(lines), encoding="utf-8")
    return 0


def markdown(lines: Sequence[str]) -> str:
    """The page."""
    packages = ("torch", "deepCR", "platelet-unet-watershed", "facenet-pytorch", "topaz-em")
    head = [
        "# Trained networks, tiled",
        "",
        f"`python benchmarks/trained.py` on {date.today()}: "
        f"{', '.join(found for name in packages if (found := _version(name)))}.",
        "",
        "Weights that others trained, float64. Errors: the largest difference from the whole image "
        "at once, in standard deviations of its output; *off*: the share of outputs that differ "
        f"by more than {OFF:g} of them. Images are drawn; on real ones seams are of another size "
        "and in the same places.",
        "",
        "| network | its package's own tiling | error | off | streamed | tiled |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *lines, ""])


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
