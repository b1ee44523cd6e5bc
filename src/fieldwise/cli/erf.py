"""``fieldwise erf``: the effective receptive field of a unit, measured by gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fieldwise.cli.cluster import connected_client
from fieldwise.cli.console import (
    AxisNames,
    check_picture,
    note_files,
    parse_numbers,
    parse_position,
    show,
    show_json,
)
from fieldwise.cli.options import (
    MODEL_FORMS,
    AxesOption,
    ComputedOptions,
    Debug,
    Format,
    InputShape,
    RandomWeights,
    Style,
    grouped,
    whole,
)
from fieldwise.cli.outcome import reported
from fieldwise.cli.progress import progress
from fieldwise.cli.weights import check_weights
from fieldwise.effective.protocols import ProtocolName
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from fieldwise.capture import Model
    from fieldwise.capture.torch.normalisation import Normalisation
    from fieldwise.effective import EffectiveField


@dataclass(frozen=True, slots=True)
class SubjectOptions(ComputedOptions):
    """What is measured."""

    shape: InputShape = None
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The layer to look at; by default the last that has several output positions.",
        ),
    ] = None
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="I,J", help="The output position; by default the one that lies in the middle."
        ),
    ] = None
    axes: AxesOption = None


@dataclass(frozen=True, slots=True)
class MeanOptions:
    """What the mean is over, and how."""

    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder of pictures, or of .npy arrays."),
    ] = None
    noise: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1, 1_000_000),
            help="N inputs of normally distributed numbers instead; by default as many as the "
            "protocol averages over (luo 20, replknet 50, openerf 1000).",
        ),
    ] = None
    seed: Annotated[int, typer.Option(metavar="N", parser=whole(0), help="Of the noise.")] = 0
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Subtracted from the channels of pictures, which are 0 to 1; by default as the "
            "model's own config says, else ImageNet's.",
        ),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="The channels are divided by this then."),
    ] = None
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            help="luo: magnitudes of gradients; replknet: positive parts, of positive outputs; "
            "openerf: positive parts of the mean over channels."
        ),
    ] = "luo"

    def normalisation(self) -> Normalisation | None:
        """What --mean and --std say.  Raises UsageError for one of them alone."""
        if self.mean is None and self.std is None:
            return None
        if self.mean is None or self.std is None:
            raise UsageError("--mean and --std belong together; give both.")
        mean, deviation = parse_numbers("--mean", self.mean), parse_numbers("--std", self.std)
        if len(mean) != len(deviation) or not all(deviation):
            raise UsageError("--mean and --std hold one number per channel each, --std no zero.")
        return mean, deviation


@grouped
def erf(
    subject: SubjectOptions,
    averaging: MeanOptions,
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help=f"{MODEL_FORMS}; several for one picture."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT.npz",
            help="Write the map and its spread, and go on from there where it was interrupted.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again, even if OUT.npz exists.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Draw the maps: .svg, .png or .pdf."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--dask", metavar="ADDRESS", help="Share the inputs among its workers."),
    ] = None,
    random_weights: RandomWeights = False,
    style: Style = "table",
    debug: Debug = False,
) -> None:
    """The effective receptive field: how much every input position matters, on average.

    The gradient of one output position by the input, averaged over images or noise.  Beside it
    stand the theoretical field and the squares that hold a share of all contributions: around the
    position's own field, and as RepLKNet's script has them.
    """
    with reported(debug=debug):
        if plot is not None:
            check_picture(plot)
        if averaging.images is not None and averaging.noise is not None:
            raise UsageError("--images and --noise are two ways to choose inputs; give one.")
        if out is not None and len(models) > 1:
            raise UsageError("-o holds the map of one model; name one MODEL, or leave -o out.")
        if out is not None and out.suffix != ".npz":
            raise UsageError(f"{out} is written as .npz; give it that suffix.")
        if out is not None and not out.parent.is_dir():
            raise UsageError(f"There is no folder {out.parent}; make it first.")
        loaded = [_loaded(spec, subject) for spec in models]
        for model in loaded:
            check_weights(model, [out, plot], allowed=random_weights)
        if overwrite and out is not None:
            out.unlink(missing_ok=True)
        found = [_measured(one, subject, averaging, out, cluster, debug=debug) for one in loaded]
        for one in found:
            _write(one, style)
        if plot is not None:
            _draw(found, plot)
        note_files([path for path in (out, plot) if path is not None], err=True)


def _loaded(spec: str, subject: SubjectOptions) -> Model:
    """The model as a module on its device, whose random weights are the same each time."""
    with progress(f"building {spec}"):
        from fieldwise.capture.torch.private import seeded

        with seeded():
            return subject.placed(subject.load(spec, subject.shape))


def _measured(
    loaded: Model,
    subject: SubjectOptions,
    averaging: MeanOptions,
    out: Path | None,
    cluster: str | None,
    *,
    debug: bool,
) -> EffectiveField:
    from fieldwise.effective import effective_field

    spec = loaded.name
    axes = AxisNames.of_input(loaded.shapes[0], spatial=False).find_all(subject.axes)
    shared = nullcontext() if cluster is None else connected_client(cluster, debug=debug)
    with _bar(spec) as tell, shared as client, subject.computing():
        found = effective_field(
            loaded.module,
            loaded.example(),
            images=averaging.images,
            noise=averaging.noise,
            layer=subject.layer,
            unit=parse_position(subject.unit),
            axes=axes,
            protocol=averaging.protocol,
            normalisation=averaging.normalisation(),
            seed=averaging.seed,
            state=out,
            client=client,
            progress=tell,
        )
    return replace(found, model=spec)


@contextmanager
def _bar(spec: str) -> Iterator[Callable[[int, int | None], object] | None]:
    """A function to tell of inputs that are done; a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown_bar:
        task = shown_bar.add_task(spec, total=None)
        yield lambda done, total: shown_bar.update(task, completed=done, total=total)


def _write(found: EffectiveField, style: Format) -> None:
    from fieldwise.views import effective

    if style == "json":
        show_json(effective.data(found))
    else:
        show(effective.render(found))


def _draw(found: list[EffectiveField], path: Path) -> None:
    from fieldwise.views.plot_canvas import save
    from fieldwise.views.plot_effective import effective_figure

    with progress(f"drawing {path}"):
        save(effective_figure(*found), path)
