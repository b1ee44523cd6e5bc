"""What the command line calls a model: a name, a layer list, a factory or a file → a model.

    torchvision:resnet50          built without weights
    timm:convnext_tiny            built without weights
    layers:conv3 relu maxpool2    see ``fieldwise.capture.layers``
    package.module:factory        imported and called without arguments
    path/to/program.pt2           written by torch.export.save
    path/to/network.onnx          an ONNX file

No file is ever unpickled and nothing is downloaded.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fieldwise.axes.region import Shape
from fieldwise.capture.layers import layers_graph
from fieldwise.capture.pickles import PICKLES
from fieldwise.errors import FieldwiseError, UsageError, did_you_mean, said_by, summary_of
from fieldwise.graph import Graph
from fieldwise.written import MAX_SIZE, shown, whole_number

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fieldwise.capture.onnx import OnnxModule

_LAYERS = "layers:"
_MAX_RANK = 32
_ZOOS = ("torchvision", "timm", "layers")
_FORMS = "torchvision:NAME, timm:NAME, layers:..., package.module:factory, FILE.onnx or FILE.pt2"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a spec names, ready for analysis.

    name:   the spec
    source: a torch module in eval mode, or the graph of a layer list
    shapes: of its inputs
    """

    name: str
    source: nn.Module | Graph
    shapes: tuple[Shape, ...]

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX file, which may have channels last."""
        return Path(self.name).suffix.lower() == ".onnx"

    @property
    def is_untrained(self) -> bool:
        """Whether its weights were drawn when it was built: of a zoo's model, or a layer list."""
        return self.name.partition(":")[0] in _ZOOS

    def example(self) -> tuple[Tensor, ...] | None:
        """Tensors for its inputs; None for a layer list, which needs none."""
        if isinstance(self.source, Graph):
            return None
        from fieldwise.capture.torch.zoo import example_inputs

        return example_inputs(self.shapes, self.source)

    def runnable(self) -> Model:
        """Itself as a torch module, for the analyses that run it."""
        if not isinstance(self.source, Graph):
            return self
        _need_torch()
        from fieldwise.capture.torch.from_layers import layers_module

        module = layers_module(self.name.removeprefix(_LAYERS), self.shapes[0])
        return Model(self.name, module, self.shapes)

    def on(self, device: str | None) -> Model:
        """Itself with its weights on a device, ``cuda:1`` for example; None: where they are.

        Raises UsageError for a device that is not here.
        """
        if device is None:
            return self
        from fieldwise.capture.torch.devices import find_device

        return replace(self, source=self.runnable().module.to(find_device(device)))

    @property
    def module(self) -> nn.Module:
        """The torch module that a ``runnable`` model is."""
        assert not isinstance(self.source, Graph), "a layer list becomes a module by runnable()"
        return self.source


def load_model(
    spec: str,
    input_shape: str | None = None,
    *,
    weights: bool = True,
    max_constant: int | None = None,
    values: Mapping[str, object] | None = None,
) -> Model:
    """The model that a spec names, on inputs of the written shape or of its usual one.

    ``weights=False`` leaves the parameters of torchvision and timm models undrawn, which is
    faster and enough where only the structure counts.  ``max_constant`` is how many bytes the
    constants of a file may take, by default 1 GiB.  ``values`` are those of inputs of
    an ONNX file that are constants; its shapes may be given by name (``x=1x3x8x8,state=1x16``).

    Raises UsageError for a spec or a shape that cannot be read, an unknown name, a package that
    is not installed, a factory that fails, and a file that would have to be unpickled.

    >>> load_model("layers:conv3 relu", "1x1x8").shapes
    ((1, 1, 8),)
    >>> load_model("resnet50")
    Traceback (most recent call last):
    fieldwise.errors.UsageError: Unknown model 'resnet50'; write torchvision:resnet50 or \
timm:resnet50, or one of layers:..., package.module:factory, FILE.onnx or FILE.pt2.
    """
    suffix = Path(spec).suffix.lower()
    if suffix == ".onnx":
        return _onnx(spec, input_shape, values or {}, max_constant)
    if values:
        raise UsageError(f"Only inputs of an ONNX file are set to values, and {spec!r} is none.")
    shapes = parse_shapes(input_shape) if input_shape is not None else None
    if spec.startswith(_LAYERS):
        return _layers(spec, shapes)
    if suffix in PICKLES:
        raise UsageError(
            f"{spec!r} is a pickle, which can run any code when it is loaded, and fieldwise never "
            "loads one; write the model with torch.export.save to a .pt2 file, or name a "
            "package.module:factory that builds it."
        )
    if suffix == ".safetensors":
        raise UsageError(
            f"{spec!r} holds weights and no model; name a package.module:factory that builds the "
            "model and loads them."
        )
    if suffix == ".pt2":
        module, usual = _exported(spec, max_constant)
    elif spec.startswith(("torchvision:", "timm:")):
        module, usual = _from_zoo(spec, weights=weights)
    elif written := _misspelt_factory(spec):
        raise written
    elif re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", spec):
        module, usual = _from_factory(spec), ()
    else:
        raise _unknown_spec(spec)
    if not (shapes or usual):
        raise UsageError(
            f"The input shape of {spec!r} is not known; give it, for example --input 1x3x224x224."
        )
    return Model(spec, module, shapes or usual)


