"""``fieldwise summary``: the modules of a model with shapes, parameters, operations and fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from fieldwise.cli.console import AxisNames, show, show_json
from fieldwise.cli.options import (
    AxesOption,
    Debug,
    FileOptions,
    InputShape,
    ModelName,
    Style,
    grouped,
    whole,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress


@grouped
def summary(
    model: ModelName,
    shape: InputShape = None,
    depth: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(0), help="How deep in the tree of modules."),
    ] = 3,
    axes: AxesOption = None,
    style: Style = "table",
    debug: Debug = False,
    *,
    building: FileOptions,
) -> None:
    """The modules of a model: shapes, parameters, multiplications, and what each sees."""
    with reported(debug=debug):
        with progress(f"building {model}"):
            from fieldwise.see.module_summary import summary as summarise

            loaded = building.load(model, shape, weights=False)
            chosen = AxisNames.of_input(loaded.shapes[0], spatial=False).find_all(axes)
        with progress(f"analysing {model}"):
            found = replace(
                summarise(loaded.source, loaded.example(), depth=depth, axes=chosen), model=model
            )
        from fieldwise.views import summary as view

        if style == "json":
            show_json(view.data(found))
        else:
            show(view.render(found))
