"""Units of a tensor, and the tensor a layer returned, for the probes that run the real model."""

from __future__ import annotations

from contextlib import ExitStack
from threading import get_ident

from torch import Tensor, nn

from fieldwise.capture.torch.example import placed
from fieldwise.capture.torch.keeping import kept
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.own_names import part_of
from fieldwise.capture.torch.private import seeded
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import UsageError


def select(
    value: Tensor,
    unit: tuple[int, ...],
    *,
    channel: int | None = None,
    dims: tuple[int, ...] | None = None,
    layer: str = "output",
) -> Tensor:
    """The part of ``value`` that is this unit, as a view: all channels, or one.

    ``dims`` are the dimensions that ``unit`` indexes, by default those from 2 on; the channel
    dimension is 1, or the last one where ``dims`` holds 1.

    >>> import torch
    >>> select(torch.arange(8.0).reshape(1, 2, 4), (3,)).flatten().tolist()
    [3.0, 7.0]
    >>> select(torch.zeros(1, 2, 4), (9,), layer="conv1")
    Traceback (most recent call last):
    fieldwise.errors.UsageError: Position (9,) is outside 'conv1', which has 4 positions.
    """
    rank = value.dim()
    kept = tuple(range(2, rank)) if dims is None else tuple(dim % rank for dim in dims)
    sizes = tuple(value.shape[dim] for dim in kept)
    if len(unit) != len(kept) or any(
        not 0 <= index < size for index, size in zip(unit, sizes, strict=True)
    ):
        across = "x".join(map(str, sizes)) or "no"
        raise UsageError(
            f"Position {tuple(unit)} is outside '{layer}', which has {across} positions."
        )
    index = [slice(None)] * rank
    for dim, place in zip(kept, unit, strict=True):
        index[dim] = slice(place, place + 1)
    if channel is not None:
        dim = 1 if 1 not in kept else rank - 1
        if not 0 <= channel < value.shape[dim]:
            raise UsageError(
                f"Channel {channel} lies outside '{layer}', which has {value.shape[dim]}."
            )
        index[dim] = slice(channel, channel + 1)
    return value[tuple(index)]


def layer_output(call: ModelCall, layer: str | None) -> Tensor:
    """One forward run; the first tensor that ``layer`` returned, copied before others write to it.

    ``layer`` is a module's path, with '#2' for its second run, or None for the model's own output.
    The model and the random state are afterwards as they were.
    """
    model, (args, kwargs) = call.model, placed(call.example)
    path, run = (None, 1) if layer is None else _run_of(model, layer)
    found: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: object) -> None:
        if get_ident() == thread:
            found.extend(tensor.clone() for tensor in list(tensors_in(output))[:1])

    thread = get_ident()
    with kept(model), seeded(), ExitStack() as stack:
        if path is not None:
            stack.callback(model.get_submodule(path).register_forward_hook(keep).remove)
        output = model(*args, **kwargs)
    if path is None:
        return next(tensors_in(output))
    if len(found) < run:
        raise UsageError(
            f"The {part_of(model)} '{path}' returned a tensor {len(found)} times in this forward "
            f"run, so there is no '{layer}'; name a {part_of(model)} that takes part."
        )
    return found[run - 1]


def varied(call: ModelCall, first: Tensor) -> ModelCall:
    """The model with another first input, the one that the probes vary."""
    given = call.inputs[0]
    inputs = map_tensors(lambda tensor: first if tensor is given else tensor, call.example)
    return ModelCall(call.model, inputs)


def _run_of(model: nn.Module, layer: str) -> tuple[str, int]:
    paths = dict(model.named_modules())
    if layer in paths:
        return layer, 1
    path, _, run = layer.rpartition("#")
    if path in paths and run.isdecimal() and int(run) > 0:
        return path, int(run)
    part = part_of(model)
    raise UsageError(
        f"There is no {part} '{layer}'; a probe that runs the model itself can read only what a "
        f"{part} returns: use a {part}'s path."
    )
