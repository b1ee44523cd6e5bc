"""The options of ``fieldwise tile`` that say how the work is cut into pieces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from fieldwise.cli.console import parse_size
from fieldwise.cli.options import whole
from fieldwise.errors import UsageError
from fieldwise.tile.choices import Cache, EngineName, GlobalOps, Runtime
from fieldwise.written import shown, whole_number


@dataclass(frozen=True, slots=True)
class PieceOptions:
    """How the work is cut into pieces."""

    engine: Annotated[
        EngineName | None,
        typer.Option(
            help="stream: band by band, each layer keeping the rows that the next band needs; "
            "halo: the model as it is on overlapping crops. By default stream, unless --memory is "
            "too little for it and crops cost less than strips."
        ),
    ] = None
    cache: Annotated[
        Cache | None,
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
            help="Samples from tile to tile of halo; by default about 512.",
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
        GlobalOps,
        typer.Option(
            help="Layers that need the whole input (global means, group norm, attention): refuse; "
            "go through the input once more for each in sequence, for what can be summed up "
            "(multipass); keep what they read beside OUT and run them once (materialise); or keep "
            "what costs less than computing it again (auto). By stream."
        ),
    ] = "refuse"

    runtime: Annotated[
        Runtime,
        typer.Option(
            help="What runs the crops of an .onnx file: torch, or a session of ONNX Runtime. By "
            "halo."
        ),
    ] = "torch"
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
        return self.engine == "halo" or self.cache == "none"

    def check(self) -> None:
        """Raise UsageError for options of the other engine."""
        halo = self.is_halo
        if self.engine == "halo" and self.cache not in (None, "none"):
            raise UsageError(f"--engine halo keeps nothing, unlike --cache {self.cache}; omit one.")
        if self.engine == "stream" and self.cache == "none":
            raise UsageError("--engine stream keeps rows, and --cache none nothing; omit one.")
        if self.runtime == "ort" and not halo:
            raise UsageError("--runtime ort runs crops; give --engine halo too.")
        if self.providers is not None and self.runtime != "ort":
            raise UsageError("--providers belongs to --runtime ort.")
        if halo and (self.band or self.axis or self.piece or self.strip):
            raise UsageError(
                "--band, --axis, --strip and --piece belong to --engine stream; give --tile."
            )
        if halo and self.global_ops != "refuse":
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
        shared: Cache = "none" if self.is_halo else "rows"
        return self if self.cache is not None else replace(self, cache=shared)

    def asked(self) -> dict[str, Any]:
        """What a job is asked for, by the names of ``Request``."""
        return {
            "engine": "halo" if self.is_halo else self.engine,
            "cache": self.cache,
            "band": self.band,
            "strip": self.strip,
            "piece": self.piece,
            "tile": self.side,
            "batch": self._batch(),
            "memory": None if self.automatic else parse_size(self.memory),
            "global_ops": self.global_ops,
            "runtime": self.runtime,
            "providers": tuple((self.providers or "").split(",")) if self.providers else (),
        }
