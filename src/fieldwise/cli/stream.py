"""``fieldwise stream``: what a stream of live data takes, and the stream itself, handed on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.cli.answers import answer
from fieldwise.cli.console import AxisNames, note_files, show, show_lines
from fieldwise.cli.options import (
    ComputedOptions,
    Debug,
    Format,
    InputShape,
    ModelName,
    Overwrite,
    RandomWeights,
    Style,
    grouped,
    whole,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.cli.weights import check_weights
from fieldwise.errors import UsageError
from fieldwise.written import ratio, shown

if TYPE_CHECKING:
    from fieldwise.capture.specs import Model

REFUSED = 1


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """How the stream is written."""

    emit: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.onnx",
            help="Write the stream as programs that run without fieldwise: OUT is a step, beside "
            "it are OUT.start, OUT.finish and OUT.json; .onnx or .pt2.",
        ),
    ] = None
    chunk: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Input samples per step of --emit, a multiple of the grid; by default about 64.",
        ),
    ] = None
    rest: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(0), help="Samples after the last step of --emit."),
    ] = 0
    longest: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Samples of the longest stream of --emit, where a table gives the positions.",
        ),
    ] = None
    overwrite: Overwrite = False

    def check(self) -> None:
        """Raise UsageError for what belongs to --emit, and for a file of another kind."""
        if self.emit is None:
            if self.chunk is not None or self.rest or self.longest is not None or self.overwrite:
                raise UsageError(
                    "--chunk, --rest, --longest and --overwrite belong to --emit OUT.onnx."
                )
            return
        if self.emit.suffix not in (".onnx", ".pt2"):
            raise UsageError(
                f"--emit {shown(str(self.emit))} has no suffix of a file that a stream is written "
                "to; end it in .onnx or .pt2."
            )

    def check_nothing_is_there(self) -> None:
        """Raise UsageError where one of the files is there that the stream may be written to."""
        if self.emit is None or self.overwrite:
            return
        from fieldwise.tile.bands.emitted import files_of

        for path in files_of(self.emit):
            if path.exists():
                raise UsageError(
                    f"'{path}' is there already; name another file, or add --overwrite."
                )


@grouped
def stream(
    model: ModelName,
    shape: InputShape = None,
    axis: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="The axis of the input that goes on: D or T, H, W, or its number; by default the "
            "first spatial one.",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="44100",
            help="Input samples per second along the axis, also as 44100/512: adds milliseconds.",
        ),
    ] = None,
    random_weights: RandomWeights = False,
    style: Style = "table",
    debug: Debug = False,
    *,
    emission: EmitOptions,
    building: ComputedOptions,
) -> None:
    """What a stream of live data takes: look-ahead, latency, state and cost of every output.

    --emit writes the stream as programs that run without fieldwise, once they have been compared
    with the whole.  Exit code 1 where the model cannot be streamed along this axis, where its
    stream cannot be emitted, and where that comparison fails.
    """
    with reported(debug=debug):
        emission.check()
        per_second = None if rate is None else parse_rate(rate)
        with progress(f"building {model}"):
            loaded = building.placed(building.load(model, shape))
        emission.check_nothing_is_there()
        along = (
            None
            if axis is None
            else AxisNames.of_input(loaded.shapes[0], spatial=False).find("--axis", axis)
        )
        with progress(f"analysing {model}"):
            from fieldwise.tile import latency

            with building.computing():
                found = latency(loaded.module, loaded.example(), axis=along, rate=per_second)
        report = replace(found, model=loaded.name)
        if style == "json":
            answer(report.to_json())
        else:
            from fieldwise.views import latency as view

            show(view.render(report))
        if report.lengths == "refused":
            raise typer.Exit(REFUSED)
        if emission.emit is not None:
            check_weights(loaded, [emission.emit], allowed=random_weights)
            with building.computing():
                _emit(loaded, report.axis, emission, style)


def _emit(loaded: Model, axis: int, emission: EmitOptions, style: Format) -> None:
    from fieldwise.tile import MismatchError, StreamError, streamed

    assert emission.emit is not None
    try:
        with progress(f"emitting {loaded.name}"):
            run = streamed(loaded.module, loaded.example(), axis=axis)
            emitted = run.emit(chunk=emission.chunk, rest=emission.rest, longest=emission.longest)
            certificate = emitted.verify()
    except (StreamError, MismatchError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(REFUSED) from None
    if style == "table":
        show_lines(emitted)
        show_lines(certificate)
    with progress(f"writing {emission.emit}"):
        paths = emitted.save(emission.emit)
    note_files(paths, err=style == "json")


def parse_rate(text: str) -> Fraction:
    """Samples per second from a decimal number or a fraction.

    >>> parse_rate("44100/512"), parse_rate("16000")
    (Fraction(11025, 128), Fraction(16000, 1))
    """
    found = ratio(text)
    if found is None or found <= 0:
        raise UsageError(
            f"--rate {shown(text)} is no number of samples per second; write for example 44100."
        )
    return found
