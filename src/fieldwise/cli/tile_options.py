"""The options of ``fieldwise tile``, in groups that say which options fit together."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fieldwise.cli.options import ComputedOptions, RandomWeights, Type, whole
from fieldwise.errors import UsageError
from fieldwise.tile.choices import Compression
from fieldwise.written import ratio, shown, whole_number

if TYPE_CHECKING:
    from fieldwise.tile.ending import Ending


Normalization = Literal["model"]
"""Where mean and deviation come from."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What is checked in place of a run."""

    check_bioimageio: Annotated[
        Path | None,
        typer.Option(
            metavar="rdf.yaml",
            help="In place of IN and OUT: compare the halo and step that a bioimage.io model "
            "description declares with those that MODEL needs.",
        ),
    ] = None
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="In place of MODEL, IN and OUT: compare a result with what its journal says "
            "was written.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class ModelOptions(ComputedOptions):
    """How the model is built."""

    dtype: Annotated[
        Type | None,
        typer.Option(
            help="Cast the input to this, without scaling, and compute in it; by default the "
            "type of the weights."
        ),
    ] = None
    shape: Annotated[
        str | None,
        typer.Option("--input", metavar="SHAPE", help="A usual input shape, as 1x3x224x224."),
    ] = None


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How the input is read."""

    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            "--axes",
            metavar="CHW",
            help="What the axes of IN are: N batch, C channels, and T, D or Z, H or Y, W, X or L. "
            "A network of images takes times and planes one by one; small t and z say so.",
        ),
    ] = None
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="0,1,2",
            help="Which channels of IN are read, from 0 on and in this order; by default all.",
        ),
    ] = None
    level: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(0),
            help="Which level of IN is read, where it is an OME-Zarr image; by default 0, the "
            "largest.",
        ),
    ] = None
    scale: Annotated[
        str | None,
        typer.Option(metavar="1/255", help="Multiply the input by this after the cast."),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Subtracted from the channels then, or one for all."),
    ] = None
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="The channels are divided by this then.")
    ] = None
    normalize: Annotated[
        Normalization | None,
        typer.Option(
            help="Mean and deviation as the model's own config says (timm's, or of torchvision's "
            "weights); whole numbers are divided by the most that their type holds first."
        ),
    ] = None
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Compute only where this image of IN's size is not 0; pieces that lie wholly "
            "outside are skipped, and the result is --fill there.",
        ),
    ] = None
    nodata: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE|none",
            help="What stands for no data in IN: where all channels hold it, the result is "
            "--fill; by default what a GeoTIFF file says; none: nothing.",
        ),
    ] = None
    percentiles: Annotated[
        str | None,
        typer.Option(
            metavar="1,99.8",
            help="Take these percentiles of each channel of the whole input to 0 and 1, in place "
            "of --mean and --std.",
        ),
    ] = None


def parse_channels(text: str | None) -> tuple[int, ...]:
    """Numbers of channels; none where none were named.

    >>> parse_channels("0,1,2"), parse_channels(None)
    ((0, 1, 2), ())
    """
    if text is None:
        return ()
    found = [whole_number(one.strip()) for one in text.split(",")]
    numbers = tuple(one for one in found if one is not None and one >= 0)
    if len(numbers) < len(found):
        raise UsageError(f"--channels {shown(text)} is no list of channels; write 0,1,2.")
    return numbers


OutType = Literal["uint8", "int16", "int32", "float16", "float32", "float64"]
"""What results are written as."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What is written."""

    step: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="[NAME:]STEP",
            help="What is made of the output: argmax (over the channels), softmax, sigmoid, "
            "'sigmoid>0.5' (1 or 0), 'sigmoid*255'; of several outputs one by its name, logits or "
            "logits:argmax. By default every output as it is.",
        ),
    ] = None
    out_dtype: Annotated[
        OutType | None,
        typer.Option(
            help="Write this type. Whole numbers are rounded to the nearest, values beyond its "
            "range become the nearest that it has, and what is no number becomes 0."
        ),
    ] = None

    fill: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE",
            help="What stands in OUT where nothing is wanted, by --mask or --nodata; by default "
            "the value for no data, else 0.",
        ),
    ] = None
    compression: Annotated[
        Compression | None,
        typer.Option(
            help="Of the blocks of OUT: zstd, deflate, or lzw (TIFF alone). By default zarr is "
            "written in zstd, and TIFF in none."
        ),
    ] = None
    chunks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="The longest side of a zarr array's chunks, or of a TIFF file's tiles (a multiple "
            "of 16); by default 512 and 256.",
        ),
    ] = None

    def of_file(self) -> dict[str, Any]:
        """How the file is written, by the names of ``Request``."""
        return {
            "compression": self.compression,
            "chunks": self.chunks,
        }

    def ending(self) -> Ending:
        """What is done to the model's output."""
        from fieldwise.tile.ending import Ending

        return Ending.parse(self.step, self.out_dtype)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is done with the plan."""

    plan: Annotated[bool, typer.Option("--plan", help="Print the plan and end.")] = False
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where an interrupted run has stopped, if one has."),
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again, even if OUT exists.")
    ] = False
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="First compare pieces with the whole on a corner of IN that has seams.",
        ),
    ] = False
    pyramid: Annotated[
        bool,
        typer.Option(
            "--pyramid",
            help="Write smaller levels too, each half as wide and high: means of numbers, the "
            "nearest of integers. OUT is named .ome.zarr.",
        ),
    ] = False
    cluster: Annotated[
        str | None,
        typer.Option(
            "--dask",
            metavar="ADDRESS",
            help="Compute on the workers of this dask scheduler; IN and OUT must lie on a file "
            "system that all machines see under the same names.",
        ),
    ] = None

    devices: Annotated[
        str | None,
        typer.Option(
            metavar="cuda:0,cuda:1",
            help="Compute on several devices of this machine, each in a process of its own; "
            "cpu,cpu: in two processes. OUT is a .zarr.",
        ),
    ] = None

    random_weights: RandomWeights = False

    @property
    def is_shared(self) -> bool:
        """Whether pieces are shared out to other processes."""
        return self.devices is not None or self.cluster is not None

    def check(self) -> None:
        """Raise UsageError for options that contradict each other."""
        if self.devices is not None and self.cluster is not None:
            raise UsageError("--devices are of this machine, --dask of a cluster; give one.")
        if self.resume and self.overwrite:
            raise UsageError("--resume keeps what is done and --overwrite drops it; give one.")


def parse_scale(text: str) -> float:
    """A factor from a decimal number or a fraction.

    >>> parse_scale("1/4"), parse_scale("0.5")
    (0.25, 0.5)
    """
    number = ratio(text)
    if number is None or not number or not _LEAST <= abs(number) <= _MOST:
        raise UsageError(
            f"--scale {shown(text)} is no number, or 0, or beyond 1e-30 to 1e30; write for example "
            "1/255."
        )
    return float(number)


_LEAST, _MOST = Fraction(1, 10**30), Fraction(10**30)
