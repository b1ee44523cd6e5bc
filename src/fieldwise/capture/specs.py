"""What the command line calls a model: a name, a layer list, a factory or a file → a model.

    torchvision:resnet50          built without weights
    timm:convnext_tiny            built without weights; with arguments, NAME(num_classes=10)
    layers:conv3 relu maxpool2    see ``fieldwise.capture.layers``
    package.module:factory        imported and called; with arguments, factory(width=64)
    path/to/net.py:factory        the same of a file
    path/to/program.pt2           written by torch.export.save
    path/to/network.onnx          an ONNX file
    keras:ResNet50                of keras.applications, built without weights
    script:path/to/net.pt         a TorchScript archive, whose program is run

No model is ever unpickled and nothing is downloaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwise.axes.region import Shape
from fieldwise.capture.arguments import read_arguments, split_call
from fieldwise.capture.factories import ZOOS, Factory, find_misspelt
from fieldwise.capture.fitting import fitting_spec
from fieldwise.capture.layers import layers_graph
from fieldwise.capture.pickles import PICKLES, refusal_of_pickle
from fieldwise.capture.written_inputs import parse_named_shapes
from fieldwise.errors import UsageError
from fieldwise.graph import Graph
from fieldwise.written import counted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fieldwise.capture.onnx import OnnxModule
    from fieldwise.capture.torch.weights import LoadedWeights

_LAYERS = "layers:"
_SCRIPT = "script:"

_FORMS = (
    "torchvision:NAME, timm:NAME, keras:NAME, layers:..., package.module:factory, FILE.py:factory, "
    "script:FILE.pt, FILE.onnx or FILE.pt2"
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a spec names, ready for analysis.

    name:    the spec
    source:  a torch module in eval mode, or the graph of a layer list
    shapes:  of its inputs
    again:   makes the module once more, where a function or class of the user's makes it
    weights: what is known of the file of weights that it was given; None where it has its own
    names:   of the inputs, where these are given by the names that its ``forward`` has for them
    """

    name: str
    source: nn.Module | Graph
    shapes: tuple[Shape, ...]
    again: Callable[[], nn.Module] | None = None
    weights: LoadedWeights | None = None
    names: tuple[str, ...] = ()

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX file, which may have channels last."""
        return Path(self.name).suffix.lower() == ".onnx"

    def drawn(self) -> tuple[str, ...]:
        """Parameters whose values are random numbers; none where it was given weights.

        Those of a zoo's model and of a layer list are, all of them.  Of the user's own function or
        class, those are which it makes otherwise when it is called again: what it loads is the
        same each time, and what it draws from a seed of its own is too.  Of a module that the
        user's code holds nothing is known, and none counts as drawn.
        """
        model = self.runnable()
        if self.weights is not None:
            return ()
        if self.name.partition(":")[0] in ZOOS:
            return tuple(name for name, _ in model.module.named_parameters())
        if self.again is None:
            return ()
        from fieldwise.capture.torch.drawn import differing_parameters

        return differing_parameters(model.module, self.again)

    def said_of(self, drawn: Sequence[str]) -> str:
        """That these parameters are random numbers, in words."""
        every = sum(1 for _ in self.runnable().module.parameters())
        if len(drawn) == every:
            return f"{self.name!r} has random weights"
        some = f"{len(drawn)} of {counted(every, 'parameter')}"
        return f"{self.name!r} has random weights in {some}, '{drawn[0]}' first"

    def given(self, weights: Path | None) -> Model:
        """Itself with the weights in a file; None: as it is.

        Raises UsageError for a file that cannot be read, or that does not fit; where it fits the
        model with other arguments, these are named.
        """
        if weights is None:
            return self
        model = self.runnable()
        from fieldwise.capture.torch.weights import OtherModelError, load_weights

        try:
            return replace(model, weights=load_weights(model.module, weights))
        except OtherModelError as error:
            other = fitting_spec(
                self.name, weights, lambda spec: find_model(spec, weights=False).module
            )
            fits = "" if other is None else f" It fits {other!r}."
            raise UsageError(f"{error}{fits}") from error

    def example(self) -> tuple[Tensor, ...] | dict[str, Tensor] | None:
        """Tensors for its inputs, by name if they have names; None for a layer list."""
        if isinstance(self.source, Graph):
            return None
        from fieldwise.capture.torch.zoo import example_inputs

        inputs = example_inputs(self.shapes, self.source)
        return dict(zip(self.names, inputs, strict=True)) if self.names else inputs

    def runnable(self) -> Model:
        """Itself as a torch module, for the analyses that run it."""
        if not isinstance(self.source, Graph):
            return self
        _need_torch()
        from fieldwise.capture.torch.from_layers import layers_module

        module = layers_module(self.name.removeprefix(_LAYERS), self.shapes[0])
        return replace(self, source=module)

    def on(self, device: str | None) -> Model:
        """Itself with its weights on a device, ``cuda:1`` for example; None: where they are.

        Raises UsageError for a device that is not here.
        """
        if device is None:
            return self
        from fieldwise.capture.torch.devices import find_device

        return replace(self, source=self.runnable().module.to(find_device(device)))

    def cast(self, dtype: str | None) -> Model:
        """Itself with its weights in a type, ``bfloat16`` for example; None: as they are."""
        if dtype is None:
            return self
        from fieldwise.capture.torch.devices import cast

        return replace(self, source=cast(self.runnable().module, dtype))

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
    an ONNX file that are constants.  Shapes may be given by the names of the inputs
    (``x=1x3x8x8,state=1x16``): those of an ONNX file, or of the arguments of ``forward``.

    Raises UsageError for a spec or a shape that cannot be read, an unknown name, a package that
    is not installed, a factory that fails, and a file that would have to be unpickled.

    >>> load_model("layers:conv3 relu", "1x1x8").shapes
    ((1, 1, 8),)
    >>> load_model("resnet50")
    Traceback (most recent call last):
    fieldwise.errors.UsageError: Unknown model 'resnet50'; write torchvision:resnet50 or \
timm:resnet50, or one of layers:..., package.module:factory, FILE.py:factory, script:FILE.pt,
    FILE.onnx or FILE.pt2.
    """
    if Path(spec).suffix.lower() == ".onnx":
        return _onnx(spec, input_shape, values or {}, max_constant)
    if values:
        raise UsageError(f"Only inputs of an ONNX file are set to values, and {spec!r} is none.")
    given = parse_named_shapes(input_shape) if input_shape is not None else ()
    names, shapes = (
        (tuple(given), tuple(given.values())) if isinstance(given, Mapping) else ((), given)
    )
    found = find_model(spec, shapes, weights=weights, max_constant=max_constant)
    if not found.shapes:
        raise UsageError(
            f"The input shape of {spec!r} is not known; give it, for example --input 1x3x224x224."
        )
    return replace(found, names=names)