def _onnx(spec: str, shapes: str | None, values: Mapping[str, object], limit: int | None) -> Model:
    module = load_onnx_file(spec, values, limit)
    from fieldwise.capture.onnx import input_shapes

    given = {} if shapes is None else parse_named_shapes(shapes)
    return Model(spec, module, input_shapes(module.graph, given, spec))


def load_onnx_file(spec: str, values: Mapping[str, object], limit: int | None = None) -> OnnxModule:
    """The module of an ONNX file, some of whose inputs have these values.

    Raises UsageError for what is no ONNX model, and for what it needs and is not installed.
    """
    if not Path(spec).is_file():
        raise UsageError(f"There is no file {spec!r}; check the path.")
    _need_torch("onnx")
    try:
        from fieldwise.capture.onnx import MAX_CONSTANT, load_onnx
    except ImportError as error:
        raise UsageError(
            f"{spec!r} needs onnx; install it with pip install 'fieldwise[onnx]'."
        ) from error
    return load_onnx(Path(spec), values, max_constant=MAX_CONSTANT if limit is None else limit)


def parse_named_shapes(text: str) -> Mapping[str, Shape] | tuple[Shape, ...]:
    """Shapes by the names of inputs, or, where none is named, in order.

    >>> parse_named_shapes("x=1x3x8x8,state=2x1x128"), parse_named_shapes("1x8")
    ({'x': (1, 3, 8, 8), 'state': (2, 1, 128)}, ((1, 8),))
    """
    if "=" not in text:
        return parse_shapes(text)
    found: dict[str, Shape] = {}
    for part in text.split(","):
        name, equals, shape = part.strip().rpartition("=")
        if not equals:
            raise UsageError(
                f"Some inputs in {shown(text)} are named and others are not; name all, for example "
                "--input x=1x3x64x64,state=2x1x128."
            )
        found[name] = _parse_shape(shape)
    return found


def parse_values(given: Sequence[str]) -> dict[str, object]:
    """Values of inputs, written NAME=NUMBER or NAME=NUMBER,NUMBER.

    >>> parse_values(["rate=8", "size=1,2.5", "on=true"])
    {'rate': 8, 'size': [1, 2.5], 'on': True}
    """
    found: dict[str, object] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        numbers = [_number(part.strip()) for part in value.split(",")]
        if not equals or None in numbers:
            raise UsageError(
                f"Cannot read the value {shown(text)}; write the name of an input and a number, as "
                "in --set rate=8, or numbers, --set size=64,64."
            )
        found[name] = numbers[0] if len(numbers) == 1 else numbers
    return found


def _number(text: str) -> int | float | bool | None:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else float(text)
    except ValueError:
        return None


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """Shapes from text: sizes joined by 'x', several inputs separated by commas.

    >>> parse_shapes("1x3x8x8,1x10")
    ((1, 3, 8, 8), (1, 10))
    """
    return tuple(_parse_shape(part.strip()) for part in text.split(","))


def _parse_shape(text: str) -> Shape:
    written = text.lower()
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", written):
        raise UsageError(
            f"Cannot read the input shape {shown(text)}; write positive sizes joined by "
            "'x', for example 1x3x224x224, and a comma between several inputs."
        )
    sizes = [whole_number(size) for size in written.split("x")]
    shape = tuple(size for size in sizes if size is not None and size <= MAX_SIZE)
    if len(shape) < len(sizes) or len(shape) > _MAX_RANK:
        raise UsageError(
            f"The input shape {shown(text)} is too large; write at most {_MAX_RANK} sizes of at "
            f"most {MAX_SIZE}."
        )
    return shape


