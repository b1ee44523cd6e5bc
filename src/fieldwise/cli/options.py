"""Options that several commands take, said once; groups of options that stand as one parameter."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import typer

from fieldwise.cli.console import parse_size
from fieldwise.cli.weights import note_weights
from fieldwise.errors import UsageError
from fieldwise.written import MAX_SIZE, shown, whole_number

if TYPE_CHECKING:
    from fieldwise.capture import Model

MODEL_FORMS = (
    "torchvision:NAME, timm:NAME, 'layers:conv3 relu ...', code of your own "
    "(nets.unet:make, nets/unet.py:UNet or 'nets.unet:UNet(width=64)'), keras:NAME, an .onnx file, "
    "a .pt2 exported program, or script:FILE.pt"
)
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help=f"{MODEL_FORMS}.")]
OptionalModelName = Annotated[
    str | None, typer.Argument(metavar="MODEL", help=f"{MODEL_FORMS}.", show_default=False)
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE",
        help="Input shape, as 1x3x224x224; by name, x=1x8; several: repeated, or with commas.",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", metavar="GLOB", help="Layers whose name matches; may be repeated."),
]
AxesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--axes",
        metavar="H,W",
        help="Only these axes of the input: D or T, H, W, or their numbers, -1 for the last.",
    ),
]
ModelOut = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        metavar="OUT",
        help="Write the model: X.pt2, X.onnx or X.safetensors; X is X.safetensors and X.pt2.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
Static = Annotated[
    bool,
    typer.Option("--static", help="Export for this input shape alone, not for any batch and size."),
]
MaxConstant = Annotated[
    str | None,
    typer.Option(
        "--max-constant",
        metavar="1GiB",
        help="Of a .pt2 or .onnx file: how much memory the constants that it computes may take, at "
        "most; by default 1GiB.",
    ),
]
InputValues = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=8",
        help="Of an .onnx file: take an input as the constant of this value; may be repeated.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="cuda:0",
        help="Where the model is run: cpu, cuda, cuda:1, mps; by default the processor.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Weights for the model: .safetensors, an index of several, or a .pt, .pth, .ckpt or "
        ".bin that torch.save wrote; FILE::ema takes those under 'ema'.",
    ),
]
RandomWeights = Annotated[
    bool,
    typer.Option(
        "--random-weights",
        help="Take weights that are random numbers: no warning, and results are written.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


Type = Literal["bfloat16", "float16", "float32", "float64"]
"""What a model computes in."""

HalfType = Literal["bfloat16", "float16"]
"""What autocast casts to."""

Format = Literal["table", "json"]
"""How a report is written."""

Style = Annotated[Format, typer.Option("--format", help="How to write the report.")]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How a model is read from a file."""

    max_constant: MaxConstant = None
    values: InputValues = None

    def load(self, spec: str, shapes: Sequence[str] | None, *, weights: bool = True) -> Model:
        """The model that a spec names; see ``load_model``."""
        from fieldwise.capture import load_model

        return load_model(
            spec,
            ",".join(shapes) if shapes else None,
            weights=weights,
            max_constant=parse_size(self.max_constant),
            values=self.named_values(),
        )

    def named_values(self) -> dict[str, object]:
        """The values of inputs, by name."""
        from fieldwise.capture.written_inputs import parse_values

        return parse_values(self.values or ())


@dataclass(frozen=True, slots=True)
class WeightOptions(FileOptions):
    """How the model is built: which weights it has, and how it is read from a file."""

    weights: Weights = None

    def load(self, spec: str, shapes: Sequence[str] | None, *, weights: bool = True) -> Model:
        """The model that a spec names, with the weights of ``--weights``; see ``load_model``."""
        loaded = FileOptions.load(self, spec, shapes, weights=weights).given(self.weights)
        note_weights(loaded)
        return loaded


@dataclass(frozen=True, slots=True)
class PlacedOptions(WeightOptions):
    """How the model is built and where it is run."""

    device: Device = None

    def placed(self, model: Model) -> Model:
        """The model as a module, on the device."""
        return model.runnable().on(self.device)


