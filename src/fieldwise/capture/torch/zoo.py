"""Models by name from torchvision and timm, built without weights and without downloads."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fieldwise.axes.region import Shape
from fieldwise.capture.arguments import written_call
from fieldwise.capture.torch.example import declared_dtypes, home, precision
from fieldwise.errors import UsageError, close_names, said_by
from fieldwise.graph.ir import Args, Kwargs

_RANDOM_FILLS = frozenset(
    {
        torch.Tensor.normal_,
        torch.Tensor.uniform_,
        torch.Tensor.erfinv_,
        torch.Tensor.bernoulli_,
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.kaiming_uniform_,
    }
)
_LOADING = frozenset(
    {
        "checkpoint_path",
        "pretrained",
        "pretrained_backbone",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "weights",
        "weights_backbone",
    }
)
"""Arguments of the zoos that name trained weights."""
_FRAMES = 16
_VIDEO_SIZE = 112
_IMAGE_SIZE = 224


def torchvision_model(
    name: str, arguments: Mapping[str, object] = MappingProxyType({})
) -> tuple[nn.Module, tuple[Shape, ...]]:
    """A torchvision model and its usual input shapes; of a detector, the backbone.

    What a detector does after its backbone depends on the image, not on the architecture.
    Raises UsageError for a name that torchvision does not list, with close ones, and for arguments
    that the model does not take.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise missing_extra("torchvision", "zoo") from error
    if name.lower() not in models.list_models():
        raise unknown_model("torchvision", name, models.list_models())
    accepted = inspect.signature(models.get_model_builder(name)).parameters
    options: dict[str, object] = {"weights": None}
    if "weights_backbone" in accepted:
        options["weights_backbone"] = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = build(f"torchvision:{name}", partial(models.get_model, name), arguments, options)
    size = getattr(model, "image_size", None)
    if type(model).__module__.startswith("torchvision.models.detection"):
        fixed = model.transform.fixed_size
        size, model = (None if fixed is None else fixed[0]), model.backbone
    if isinstance(size, int):
        return model.eval(), ((1, 3, size, size),)
    return model.eval(), _torchvision_shapes(models, name)


def timm_model(
    name: str, arguments: Mapping[str, object] = MappingProxyType({})
) -> tuple[nn.Module, tuple[Shape, ...]]:
    """A timm model and its usual input shape.

    Raises UsageError for a name that timm does not list, and for arguments that the model does not
    take.
    """
    try:
        import timm
    except ImportError as error:
        raise missing_extra("timm", "zoo") from error
    if not timm.is_model(name):
        raise unknown_model("timm", name, timm.list_models())
    off = {"pretrained": False}
    model: Any = build(f"timm:{name}", partial(timm.create_model, name), arguments, off)
    published: Any = timm.get_pretrained_cfg(name)
    config = getattr(model, "default_cfg", None) or (published.to_dict() if published else {})
    channels, *sizes = config.get("input_size", (3, _IMAGE_SIZE, _IMAGE_SIZE))
    size: Any = arguments.get("img_size", sizes)
    sizes = (size, size) if isinstance(size, int) else size
    return model.eval(), ((1, arguments.get("in_chans", channels), *sizes),)


def build(
    spec: str,
    make: Callable[..., Any],
    arguments: Mapping[str, object],
    off: Mapping[str, object],
) -> Any:
    """What a zoo makes with the arguments of a spec; off: what would download something otherwise.

    Raises UsageError for arguments that it does not take, or that would download.
    """
    if not arguments:
        return make(**off)
    call = written_call((), arguments)
    loading = [one for one in arguments if one in _LOADING and arguments[one]]
    if loading:
        raise UsageError(
            f"'{spec}{call}' asks for trained weights by {loading[0]!r}, and fieldwise downloads "
            "none; --weights FILE gives it those of a file."
        )
    try:
        return make(**{**arguments, **off})
    except Exception as error:
        raise UsageError(
            f"{spec} raised {type(error).__name__} when called with {call}: {said_by(error)}; "
            "write other arguments."
        ) from error


def example_inputs(shapes: Sequence[Shape], model: object) -> tuple[torch.Tensor, ...]:
    """Tensors of these shapes, standing for inputs.

    They are of the types that a file declares, if the model was read from one that does, or of
    the model's precision.
    Raises UsageError where there is no memory for them.
    """
    exported = declared_dtypes(model)
    known = exported is not None and len(exported) == len(shapes)
    dtypes = exported if exported and known else (precision(model),) * len(shapes)
    device = home(model)
    return tuple(_zeros(shape, dtype, device) for shape, dtype in zip(shapes, dtypes, strict=True))


def _zeros(shape: Shape, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    try:
        return torch.zeros(shape, dtype=dtype, device=device)
    except (RuntimeError, MemoryError) as error:
        written = "x".join(map(str, shape))
        raise UsageError(
            f"There is no memory for an input of {written}; give a smaller --input."
        ) from error


def is_module(candidate: object) -> bool:
    """Whether this is a torch module."""
    return isinstance(candidate, nn.Module)


@contextmanager
def uninitialised() -> Iterator[None]:
    """Inside, parameters are not drawn but all one: enough where only the structure counts.

    Drawing the weights of VGG-16 takes longer than analysing it.  They are filled, since memory as
    it is found may hold numbers that mean something (an infinite bias of attention hides a key).
    Other tensors are drawn as ever: an initialiser that draws again until every value fits would
    otherwise never end.
    """
    with _SkipRandomFills():
        yield


class _SkipRandomFills(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Args = (),
        kwargs: Kwargs | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func in _RANDOM_FILLS:
            filled = args[0] if args else kwargs["tensor"]
            if isinstance(filled, nn.Parameter):
                filled.detach().fill_(1)
                return filled
        return func(*args, **kwargs)


def missing_extra(package: str, extra: str) -> UsageError:
    """The error for a package that an optional extra brings."""
    return UsageError(
        f"{package!r} is not installed; install it with pip install 'fieldwise[{extra}]'."
    )


def unknown_model(zoo: str, name: str, known: Sequence[str]) -> UsageError:
    """The error for a name that a zoo does not list."""
    close = close_names(name, known)
    remedy = (
        f"did you mean {' or '.join(f'{zoo}:{match}' for match in close)}?"
        if close
        else f"{zoo}.{'models.' if zoo == 'torchvision' else ''}list_models() lists all."
    )
    return UsageError(f"{zoo} has no model {name!r}; {remedy}")


def _torchvision_shapes(models: Any, name: str) -> tuple[Shape, ...]:
    """From the preprocessing that the published weights come with."""
    weights = next(iter(models.get_model_weights(name)))
    family = type(weights).__module__.split(".")[2]
    if family == "optical_flow":
        return ((1, 3, *weights.meta["min_size"]),) * 2
    options = getattr(weights.transforms, "keywords", {})
    fallback = _VIDEO_SIZE if family == "video" else _IMAGE_SIZE
    size = options.get("crop_size", fallback)
    height, width = (size, size) if isinstance(size, int) else (size * 2)[:2]
    if family == "video":
        return ((1, 3, _FRAMES, height, width),)
    return ((1, 3, height, width),)
