"""The options of ``fieldwise tile``, in groups that say which options fit together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldwise.cli.console import parse_size
from fieldwise.cli.options import ComputedOptions, RandomWeights, Type, whole
from fieldwise.errors import UsageError
from fieldwise.written import ratio, shown, whole_number

if TYPE_CHECKING:
    from fieldwise.tile.ending import Ending


class EngineChoice(StrEnum):
    """How pieces are computed."""

    stream = "stream"
    halo = "halo"


class CacheChoice(StrEnum):
    """What is kept instead of computed twice."""

    none = "none"
    rows = "rows"
    both = "both"


class RuntimeChoice(StrEnum):
    """What runs crops."""

    torch = "torch"
    ort = "ort"


class GlobalOpsChoice(StrEnum):
    """What is done with layers that need the whole input."""

    refuse = "refuse"
    multipass = "multipass"
    materialise = "materialise"
    auto = "auto"


class NormalizeChoice(StrEnum):
    """Where mean and deviation come from."""

    model = "model"


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
        NormalizeChoice | None,
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


class CompressionChoice(StrEnum):
    """By what results are compressed."""

    zstd = "zstd"
    deflate = "deflate"
    lzw = "lzw"
    none = "none"


class OutType(StrEnum):
    """What results are written as."""

    uint8 = "uint8"
    int16 = "int16"
    int32 = "int32"
    float16 = "float16"
    float32 = "float32"
    float64 = "float64"


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
        CompressionChoice | None,
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
            "compression": self.compression and self.compression.value,
            "chunks": self.chunks,
        }

    def ending(self) -> Ending:
        """What is done to the model's output."""
        from fieldwise.tile.ending import Ending

        return Ending.parse(self.step, self.out_dtype and self.out_dtype.value)


@dataclass(frozen=True, slots=True)
class PieceOptions:
    """How the work is cut into pieces."""

    engine: Annotated[
        EngineChoice | None,
        typer.Option(
            help="stream: band by band, each layer keeping the rows that the next band needs; "
            "halo: the model as it is on overlapping crops. By default stream, unless --memory is "
            "too little for it and crops cost less than strips."
        ),
    ] = None
    cache: Annotated[
        CacheChoice | None,
        typer.Option(
            help="What is kept instead of computed twice: none (halo); rows, from band to band; or "
            "both rows and, from strip to strip, columns in files beside OUT. By default rows, or "
            "what costs least where --memory is too little for bands as wide as IN."
        ),
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="2GiB",
            help="At most this much for rows and weights; auto: what is free where the model runs, "
            "and less where that turns out too much. Where the plan takes most of it, freed "
            "memory is given back at once, which costs time.",
        ),
    ] = None
    axis: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="The axis that bands follow: a letter of --layout, or its number in the model's "
            "input; by default the first spatial one that takes little memory.",
        ),
    ] = None
    band: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Input rows per step of stream; by default 64, or more of a long input whose rows "
            "are small.",
        ),
    ] = None
    strip: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Samples of the longest other axis per strip of stream, so that memory does not "
            "grow with it; by default one strip, or what fits --memory.",
        ),
    ] = None
    piece: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Input rows per piece of stream, at least: fewer, and a crash costs less, but "
            "more is computed twice.",
        ),
    ] = None
    side: Annotated[
        int | None,
        typer.Option(
            "--tile",
            metavar="N",
            parser=whole(1),
            help="Samples from tile to tile of halo; by default 512.",
        ),
    ] = None
    batch: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Crops of one shape that one call of halo computes, at most; auto: as many as the "
            "card holds, one on the processor.",
        ),
    ] = "auto"
    global_ops: Annotated[
        GlobalOpsChoice,
        typer.Option(
            help="Layers that need the whole input (global means, group norm, attention): refuse; "
            "go through the input once more for each in sequence, for what can be summed up "
            "(multipass); keep what they read beside OUT and run them once (materialise); or keep "
            "what costs less than computing it again (auto). By stream."
        ),
    ] = GlobalOpsChoice.refuse

    runtime: Annotated[
        RuntimeChoice,
        typer.Option(
            help="What runs the crops of an .onnx file: torch, or a session of ONNX Runtime. By "
            "halo."
        ),
    ] = RuntimeChoice.torch
    providers: Annotated[
        str | None,
        typer.Option(
            metavar="CUDAExecutionProvider,...",
            help="Of ONNX Runtime, in order; by default its CPU.",
        ),
    ] = None

    @property
    def automatic(self) -> bool:
        """Whether the memory is what is free."""
        return self.memory == "auto"

    @property
    def is_halo(self) -> bool:
        """Whether crops are asked for."""
        return self.engine is EngineChoice.halo or self.cache is CacheChoice.none

    def check(self) -> None:
        """Raise UsageError for options of the other engine."""
        halo = self.is_halo
        if self.engine is EngineChoice.halo and self.cache not in (None, CacheChoice.none):
            raise UsageError(f"--engine halo keeps nothing, unlike --cache {self.cache}; omit one.")
        if self.engine is EngineChoice.stream and self.cache is CacheChoice.none:
            raise UsageError("--engine stream keeps rows, and --cache none nothing; omit one.")
        if self.runtime is RuntimeChoice.ort and not halo:
            raise UsageError("--runtime ort runs crops; give --engine halo too.")
        if self.providers is not None and self.runtime is not RuntimeChoice.ort:
            raise UsageError("--providers belongs to --runtime ort.")
        if halo and (self.band or self.axis or self.piece or self.strip):
            raise UsageError(
                "--band, --axis, --strip and --piece belong to --engine stream; give --tile."
            )
        if halo and self.global_ops is not GlobalOpsChoice.refuse:
            raise UsageError(f"--global-ops {self.global_ops} belongs to --engine stream.")
        if not halo and (self.side or self.batch != "auto"):
            raise UsageError("--tile and --batch belong to --engine halo; give --band.")
        self._batch()

    def _batch(self) -> int | str:
        """Crops per call.  Raises UsageError for what is no number of them."""
        number = whole_number(self.batch)
        if self.batch == "auto":
            return self.batch
        if number is None or number < 1:
            raise UsageError(f"--batch {shown(self.batch)} is no number of crops; give 8, or auto.")
        return number

    def for_workers(self) -> PieceOptions:
        """The same in pieces that can be shared out, unless others are asked for."""
        shared = CacheChoice.none if self.is_halo else CacheChoice.rows
        return self if self.cache is not None else replace(self, cache=shared)

    def asked(self) -> dict[str, Any]:
        """What a job is asked for, by the names of ``Request``."""
        return {
            "engine": "halo" if self.is_halo else self.engine and self.engine.value,
            "cache": self.cache and self.cache.value,
            "band": self.band,
            "strip": self.strip,
            "piece": self.piece,
            "tile": self.side,
            "batch": self._batch(),
            "memory": None if self.automatic else parse_size(self.memory),
            "global_ops": self.global_ops.value,
            "runtime": self.runtime.value,
            "providers": tuple((self.providers or "").split(",")) if self.providers else (),
        }


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
