"""``fieldwise fold``: fold affine layers into their neighbours, check the result and write it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.cli.console import Debug, MaxConstant, ModelName, allowed_constants, show
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress

if TYPE_CHECKING:
    from fieldwise.folding import FoldReport

WRONG = 1


class FoldFormat(StrEnum):
    """How a report is written."""

    table = "table"
    json = "json"


def fold(
    model: ModelName,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="OUT", help="Write OUT.safetensors and OUT.pt2; else report."
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="SHAPE", help="Input shape, as 1x3x224x224; several: a comma."
        ),
    ] = None,
    style: Annotated[
        FoldFormat, typer.Option("--format", help="How to write the report.")
    ] = FoldFormat.table,
    check: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=1000, help="Compare on N random inputs; 0: do not compare."
        ),
    ] = 1,
    allow_graph: Annotated[
        bool,
        typer.Option(
            "--allow-graph", help="Where modules cannot be changed, make a module of the graph."
        ),
    ] = False,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge/--no-merge",
            help="Make one convolution of parallel ones; their modules make way for it.",
        ),
    ] = True,
    max_constant: MaxConstant = None,
    debug: Debug = False,
) -> None:
    """Fold BatchNorm and other affine ops into the layers beside them, exactly.

    The folded model is compared with a float64 run of the unfolded one; a fold that makes it
    wrong is undone.  Exit code 1, and nothing written, where it is wrong nevertheless or where its
    outputs leave nothing to compare; --check 0 takes it unchecked.
    """
    with reported(debug=debug):
        with progress(f"building {model}"):
            from fieldwise.capture import load_model
            from fieldwise.folding import fold as fold_model

            most = allowed_constants(max_constant)
            loaded = load_model(model, shape, max_constant=most).runnable()
        example = loaded.example()
        with progress(f"folding {model}"):
            folded = fold_model(
                loaded.module,
                example,
                allow_graph=allow_graph,
                merge=merge,
                verify=check > 0,
                checks=max(check, 1),
            )
        _write(folded.report, loaded.name, style)
        if folded.report.verify is not None and not folded.report.verify.passed:
            raise typer.Exit(WRONG)
        if out is not None:
            from fieldwise.folding.save import save

            with progress(f"writing {out}"):
                save(folded.model, example, out)


def _write(report: FoldReport, model: str, style: FoldFormat) -> None:
    if style is FoldFormat.json:
        from fieldwise.views import fold_json, json

        typer.echo(json.text(fold_json.data(report, model=model)))
    else:
        from fieldwise.views import fold_table

        show(fold_table.render(report, model=model))
