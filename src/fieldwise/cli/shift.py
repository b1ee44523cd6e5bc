"""``fieldwise shift``: prove, measure and repair translation equivariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fieldwise.cli.console import AxisNames, note_saved, show, show_json
from fieldwise.cli.options import (
    AxesOption,
    Debug,
    Format,
    InputShape,
    Layers,
    ModelName,
    OutOptions,
    PlacedOptions,
    RandomWeights,
    Style,
    grouped,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.cli.weights import check_weights
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from fieldwise.capture import Model
    from fieldwise.shift import Certificate, Certificates
    from fieldwise.shift.measurement.equivariance import Measurement
    from fieldwise.shift.repair import Repaired
    from fieldwise.shift.repair.periodic import Valid

FAILED = 1


Padding = Literal["as-is", "circular"]
"""What stands beyond the border."""

Repair = Literal["circular", "antialias", "polyphase"]
"""How strides and borders are repaired."""


@grouped
def shift(
    written: OutOptions,
    model: ModelName,
    shape: InputShape = None,
    layer: Layers = None,
    axes: AxesOption = None,
    wrt: Annotated[
        str | None,
        typer.Option(metavar="INPUT", help="Of several inputs, the one that is shifted."),
    ] = None,
    padding: Annotated[
        Padding, typer.Option(help="Judge the model as it is, or with periodic boundaries.")
    ] = "as-is",
    measured: Annotated[
        bool,
        typer.Option("--measure", help="Also measure, in float64, on generic weights."),
    ] = False,
    repair: Annotated[
        Repair | None,
        typer.Option(help="Repair a copy, and judge that instead."),
    ] = None,
    wrap_valid: Annotated[
        bool,
        typer.Option("--wrap-valid", help="With periodic boundaries, windows without padding too."),
    ] = False,
    random_weights: RandomWeights = False,
    style: Style = "table",
    debug: Debug = False,
    *,
    building: PlacedOptions,
) -> None:
    """What a shift of the input does to the outputs: proven, and what breaks it.

    'circular' is the shift with periodic boundaries, 'interior' the outputs that no padding and no
    edge can reach, 'carried' the positions whose value, after a shift by one period, appears at
    another interior position.
    Of several inputs one is shifted, by default the first; a measurement shifts all of its rank.

    A repaired copy is measured before it is written.  Exit code 1 where the repair did not succeed,
    and where a measurement contradicts the proof.
    """
    with reported(debug=debug):
        out = written.out
        _check(padding, repair, out, wrap_valid=wrap_valid)
        written.check()
        with progress(f"building {model}"):
            loaded = building.placed(building.load(model, shape))
        if out is not None:
            check_weights(loaded, [out], allowed=random_weights)
        example = loaded.example()
        assert example is not None
        shifted = _shifted_shape(loaded, example, wrt)
        chosen = AxisNames.of_input(shifted, spatial=not loaded.is_onnx).find_all(axes)
        how = _Periodic(chosen, "wrap" if wrap_valid else "keep")
        source, repaired = _prepared(loaded.source, example, padding, repair, how)
        with progress(f"proving {model}"):
            from fieldwise.shift import certify

            certificates = certify(source, example, wrt=wrt, axes=chosen)
        alone = len(loaded.shapes) == 1
        report = _Report(
            loaded.name,
            certificates,
            layers=certificates.select(layer) if layer else (),
            measurement=(
                _measured(source, example, certificates, layer, alone=alone) if measured else None
            ),
            repaired=repaired,
            alone=alone,
        )
        _write(report, style)
        if report.disagreements or (repaired is not None and not repaired.done):
            raise typer.Exit(FAILED)
        if out is not None:
            from fieldwise.folding.saving.write import save

            with progress(f"writing {out}"):
                periodic = loaded.is_onnx and repair == "circular"
                if periodic and out.suffix.lower() == ".onnx":
                    from fieldwise.shift.repair.onnx import periodic_file

                    source = periodic_file(loaded.module, source, example, chosen)
                saved = save(
                    source, example, out, overwrite=written.overwrite, static=written.static
                )
            note_saved(saved, err=style == "json")


def _check(padding: Padding, repair: Repair | None, out: Path | None, *, wrap_valid: bool) -> None:
    if out is not None and repair is None:
        raise UsageError("-o writes a repaired model; say how with --repair.")
    periodic = padding == "circular" or repair in ("circular", "polyphase")
    if wrap_valid and not periodic:
        raise UsageError(
            "--wrap-valid is about periodic boundaries; add --padding circular, "
            "--repair circular or --repair polyphase."
        )
    if repair == "circular" and padding == "circular":
        raise UsageError("--repair circular makes the boundaries periodic; omit --padding.")


def _shifted_shape(model: Model, example: object, wrt: str | None) -> Sequence[int]:
    """Of the input that is shifted."""
    if wrt is None:
        return model.shapes[0]
    from fieldwise.capture.graphs import graph_of

    graph = graph_of(model.source, example, zeros=False)
    if wrt not in graph.inputs:
        named = (f"{name} ({'x'.join(map(str, graph.shape(name)))})" for name in graph.inputs)
        raise UsageError(f"--wrt {wrt!r} is no input; the inputs are {', '.join(named)}.")
    return graph.shape(wrt)


@dataclass(frozen=True, slots=True)
class _Periodic:
    """Which boundaries become periodic, and whether windows without padding are wrapped too."""

    axes: tuple[int, ...] | None
    valid: Valid

    def repaired(self, model: Any, example: object) -> Repaired:
        """The periodic copy, proven and measured."""
        from fieldwise.shift.repair import circular

        with progress("making the boundaries periodic"):
            return circular(model, example, axes=self.axes, valid=self.valid)

    def copy(self, model: Any, example: object) -> object:
        """The periodic copy alone."""
        from fieldwise.shift.repair import periodic_copy

        with progress("making the boundaries periodic"):
            return periodic_copy(model, example, axes=self.axes, valid=self.valid)


def _prepared(
    model: Any, example: object, padding: Padding, repair: Repair | None, periodic: _Periodic
) -> tuple[Any, Repaired | None]:
    """The model that is judged, and the repair that it comes from."""
    if repair == "circular":
        repaired = periodic.repaired(model, example)
        return repaired.model, repaired
    if padding == "circular":
        model = periodic.copy(model, example)
    if repair is None:
        return model, None
    from fieldwise.shift import repair as repairs

    with progress(f"repairing: {repair}"):
        repaired = (
            repairs.antialias(model, example)
            if repair == "antialias"
            else repairs.polyphase(model, example, valid=periodic.valid)
        )
    return repaired.model, repaired


def _measured(
    model: Any,
    example: object,
    certificates: Certificates,
    layers: Sequence[str] | None,
    *,
    alone: bool,
) -> Measurement:
    """By the period that is proven, where one is proven of all that is shifted."""
    with progress("measuring"):
        from fieldwise.shift.measurement.beside_proof import proven_periods
        from fieldwise.shift.measurement.equivariance import measure

        return measure(
            model,
            example,
            axes=certificates.axes,
            shift=proven_periods(certificates) if alone else None,
            layers=layers or (),
        )


@dataclass(frozen=True, slots=True)
class _Report:
    """What is written: of the model called ``name``; ``alone``: it has a single input."""

    name: str
    certificates: Certificates
    layers: tuple[Certificate, ...]
    measurement: Measurement | None
    repaired: Repaired | None
    alone: bool

    @property
    def disagreements(self) -> tuple[str, ...]:
        """What is proven and yet measured to be broken, when both are about the same shift."""
        if self.measurement is None or not self.alone:
            return ()
        from fieldwise.shift.measurement.beside_proof import contradictions

        return contradictions((*self.certificates.outputs, *self.layers), self.measurement)


_FIRST = 2
"""The first axis that has a letter: with channels last, others are spatial and none has."""


def _write(report: _Report, style: Format) -> None:
    found = report.certificates
    shape = found.graph.shape(found.input)
    if style == "json":
        from fieldwise.views import shift_json

        data = shift_json.data(
            found.outputs,
            report.layers,
            model=report.name,
            source=found.input,
            shape=shape,
            measurement=report.measurement,
            repaired=report.repaired,
            disagreements=report.disagreements,
        )
        show_json(data)
    else:
        from fieldwise.views import shift_table

        title = report.name if report.alone else f"{report.name}, shifted: {found.input}"
        show(
            shift_table.render(
                found.outputs,
                report.layers,
                model=title,
                rank=len(shape) if min(found.axes, default=_FIRST) >= _FIRST else 0,
                measurement=report.measurement,
                repaired=report.repaired,
            )
        )
    for sentence in report.disagreements:
        typer.echo(f"contradiction: {sentence}", err=True)
