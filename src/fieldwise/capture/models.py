"""What an analysis is given as its model: a module, an exported program, a name, a file.

A torch module or a captured graph stays as it is.  An ``ExportedProgram`` is read as its file
would be; a text or a path is a spec of ``fieldwise.capture.specs`` (``"torchvision:resnet50"``);
and a ``Model`` is what ``load_model`` made, with weights that it was given for example.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeGuard

from fieldwise.axes.region import Shape
from fieldwise.capture.specs import Model, find_model
from fieldwise.capture.written_inputs import parse_named_shapes
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def as_source(model: object, example: object = None) -> tuple[Any, Any]:
    """The graph or the module that is meant, and its example.

    model:   a graph or a module, which stays as it is; an exported program; the spec of a model or
             the path of a file, as on the command line; a ``Model``
    example: as for ``receptive_fields``; or shapes as they are written (``"1x3x64x64"``).  None:
             the shapes that a spec or a program brings along, where it does

    Raises UsageError for a spec that names no model, and where it brings no shape along.

    >>> as_source("layers:conv3 relu", (1, 1, 8))[0].shape("conv3")
    (1, 1, 6)
    >>> as_source("layers:conv3 relu", "1x1x8")[1]
    ((1, 1, 8),)
    """
    if isinstance(example, str):
        example = parse_named_shapes(example)
    found = _find(model, example)
    if found is None:
        return model, example
    if example is not None:
        return found.source, example
    if not found.shapes:
        raise UsageError(
            f"The input shape of {found.name!r} is not known; pass an example, or its shape such "
            "as (1, 3, 224, 224)."
        )
    return found.source, found.example() or found.shapes


def as_module(
    model: object, example: object = None, *, values: bool = True
) -> tuple[nn.Module, Any]:
    """As ``as_source``, for what runs the model: a layer list becomes a module too.

    values: whether they count; then a warning says where the weights of what a spec names are
            random numbers

    Raises UsageError also for a module without an example.
    """
    found = _find(model, parse_named_shapes(example) if isinstance(example, str) else example)
    source, example = as_source(model if found is None else found.runnable(), example)
    if example is None:
        from fieldwise.capture.torch.given import NO_EXAMPLE, check_model

        check_model(source)
        raise UsageError(NO_EXAMPLE)
    if values and found is not None and (drawn := found.drawn()):
        warnings.warn(
            f"{found.said_of(drawn)}; for trained ones give "
            f"load_model({found.name!r}).given(FILE), of fieldwise.capture.",
            stacklevel=3,
        )
    return source, example


def _find(model: object, example: object) -> Model | None:
    """What a spec, a path or an exported program is; None for a module and for what is no model."""
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, os.PathLike)):
        spec = os.fspath(model)
        given = _only_shape(example) if spec.startswith("layers:") and example is not None else ()
        return find_model(spec, given)
    if _is_exported(model):
        from fieldwise.capture.torch.exported import read_exported

        module, usual = read_exported(model)
        return Model(type(model).__name__, module, usual)
    return None


def _is_exported(model: object) -> TypeGuard[ExportedProgram]:
    """Whether it is an ``ExportedProgram``; torch is not imported for it."""
    return any(
        (kind.__module__, kind.__name__) == ("torch.export.exported_program", "ExportedProgram")
        for kind in type(model).__mro__
    )


def _only_shape(example: Any) -> tuple[Shape, ...]:
    """The shape that an example is or has; of several, each: a layer list refuses them."""
    if hasattr(example, "shape"):
        return (tuple(example.shape),)
    if isinstance(example, Mapping):
        return tuple(shape for one in example.values() for shape in _only_shape(one))
    if all(isinstance(size, Integral) for size in example):
        return (tuple(map(int, example)),) if len(example) else ()
    return tuple(shape for one in example for shape in _only_shape(one))