def _layers(spec: str, shapes: tuple[Shape, ...] | None) -> Model:
    if shapes and len(shapes) > 1:
        raise UsageError(f"A layer list has one input, but {len(shapes)} shapes are given.")
    graph = layers_graph(spec.removeprefix(_LAYERS), shapes[0] if shapes else None)
    return Model(spec, graph, (graph.shape(graph.inputs[0]),))


def _from_zoo(spec: str, *, weights: bool) -> tuple[nn.Module, tuple[Shape, ...]]:
    _need_torch("zoo")
    from fieldwise.capture.torch import zoo

    source, name = spec.split(":", 1)
    build = zoo.torchvision_model if source == "torchvision" else zoo.timm_model
    with nullcontext() if weights else zoo.uninitialised():
        return build(name)


def _exported(spec: str, limit: int | None) -> tuple[nn.Module, tuple[Shape, ...]]:
    if not Path(spec).is_file():
        raise UsageError(f"There is no file {spec!r}; check the path.")
    _need_torch()
    from fieldwise.capture.torch.exported import MAX_CONSTANT, load_exported

    return load_exported(Path(spec), max_constant=MAX_CONSTANT if limit is None else limit)


def _from_factory(spec: str) -> nn.Module:
    """The module that ``package.module:factory`` returns; a module itself is taken as it is."""
    _need_torch()
    from fieldwise.capture.torch.zoo import is_module

    path, attribute = spec.split(":")
    factory = _attribute(spec, _import(spec, path), attribute)
    if not (is_module(factory) or callable(factory)):
        raise UsageError(
            f"{spec!r} is of type {type(factory).__name__!r}, neither a torch.nn.Module nor a "
            "function that makes one; name a factory that returns the model."
        )
    try:
        model = factory if is_module(factory) else factory()
    except Exception as error:
        raise UsageError(
            f"{spec!r} raised {type(error).__name__} when called without arguments: "
            f"{said_by(error)}; name a factory that needs none."
        ) from error
    if not is_module(model):
        raise UsageError(
            f"{spec!r} returned {type(model).__name__!r}, which is no torch.nn.Module; "
            "name a factory that returns the model."
        )
    return model.eval()


def _import(spec: str, path: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(path)
    except FieldwiseError:
        raise
    except ModuleNotFoundError as error:
        remedy = did_you_mean(path, _ZOOS, otherwise=f"or write one of {_FORMS}.")
        raise UsageError(
            f"Cannot import {error.name!r} for {spec!r}; run from the folder that holds it, "
            f"{remedy}"
        ) from error
    except Exception as error:
        raise UsageError(
            f"Importing {path!r} for {spec!r} raised {summary_of(error)}; repair the module first."
        ) from error


def _attribute(spec: str, module: ModuleType, attribute: str) -> Any:
    found = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            public = [one for one in dir(found) if not one.startswith("_")]
            remedy = did_you_mean(name, public, otherwise="check the name.")
            raise UsageError(f"{module.__name__!r} has no {name!r} for {spec!r}; {remedy}")
        found = getattr(found, name)
    return found


_FACTORY_OF_A_FILE = re.compile(
    r"(?:.*[/\\])?(?P<module>[^/\\:]+?)(?P<file>\.py)?(?::(?P<factory>[^:()]+))?(?P<call>\(.*\))?"
)


def _misspelt_factory(spec: str) -> UsageError | None:
    """What to say of a factory that is written as a file, by its path, or as a call.

    >>> print(_misspelt_factory("nets/mine.py:build()"))
    'nets/mine.py:build()' is not how a factory is written; write mine:build, without folder, .py \
and parentheses, and run in the folder that holds it: it is called without arguments.
    """
    found = _FACTORY_OF_A_FILE.fullmatch(spec)
    if not found or not (found["file"] or (found["factory"] and (found["call"] or "/" in spec))):
        return None
    meant = f"{found['module']}:{found['factory'] or 'FACTORY'}"
    return UsageError(
        f"{spec!r} is not how a factory is written; write {meant}, without folder, .py and "
        "parentheses, and run in the folder that holds it: it is called without arguments."
    )


def _unknown_spec(spec: str) -> UsageError:
    if re.fullmatch(r"[\w.-]+", spec):
        return UsageError(
            f"Unknown model {spec!r}; write torchvision:{spec} or timm:{spec}, or one of "
            f"{_FORMS.split('NAME, ')[-1]}."
        )
    return UsageError(f"Unknown model {spec!r}; write {_FORMS}.")


def _need_torch(extra: str = "torch") -> None:
    """Raise UsageError, with the extra that brings all that such a model needs, without torch."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"This model needs torch; install it with pip install 'fieldwise[{extra}]'."
        ) from error
