"""``fieldwise fold``: fold affine layers into their neighbours, check the result and write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.cli.console import note_files, show, show_json
from fieldwise.cli.options import (
    Debug,
    Format,
    InputShape,
    ModelName,
    ModelOut,
    RandomWeights,
    Style,
    WeightOptions,
    grouped,
    whole,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.cli.weights import check_weights

if TYPE_CHECKING:
    from fieldwise.folding import FoldReport

WRONG = 1


@grouped
def fold(
    building: WeightOptions,
    model: ModelName,
    out: ModelOut = None,
    shape: InputShape = None,
    style: Style = Format.table,
    check: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(0, 1000),
            help="Compare on N random inputs; 0: do not compare.",
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
    random_weights: RandomWeights = False,
    debug: Debug = False,
) -> None:
    """Fold BatchNorm and other affine ops into the layers beside them, exactly.

    The folded model is compared with a float64 run of the unfolded one; a fold that makes it
    wrong is undone.  Exit code 1, and nothing written, where it is wrong nevertheless or where its
    outputs leave nothing to compare; --check 0 takes it unchecked.  Nothing to fold is no failure.
    """
    with reported(debug=debug):
        with progress(f"building {model}"):
            from fieldwise.folding import fold as fold_model

            loaded = building.load(model, shape).runnable()
        check_weights(loaded, [out], allowed=random_weights)
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
        if _is_refused(folded.report):
            raise typer.Exit(WRONG)
        if out is not None:
            with progress(f"writing {out}"):
                paths = folded.save(out)
            note_files(paths, err=style is Format.json)


def _is_refused(report: FoldReport) -> bool:
    """Whether the result is wrong, or changed and not checked."""
    found, beside = report.verify, report.runtime
    if beside is not None and beside.passed is False:
        return True
    return found is not None and (found.passed is False or (not found.passed and report.folded > 0))


def _write(report: FoldReport, model: str, style: Format) -> None:
    if style is Format.json:
        from fieldwise.views import fold_json

        show_json(fold_json.data(report, model=model))
    else:
        from fieldwise.views import fold_table

        show(fold_table.render(report, model=model))
