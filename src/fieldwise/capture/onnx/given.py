"""What a user gives beside a file: the shapes of its inputs, and the values of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fieldwise.axes.region import Shape
from fieldwise.capture.onnx.graph import OnnxGraph, OnnxInput
from fieldwise.errors import UsageError, did_you_mean
from fieldwise.written import shown

_MOST_CHANNELS = 4
"""Of an image; a last axis of so few is taken for them."""

GivenShapes = Mapping[str, Shape] | Sequence[Shape]


def input_shapes(graph: OnnxGraph, given: GivenShapes, file: str) -> tuple[Shape, ...]:
    """The shapes of a graph's inputs: as given, by name or in order, else as in the file.

    An open batch is 1 (``OnnxInput.usual_dims``).  Raises UsageError for a name or a rank that it
    has not, and for a size that stays open.
    """
    by_name = given if isinstance(given, Mapping) else _in_order(graph, given, file)
    names = [one.name for one in graph.inputs]
    for name in by_name:
        if name not in names:
            raise _unknown_input(name, names, file)
    return tuple(_shape(one, by_name.get(one.name), file) for one in graph.inputs)


def _in_order(graph: OnnxGraph, given: Sequence[Shape], file: str) -> dict[str, Shape]:
    names = [one.name for one in graph.inputs]
    if given and len(given) != len(names):
        raise UsageError(
            f"{file!r} has {len(names)} inputs, and {len(given)} shapes are given; name those that "
            f"are meant, as in --input {names[0] if names else 'x'}=1x3x64x64."
        )
    return dict(zip(names, given, strict=False))


def _shape(one: OnnxInput, given: Shape | None, file: str) -> Shape:
    if given is None:
        if one.dims is None:
            raise UsageError(
                f"{file!r} does not say what shape its input '{one.name}' has; give it, for "
                f"example --input {one.name}=1x3x224x224."
            )
        sizes = [dim for dim in one.usual_dims if isinstance(dim, int)]
        if len(sizes) < len(one.dims):
            raise _open(one, one.dims, file)
        return tuple(sizes)
    if one.dims is not None and len(given) != len(one.dims):
        raise UsageError(
            f"The input '{one.name}' of {file!r} has {len(one.dims)} dimensions "
            f"({one}), and {'x'.join(map(str, given))} has {len(given)}."
        )
    return tuple(given)


def _open(one: OnnxInput, dims: Sequence[int | str | None], file: str) -> UsageError:
    unknown = [dim for dim in dims if not isinstance(dim, int)]
    names = [f"'{dim}'" for dim in unknown if dim not in (None, "?")]
    if len(unknown) == 1:
        what = f"its size {names[0]} is open; give it" if names else "a size is open; give it"
    elif len(names) == len(unknown):
        what = f"its sizes {', '.join(names)} are open; give them"
    else:
        what = f"{len(unknown)} of its sizes are open; give them"
    last = isinstance(dims[-1], int) and dims[-1] <= _MOST_CHANNELS
    usual = [1, 224 if last or len(dims) == 2 else 3, 224, 224, 224]
    example = "x".join(
        str(dim if isinstance(dim, int) else usual[min(place, 4)]) for place, dim in enumerate(dims)
    )
    return UsageError(
        f"The input '{one.name}' of {file!r} is {one}: {what}, for example "
        f"--input {one.name}={example}."
    )


def _unknown_input(name: str, names: Sequence[str], file: str) -> UsageError:
    listed = ", ".join(f"'{one}'" for one in names) or "none"
    remedy = did_you_mean(name, names, otherwise=f"its inputs are {listed}.")
    return UsageError(f"{file!r} has no input '{name}'; {remedy}")


# -------------------------------------------------------------------- values


def with_values(graph: OnnxGraph, values: Mapping[str, object], file: str) -> OnnxGraph:
    """The graph with some of its inputs as constants.

    Raises UsageError for an input that it has not, and for a value that does not fit.
    """
    by_name = {one.name: one for one in graph.inputs}
    made: dict[str, Tensor] = {}
    for name, value in values.items():
        if name not in by_name:
            raise _unknown_input(name, list(by_name), file)
        made[name] = _value(by_name[name], value)
    return replace(
        graph,
        inputs=tuple(one for one in graph.inputs if one.name not in made),
        constants={**graph.constants, **made},
    )


def _value(one: OnnxInput, value: object) -> Tensor:
    try:
        found = torch.as_tensor(value).to(one.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"The input '{one.name}' takes numbers, and {shown(str(value))} is none; write "
            f"for example --set {one.name}=8 or --set {one.name}=1,2."
        ) from error
    if one.dims is None or found.dim() == len(one.dims):
        return found
    known = [dim for dim in one.dims if isinstance(dim, int)]
    if len(known) == len(one.dims):
        if found.numel() == 1:
            return found.reshape(()).expand(known).clone()
        return found.reshape(known)
    if found.dim() < 2:
        return found.reshape([1] * (len(one.dims) - 1) + [-1])
    raise UsageError(f"The input '{one.name}' is {one}, and the value given has another shape.")
