"""``fieldwise field``: the receptive field of every layer of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fieldwise.cli.answers import answer
from fieldwise.cli.console import (
    AxisNames,
    check_picture,
    note,
    note_files,
    parse_position,
    show,
    show_json,
)
from fieldwise.cli.options import (
    AxesOption,
    ComputedOptions,
    Debug,
    InputShape,
    Layers,
    ModelName,
    grouped,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.errors import UsageError
from fieldwise.written import counted

if TYPE_CHECKING:
    from fieldwise.capture import Model
    from fieldwise.cli.measure import Measure
    from fieldwise.field import FieldReport, UnitField
    from fieldwise.field.report import Row


Method = Literal["closed", "gradient", "nan"]
"""How fields are found."""

FieldFormat = Literal["table", "json", "csv"]
"""How a report is written."""


@grouped
def field(
    model: ModelName,
    shape: InputShape = None,
    layer: Layers = None,
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="I,J",
            help="Also what the output position I,J of each layer sees of this input.",
        ),
    ] = None,
    wrt: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="Fields in this layer's map instead of the input."),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(help="Closed form, or also measured: by a gradient or a NaN probe."),
    ] = "closed",
    ignore_global: Annotated[
        bool,
        typer.Option("--ignore-global", help="Also the fields through the local paths alone."),
    ] = False,
    axes: AxesOption = None,
    style: Annotated[
        FieldFormat, typer.Option("--format", help="How to write the report.")
    ] = "table",
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="Draw what the position of --unit, or the middle one, sees: .svg, .png or .pdf.",
        ),
    ] = None,
    debug: Debug = False,
    *,
    building: ComputedOptions,
) -> None:
    """The receptive field of every layer: extent, stride, start, and what makes it unusual.

    --method gradient and nan run the model and measure one position per selected layer, that of
    --unit or the middle one; the closed form stands beside what they measure.  Exit code 1 where
    what --unit asks for is known as an upper bound only.

    --plot draws that position of the layers chosen by --layer, beside each other; without --layer,
    of the last layer whose position does not see the whole input.
    """
    with reported(debug=debug):
        if plot is not None:
            check_picture(plot)
        position = parse_position(unit)
        if method != "nan" and building.given:
            raise UsageError(
                "--device, --dtype and --autocast say how --method nan runs the model; omit them."
            )
        if method == "nan" and wrt is not None:
            raise UsageError("--method nan measures fields in the input; omit --wrt.")
        loaded, report = _analyse(
            model,
            shape,
            method,
            wrt=wrt,
            ignore_global=ignore_global,
            axes=axes,
            building=building,
        )
        rows = _selected(report, layer or ())
        probe: Measure | None = None
        if method != "closed":
            with building.computing():
                probe, rows = _probe(loaded, report, rows, layer or (), method)
        pulled = units = None
        if position is not None or probe is not None:
            pulled = units = _pulled(report, rows, position, strict=bool(layer))
        if units is not None and probe is not None:
            with building.computing():
                units = _measured(probe, units)
        if plot is not None:
            _draw(report, _pictured(report, rows, units, every=bool(layer)), loaded.name, plot)
        _write(report, rows, loaded.name, units, style)
        note_files([] if plot is None else [plot], err=True)
        if position is not None and pulled is not None:
            _refuse_bounds(pulled)


def _analyse(
    spec: str,
    shape: list[str] | None,
    method: Method,
    *,
    wrt: str | None,
    ignore_global: bool,
    axes: Sequence[str] | None,
    building: ComputedOptions,
) -> tuple[Model, FieldReport]:
    with progress(f"building {spec}"):
        from fieldwise.capture.graphs import graph_of
        from fieldwise.field import receptive_fields
        from fieldwise.field.other_axes import better_axes
        from fieldwise.graph.names import resolve

        kept = method == "nan"
        model = building.load(spec, shape, weights=kept)
        if method != "closed":
            model = building.placed(model)
    with progress(f"analysing {spec}"):
        graph = graph_of(model.source, model.example())
        counted = graph.shape(graph.inputs[0] if wrt is None else resolve(graph, wrt))
        chosen = AxisNames.of_input(counted, spatial=False).find_all(axes)
        report = receptive_fields(graph, wrt=wrt, ignore_global=ignore_global, axes=chosen)
        better = better_axes(graph, report) if chosen is None and wrt is None else None
    if wrt is None and len(graph.inputs) > 1:
        others = " or ".join(f"--wrt {name}" for name in graph.inputs[1:])
        note(f"these are fields in the input '{graph.inputs[0]}'; {others} asks about another")
    if better is not None:
        given = (axis for axis in report.axes if axis not in better)
        named, whole = (",".join(map(str, axes)) for axes in (better, given))
        note(f"the first layer reads all of axis {whole}; --axes {named} asks along positions")
    return model, report


def _selected(report: FieldReport, globs: Sequence[str]) -> tuple[Row, ...]:
    """The rows that match a glob; without globs those that the table of a report has."""
    from fieldwise.views.tables import shown

    return report.select(globs) if globs else tuple(shown(report))


def _pulled(
    report: FieldReport, rows: Sequence[Row], unit: tuple[int, ...] | None, *, strict: bool
) -> dict[str, UnitField]:
    """What this unit (by default the middle one) of every row sees, by the row's name.

    A map without such a unit is left out, unless strict or unless no map has it.
    """
    found: dict[str, UnitField] = {}
    refusal: UsageError | None = None
    for row in rows:
        position = _middle(report, row) if unit is None else unit
        try:
            found[row.name] = report[row.name].at(*position)
        except UsageError as error:
            if strict:
                raise
            refusal = error
    if refusal is not None and not found:
        raise refusal
    return found


def _middle(report: FieldReport, row: Row) -> tuple[int, ...]:
    return tuple(row.shape[dim] // 2 for dim in report.roles(row.name).unit)


def _probe(
    model: Model, report: FieldReport, rows: tuple[Row, ...], globs: Sequence[str], method: Method
) -> tuple[Measure, tuple[Row, ...]]:
    """The probe of this method, and those of the rows that it measures; a note says of the others.

    Raises UsageError where it measures none, or none of those that one of the globs names.
    """
    from fieldwise.cli.measure import ByNan, by_gradient

    if method == "gradient":
        return by_gradient(report), rows
    probe = ByNan.of(model, report)
    for asked in [tuple(report.select([glob])) for glob in globs] or [rows]:
        reasons = [probe.why_not(row.name) for row in asked]
        if None not in reasons:
            raise UsageError(
                f"--method nan does not measure '{asked[0].name}': {reasons[0]}; "
                f"--method gradient does."
            )
    reasons = [probe.why_not(row.name) for row in rows]
    for why, count in Counter(reasons).items():
        if why is not None:
            note(f"--method nan leaves out {count} of {counted(len(rows), 'value')}: {why}")
    measured = (row for row, why in zip(rows, reasons, strict=True) if why is None)
    return probe, tuple(measured)


def _measured(probe: Measure, units: Mapping[str, UnitField]) -> dict[str, UnitField]:
    """The same units, with what a probe finds that they see."""
    found = {}
    measure = probe({name: field.unit for name, field in units.items()})
    for name in units:
        with progress(f"measuring {name}"):
            found[name] = measure(name)
    return found


def _refuse_bounds(units: Mapping[str, UnitField]) -> None:
    """The question was what exactly a unit sees; exit code 1 where that is not known."""
    bounds = [name for name, found in units.items() if not found.exact]
    if bounds:
        why = units[bounds[0]].why
        more = f" and {len(bounds) - 1} more" if len(bounds) > 1 else ""
        typer.echo(f"The field of '{bounds[0]}'{more} is an upper bound: {why}.", err=True)
        raise typer.Exit(BOUND)


def _pictured(
    report: FieldReport,
    rows: Sequence[Row],
    units: Mapping[str, UnitField] | None,
    *,
    every: bool,
) -> Mapping[str, UnitField]:
    """The fields to draw, by the row's name: of every row, or of the last that is no whole axis."""
    have = [row for row in rows if units is None or row.name in units]
    if not every:
        have = [row for row in have if not all(row.full)][-1:] or have[-1:]
    if units is None:
        return _pulled(report, have, None, strict=True)
    return {row.name: units[row.name] for row in have}


def _draw(report: FieldReport, units: Mapping[str, UnitField], model: str, path: Path) -> None:
    from fieldwise.views.plot import field_figure, field_panel
    from fieldwise.views.plot_canvas import save

    with progress(f"drawing {path}"):
        panels = [field_panel(report[name], seen) for name, seen in units.items()]
        save(field_figure(*panels, title=model), path)


def _write(
    report: FieldReport,
    rows: Sequence[Row],
    model: str,
    units: Mapping[str, UnitField] | None,
    style: FieldFormat,
) -> None:
    if style == "json":
        from fieldwise.views import field_json

        show_json(field_json.data(report, rows, model=model, units=units))
    elif style == "csv":
        from fieldwise.views import csv

        answer(csv.render(rows, units=units))
    else:
        from fieldwise.views import table

        show(table.render(report, rows, model=model, units=units))


BOUND = 1