@dataclass(frozen=True, slots=True)
class CastOptions(PlacedOptions):
    """How the model is built and run: its weights, its device, its type."""

    dtype: Annotated[
        Type | None,
        typer.Option(help="Cast the model to this; by default its weights are as they are."),
    ] = None

    def placed(self, model: Model) -> Model:
        """The model as a module, on the device and in the type."""
        return PlacedOptions.placed(self, model).cast(self.dtype)


@dataclass(frozen=True, slots=True)
class ComputedOptions(CastOptions):
    """How the model is built and run: its weights, its device, its type, autocast."""

    autocast: Annotated[
        HalfType | None,
        typer.Option(
            help="Run the model under torch.autocast, which computes in this where that is safe."
        ),
    ] = None

    def placed(self, model: Model) -> Model:
        """The model as a module, on the device and in the type."""
        self.check_types()
        return CastOptions.placed(self, model)

    def check_types(self) -> None:
        """Raise UsageError where autocast would mix two types of half precision."""
        halves = get_args(HalfType)
        mixed = {kind for kind in (self.dtype, self.autocast) if kind in halves}
        if len(mixed) > 1:
            raise UsageError(
                f"--dtype {self.dtype} and --autocast {self.autocast} mix two types of half "
                f"precision, which torch refuses; give one."
            )

    @property
    def given(self) -> bool:
        """Whether anything is said of how the model runs."""
        return any(said is not None for said in (self.device, self.dtype, self.autocast))

    def computing(self) -> AbstractContextManager[object]:
        """In which the model runs."""
        if self.autocast is None:
            return nullcontext()
        from fieldwise.capture.torch.devices import find_device, under_autocast

        return under_autocast(find_device(self.device or "cpu"), self.autocast)


@dataclass(frozen=True, slots=True)
class OutOptions:
    """Where a changed model is written, and how."""

    out: ModelOut = None
    overwrite: Overwrite = False
    static: Static = False

    def check(self) -> None:
        """Raise UsageError, before anything long is done, where nothing can be written there."""
        if self.out is None:
            if self.overwrite or self.static:
                raise UsageError("--overwrite and --static are about what -o writes; add -o OUT.")
            return
        from fieldwise.folding.saving.place import OutPlace

        OutPlace.of(self.out).check(overwrite=self.overwrite)


def whole(least: int = -MAX_SIZE, most: int = MAX_SIZE) -> Callable[[str], int]:
    """What reads an option that is a whole number within bounds.

    It raises typer.BadParameter, in our words, for anything else.

    >>> whole(1)("64")
    64
    """
    wanted = f"from {least} to {most}" if most < MAX_SIZE else f"of {least} or more"

    def read(text: str) -> int:
        number = whole_number(str(text))
        if number is None or not least <= number <= most:
            bounds = "" if least == -MAX_SIZE else f" {wanted}"
            raise typer.BadParameter(f"{shown(str(text))} is no whole number{bounds}.")
        return number

    return read


def renamed(**names: str) -> dict[str, object]:
    """The settings of a command whose options are also known by older names: old='new'."""
    return {"token_normalize_func": lambda name: names.get(name, name)}


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: the fields of a parameter that is a dataclass are options.

    A group is frozen data with an annotated option per field; its first sentence, up to a
    colon, heads them in what --help says; how a file is read is said last.
    """
    own = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in own.parameters.items()
        if is_dataclass(parameter.annotation)
    }

    @wraps(command)
    def flat(**given: object) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    found: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        plain = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        found += _options(groups[name]) if name in groups else [plain]
    flat.__signature__ = own.replace(parameters=found)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in found}
    return flat


def _options(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    heading = inspect.cleandoc(group.__doc__ or "").partition("\n")[0].partition(":")[0].rstrip(".")
    kind = inspect.Parameter.KEYWORD_ONLY
    rare = {field.name for field in fields(FileOptions)}
    return [
        inspect.Parameter(
            field.name, kind, default=field.default, annotation=_under(heading, hints[field.name])
        )
        for field in sorted(fields(group), key=lambda field: field.name in rare)
    ]


def _under(heading: str, hint: Any) -> Any:
    """The annotation of an option that stands under a heading."""
    of, option = get_args(hint)
    placed = copy.copy(option)
    placed.rich_help_panel = heading
    return Annotated[of, placed]
