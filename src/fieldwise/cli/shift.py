"""``fieldwise shift``: prove, measure and repair translation equivariance."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fieldwise.cli.console import Debug, ModelName, show
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from fieldwise.shift.measurement import Measurement
    from fieldwise.shift.repair import Repaired

NOT_REPAIRED = 1


class Format(StrEnum):
    """How a report is written."""

    table = "table"
    json = "json"


class Padding(StrEnum):
    """What stands beyond the border."""

    as_is = "as-is"
    circular = "circular"


class Repair(StrEnum):
    """How strides and borders are mended."""

    circular = "circular"
    antialias = "antialias"
    polyphase = "polyphase"


def shift(
    model: ModelName,
    shape: Annotated[
        str | None,
        typer.Option("--input", metavar="SHAPE", help="Input shape, as 1x3x224x224."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Also layers whose name matches; may be repeated."),
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="H", help="Only this axis: D, H, W or its number; may be repeated."),
    ] = None,
    padding: Annotated[
        Padding, typer.Option(help="Judge the model as it is, or with periodic boundaries.")
    ] = Padding.as_is,
    measured: Annotated[
        bool,
        typer.Option("--measure", help="Also measure, in float64, on generic weights."),
    ] = False,
    repair: Annotated[
        Repair | None,
        typer.Option(help="Repair a copy, and judge that instead."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Write OUT.safetensors and OUT.pt2."),
    ] = None,
    style: Annotated[
        Format, typer.Option("--format", help="How to write the report.")
    ] = Format.table,
    debug: Debug = False,
) -> None:
    """What a shift of the input does to the outputs: proven, and what breaks it.

    'circular' is the shift with periodic boundaries, 'interior' the outputs that no padding and no
    edge can reach.  A repaired copy is measured before it is written; exit code 1 where the repair
    did not succeed.
    """
    with reported(debug=debug):
        if out is not None and repair is None:
            raise UsageError("-o writes a repaired model; say how with --repair.")
        with progress(f"building {model}"):
            from fieldwise.capture import load_model

            loaded = load_model(model, shape).runnable()
        example = loaded.example()
        assert example is not None
        axes = _axes(axis, loaded.shapes[0])
        source, repaired = _prepared(loaded.source, example, padding, repair, axes)
        with progress(f"proving {model}"):
            from fieldwise.shift import certify

            certificates = certify(source, example, axes=axes)
            layers = certificates.select(layer) if layer else ()
        measurement = None
        if measured:
            with progress(f"measuring {model}"):
                from fieldwise.shift.measurement import measure

                measurement = measure(source, example, axis=axes, layers=layer or ())
        _write(
            (certificates.outputs, layers), loaded.name, loaded.shapes[0], measurement, repaired,
            style,
        )  # fmt: skip
        if repaired is not None and not repaired.done:
            raise typer.Exit(NOT_REPAIRED)
        if out is not None:
            _save(source, example, out)


def _axes(names: Sequence[str] | None, shape: Sequence[int]) -> tuple[int, ...] | None:
    if not names:
        return None
    rank = len(shape)
    known = {"W": rank - 1, "H": rank - 2, "D": rank - 3}
    axes = {name: axis for name, axis in known.items() if axis >= 2}
    axes |= {str(axis): axis for axis in range(rank)}
    for name in names:
        if name.upper() not in axes:
            raise UsageError(
                f"--axis {name!r} is not an axis of an input of rank {rank}; "
                f"write one of {', '.join(axes)}."
            )
    return tuple(sorted({axes[name.upper()] for name in names}))


def _prepared(
    model: Any,
    example: Any,
    padding: Padding,
    repair: Repair | None,
    axes: tuple[int, ...] | None,
) -> tuple[Any, Repaired | None]:
    """The model that is judged, and the repair that it comes from."""
    if repair is None:
        return (model if padding is Padding.as_is else _periodic(model, example, axes)), None
    from fieldwise.shift import repair as repairs

    with progress(f"repairing: {repair}"):
        if repair is Repair.circular:
            repaired = repairs.circular(model, example, axes=axes)
        elif repair is Repair.antialias:
            subject = model if padding is Padding.as_is else _periodic(model, example, axes)
            repaired = repairs.antialias(subject, example)
        else:
            repaired = repairs.polyphase(model, example)
    return repaired.model, repaired


def _periodic(model: Any, example: Any, axes: tuple[int, ...] | None) -> Any:
    from fieldwise.shift.repair import circular

    with progress("making the boundaries periodic"):
        return circular(model, example, axes=axes).model


def _write(
    certificates: tuple[Any, Any],
    model: str,
    shape: Sequence[int],
    measurement: Measurement | None,
    repaired: Repaired | None,
    style: Format,
) -> None:
    if style is Format.json:
        from fieldwise.views import shift_json

        typer.echo(
            shift_json.render(
                *certificates, model=model, shape=shape, measurement=measurement, repaired=repaired
            )
        )
        return
    from fieldwise.views import shift_table

    show(
        shift_table.render(
            *certificates, model=model, rank=len(shape), measurement=measurement, repaired=repaired
        )
    )


def _save(model: Any, example: Any, out: Path) -> None:
    from fieldwise.fold.save import save

    with progress(f"writing {out}"):
        save(model, example, out)
