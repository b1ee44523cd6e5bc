"""``fieldwise view``: a network's fields as one HTML file to look at and to pass on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.cli.answers import answer
from fieldwise.cli.console import note_files, show_json
from fieldwise.cli.options import (
    AxesOption,
    Debug,
    FileOptions,
    InputShape,
    ModelName,
    Style,
    WeightOptions,
    grouped,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from fieldwise.capture import Model
    from fieldwise.field import FieldReport
    from fieldwise.see import Notes


@grouped
def view(
    model: ModelName,
    beside: Annotated[
        str | None,
        typer.Argument(metavar="MODEL_B", help="Another model, to compare.", show_default=False),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="PAGE.html", help="The file to write.")
    ] = Path("fieldwise.html"),
    shape: InputShape = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Show this image as the input: PNG, JPEG, WebP or GIF as they are; "
            "TIFF and arrays in 8 bits, stretched between percentiles.",
        ),
    ] = None,
    axes: AxesOption = None,
    opened: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Serve the page on 127.0.0.1 until Ctrl-C; others cannot see it."
        ),
    ] = False,
    style: Style = "table",
    debug: Debug = False,
    *,
    building: WeightOptions,
) -> None:
    """A page on which to look at every layer: what it sees, who sees a pixel, tiles, streams.

    One HTML file that needs no network and computes its answers itself; it can be attached to an
    issue.  The address of the page holds its state, so a link shows the same view.  --format json
    also prints what the page computes from.
    """
    with reported(debug=debug):
        from fieldwise.see import view as make
        from fieldwise.see.page import check_path

        check_path(out)
        specs = [spec for spec in (model, beside) if spec is not None]
        reports = reports_of(specs, shape, axes, building)
        notes = [_notes(report, spec) for report, spec in zip(reports, specs, strict=True)]
        with progress(f"writing {out}"):
            page = make(*reports, names=specs, notes=notes, image=image)
            page.save(out)
        if style == "json":
            show_json(page.data)
        note_files([out], err=style == "json")
        if serve:
            _serve(page.html.encode(), opened=opened)
        elif opened:
            _open(out.resolve().as_uri())


def _open(address: str) -> None:
    import webbrowser

    webbrowser.open(address)


def _serve(content: bytes, *, opened: bool) -> None:
    """Serve one page, whatever is asked for, to this machine alone, until it is interrupted."""
    from fieldwise.cli.serving import server_of

    server = server_of(content)
    address = f"http://127.0.0.1:{server.server_port}/"
    answer(f"serving {address}; Ctrl-C ends it")
    if opened:
        _open(address)
    with server:
        server.serve_forever()


def _notes(report: FieldReport, spec: str) -> Notes:
    with progress(f"looking at folds and shifts of {spec}"):
        from fieldwise.see import notes_of

        return notes_of(report)


def reports_of(
    specs: Sequence[str], shape: list[str] | None, axes: list[str] | None, building: FileOptions
) -> list[FieldReport]:
    """The fields of models, as a command names them."""
    return [_report_of(loaded, axes) for loaded in _loaded(specs, shape, building)]


def _loaded(specs: Sequence[str], shape: list[str] | None, building: FileOptions) -> list[Model]:
    """The models; one of which no usual input is known takes that of one of which it is."""
    found: dict[str, Model] = {}
    refusal: UsageError | None = None
    for spec in specs:
        with progress(f"building {spec}"):
            try:
                found[spec] = building.load(spec, shape, weights=False)
            except UsageError as error:
                refusal = refusal or error
    if refusal is not None and (shape or not found):
        raise refusal
    usual = ["x".join(map(str, sizes)) for sizes in next(iter(found.values())).shapes]
    return [found.get(spec) or building.load(spec, usual, weights=False) for spec in specs]


def _report_of(loaded: Model, axes: list[str] | None) -> FieldReport:
    with progress(f"analysing {loaded.name}"):
        from fieldwise.capture.graphs import graph_of
        from fieldwise.cli.console import AxisNames
        from fieldwise.field import receptive_fields

        graph = graph_of(loaded.source, loaded.example())
        names = AxisNames.of_input(graph.shape(graph.inputs[0]), spatial=False)
        return receptive_fields(graph, axes=names.find_all(axes))
