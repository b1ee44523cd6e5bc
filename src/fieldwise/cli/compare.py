"""``fieldwise compare``: what differs between the fields of two models; for tests of a change."""

from __future__ import annotations

from typing import Annotated

import typer

from fieldwise.cli.console import show, show_json
from fieldwise.cli.options import (
    MODEL_FORMS,
    AxesOption,
    Debug,
    FileOptions,
    InputShape,
    Style,
    grouped,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.view import reports_of

DIFFERS = 1


@grouped
def compare(
    one: Annotated[str, typer.Argument(metavar="MODEL_A", help=f"{MODEL_FORMS}.")],
    two: Annotated[str, typer.Argument(metavar="MODEL_B", help="The other one.")],
    shape: InputShape = None,
    axes: AxesOption = None,
    style: Style = "table",
    debug: Debug = False,
    *,
    building: FileOptions,
) -> None:
    """Two models, or two versions of one, layer by layer: extent, stride, start, halo.

    The halo is how many samples an output position needs before and after its own place.

    Exit code 1 where the field or the halo of an output differs, or of a layer that both have, so
    that a change of an architecture shows in a test.
    """
    with reported(debug=debug):
        from fieldwise.see.comparison import compare as compare_reports
        from fieldwise.views import summary

        reports = reports_of((one, two), shape, axes, building)
        found = compare_reports(*reports, names=(one, two))
        if style == "json":
            show_json(summary.comparison(found))
        else:
            show(summary.render_comparison(found))
        if found.differs:
            raise typer.Exit(DIFFERS)
