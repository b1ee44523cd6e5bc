"""``fieldwise diagram``: which units of each layer read which, and what one unit sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.cli.console import AxisNames, check_picture, note_files, show_json, show_lines
from fieldwise.cli.options import (
    MODEL_FORMS,
    Debug,
    FileOptions,
    InputShape,
    Style,
    grouped,
    whole,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.written import counted

if TYPE_CHECKING:
    from fieldwise.field.unit_connections import Connections


@dataclass(frozen=True, slots=True)
class DrawingOptions:
    """How it is drawn."""

    blank: Annotated[
        bool,
        typer.Option("--blank", help="The dots alone, the chosen one dark: for drawing by hand."),
    ] = False
    symbols: Annotated[
        bool, typer.Option("--symbols", help="Kernel and stride of every row, as k₁ and s₁.")
    ] = False
    width: Annotated[
        float, typer.Option(metavar="INCHES", min=2.0, max=40.0, help="The width of the picture.")
    ] = 8.0
    dpi: Annotated[
        int, typer.Option(metavar="N", parser=whole(20, 1200), help="Dots per inch of a .png.")
    ] = 100


@grouped
def diagram(
    drawing: DrawingOptions,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help=f"{MODEL_FORMS}; several are drawn side by side.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="OUT", help="The picture: .svg, .png or .pdf."),
    ],
    unit: Annotated[
        int | None,
        typer.Option(
            metavar="I",
            parser=whole(),
            help="The output position whose connections stand out; by default the middle one.",
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="LAYER", help="The top row; by default the output.")
    ] = None,
    shape: InputShape = None,
    axis: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="The axis of the input to draw, by letter or number; by default the first "
            "spatial one.",
        ),
    ] = None,
    style: Style = "table",
    debug: Debug = False,
    *,
    building: FileOptions,
) -> None:
    """Draw the connections along one axis: a row of dots per layer, the input at the bottom.

    What the chosen position depends on is dark, the rest faint; its receptive field is bracketed
    and counted, padding is hollow.  Also says on one line per model what the position sees, unless
    the diagram is blank.
    """
    with reported(debug=debug):
        from fieldwise.views.diagram import connection_diagram
        from fieldwise.views.diagram_layout import DiagramStyle
        from fieldwise.views.plot_canvas import save

        check_picture(out)
        found = [_connections(spec, shape, layer, unit, axis, building) for spec in models]
        titles = [spec.removeprefix("layers:") for spec in models]
        drawn = DiagramStyle(drawing.width, blank=drawing.blank, symbols=drawing.symbols)
        save(connection_diagram(*found, titles=titles, style=drawn), out, dpi=drawing.dpi)
        if style == "json":
            from fieldwise.views import connections_json

            show_json(connections_json.data(found, models=models))
        elif not drawing.blank:
            for spec, network in zip(models, found, strict=True):
                show_lines(f"{spec}: {_sentence(network)}")
        note_files([out], err=True)


def _connections(
    spec: str,
    shape: list[str] | None,
    layer: str | None,
    unit: int | None,
    axis: str | None,
    building: FileOptions,
) -> Connections:
    with progress(f"building {spec}"):
        from fieldwise.field.unit_connections import connections

        model = building.load(spec, shape, weights=False)
    with progress(f"analysing {spec}"):
        names = AxisNames.of_input(model.shapes[0], spatial=False)
        number = None if axis is None else names.find("--axis", axis)
        return connections(model.source, model.example(), layer=layer, unit=unit, axis=number)


def _sentence(network: Connections) -> str:
    seen, name = network.field, network.rows[-1].names[-1]
    if not seen:
        return f"position {network.unit} of {name} sees nothing of the input"
    bound = "" if network.exact else "at most "
    extent = "the whole input" if network.full else network.unbounded.extent
    return (
        f"position {network.unit} of {name} sees {bound}{counted(seen.count, 'sample')}, "
        f"{seen.first} to {seen.last}; receptive field {extent}"
    )
