"""``fieldwise stream``: what a stream of live data takes, and what is in the way of one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Annotated

import typer

from fieldwise.cli.console import AxisNames, parse_size, show
from fieldwise.cli.options import Debug, Format, InputShape, MaxConstant, ModelName, Style
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.errors import UsageError
from fieldwise.written import ratio, shown

REFUSED = 1


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
    style: Style = Format.table,
    max_constant: MaxConstant = None,
    debug: Debug = False,
) -> None:
    """What a stream of live data takes: look-ahead, latency, state and cost of every output.

    Exit code 1 where the model cannot be streamed along this axis; the report says what is in the
    way.
    """
    with reported(debug=debug):
        per_second = None if rate is None else parse_rate(rate)
        with progress(f"building {model}"):
            from fieldwise.capture import load_model

            loaded = load_model(model, shape, max_constant=parse_size(max_constant)).runnable()
        along = (
            None
            if axis is None
            else AxisNames.of_input(loaded.shapes[0], spatial=False).find("--axis", axis)
        )
        with progress(f"analysing {model}"):
            from fieldwise.tile import latency

            found = latency(loaded.module, loaded.example(), axis=along, rate=per_second)
        report = replace(found, model=loaded.name)
        if style is Format.json:
            typer.echo(report.to_json())
        else:
            from fieldwise.views import latency as view

            show(view.render(report))
        if report.lengths == "refused":
            raise typer.Exit(REFUSED)


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