def find_model(
    spec: str,
    shapes: tuple[Shape, ...] = (),
    *,
    weights: bool = True,
    max_constant: int | None = None,
) -> Model:
    """As ``load_model``, of shapes that are read; without them, its usual ones or none.

    An ONNX file whose sizes are open has none.
    """
    suffix = Path(spec).suffix.lower()
    if spec.startswith(_LAYERS):
        return _layers(spec, shapes)
    if spec.startswith(_SCRIPT):
        return _scripted(spec, shapes)
    if suffix in PICKLES:
        raise refusal_of_pickle(spec)
    if suffix == ".safetensors":
        raise UsageError(
            f"{spec!r} holds weights and no model; name the model, and give it these by --weights."
        )
    module: nn.Module
    again = None
    if suffix == ".onnx":
        onnx = load_onnx_file(spec, {}, max_constant)
        module, usual = onnx, onnx.graph.closed_shapes()
    elif suffix == ".pt2":
        module, usual = _exported(spec, max_constant)
    elif spec.startswith(("torchvision:", "timm:", "keras:")):
        module, usual = _from_zoo(spec, weights=weights)
    elif factory := Factory.find(spec):
        _need_torch()
        module, again = factory.build()
        usual = ()
    else:
        raise find_misspelt(spec) or _unknown_spec(spec)
    return Model(spec, module, shapes or usual, again)


def absolute_spec(spec: str) -> str:
    """The spec for a process that works in another folder.

    >>> absolute_spec("torchvision:resnet18"), absolute_spec("/srv/nets/unet.py:UNet(width=64)")
    ('torchvision:resnet18', '/srv/nets/unet.py:UNet(width=64)')
    """
    if Path(spec).is_file():
        return os.path.abspath(spec)
    if spec.startswith(_SCRIPT):
        return _SCRIPT + os.path.abspath(spec.removeprefix(_SCRIPT))
    factory = Factory.find(spec)
    return spec if factory is None else factory.absolute()


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


def _layers(spec: str, shapes: tuple[Shape, ...]) -> Model:
    if len(shapes) > 1:
        raise UsageError(f"A layer list has one input, but {len(shapes)} shapes are given.")
    graph = layers_graph(spec.removeprefix(_LAYERS), shapes[0] if shapes else None)
    return Model(spec, graph, (graph.shape(graph.inputs[0]),))


def _scripted(spec: str, shapes: tuple[Shape, ...]) -> Model:
    _need_torch()
    from fieldwise.capture.torch.scripted import load_scripted

    return Model(spec, load_scripted(spec.removeprefix(_SCRIPT)), shapes)


def _from_zoo(spec: str, *, weights: bool) -> tuple[nn.Module, tuple[Shape, ...]]:
    source, rest = spec.split(":", 1)
    name, call = split_call(rest)
    args, named = read_arguments(spec, call)
    if args:
        raise UsageError(f"{spec!r}: write each argument by its name, as in '(num_classes=10)'.")
    _need_torch("torch" if source == "keras" else "zoo")
    if source == "keras":
        from fieldwise.capture.torch.keras_models import keras_model

        return keras_model(name, named)
    from fieldwise.capture.torch import zoo

    build = zoo.torchvision_model if source == "torchvision" else zoo.timm_model
    with nullcontext() if weights else zoo.uninitialised():
        return build(name, named)


def _exported(spec: str, limit: int | None) -> tuple[nn.Module, tuple[Shape, ...]]:
    if not Path(spec).is_file():
        raise UsageError(f"There is no file {spec!r}; check the path.")
    _need_torch()
    from fieldwise.capture.torch.exported import MAX_CONSTANT, load_exported

    return load_exported(Path(spec), max_constant=MAX_CONSTANT if limit is None else limit)


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
