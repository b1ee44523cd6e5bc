"""``fieldwise fold``: fold affine layers into their neighbours, check the result and write it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.cli.console import note_saved, show, show_json
from fieldwise.cli.loader import loader_lines
from fieldwise.cli.options import (
    CastOptions,
    Debug,
    InputShape,
    ModelName,
    OutOptions,
    RandomWeights,
    Style,
    grouped,
    whole,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.cli.weights import check_weights

if TYPE_CHECKING:
    from fieldwise.folding import FoldReport, Saved

WRONG = 1


@grouped
def fold(
    written: OutOptions,
    model: ModelName,
    shape: InputShape = None,
    style: Style = "table",
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
    no_time: Annotated[
        bool,
        typer.Option("--no-time", help="Do not measure how long runs take before and after."),
    ] = False,
    random_weights: RandomWeights = False,
    debug: Debug = False,
    *,
    building: CastOptions,
) -> None:
    """Fold BatchNorm and other affine ops into the layers beside them, exactly.

    The folded model is compared with a float64 run of the unfolded one; a fold that makes it
    wrong is undone.  Exit code 1, and nothing written, where it is wrong nevertheless or where its
    outputs leave nothing to compare; --check 0 takes it unchecked.  Nothing to fold is no failure.
    What is written is read again and compared, an export at other sizes too.
    """
    with reported(debug=debug):
        written.check()
        with progress(f"building {model}"):
            from fieldwise.folding import fold as fold_model

            loaded = building.placed(building.load(model, shape))
        check_weights(loaded, [written.out], allowed=random_weights)
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
        refused = _is_refused(folded.report)
        if style == "table":
            _show(folded.report, loaded.name)
        saved = None
        if written.out is not None and not refused:
            with progress(f"writing {written.out}"):
                saved = folded.save(
                    written.out,
                    overwrite=written.overwrite,
                    static=written.static,
                    timed=not no_time,
                    compare=check > 0,
                )
            saved = replace(saved, loader=loader_lines(saved, loaded.name, shape))
            note_saved(saved, err=style == "json")
        if style == "json":
            _show_json(folded.report, loaded.name, saved)
        if refused:
            raise typer.Exit(WRONG)


def _is_refused(report: FoldReport) -> bool:
    """Whether the result is wrong, or changed and not checked."""
    found, beside = report.verify, report.runtime
    if beside is not None and beside.passed is False:
        return True
    return found is not None and (found.passed is False or (not found.passed and report.folded > 0))


def _show(report: FoldReport, model: str) -> None:
    from fieldwise.views import fold_table

    show(fold_table.render(report, model=model))


def _show_json(report: FoldReport, model: str, saved: Saved | None) -> None:
    from fieldwise.views import fold_json

    show_json(fold_json.data(report, model=model, saved=saved))
