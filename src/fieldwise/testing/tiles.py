"""Streamed and tiled runs held against the whole: ``check_streamed`` and ``check_tiled``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from torch import nn

from fieldwise.capture.torch.tree import named_tensors, tensors_in
from fieldwise.testing.outcome import Outcome, outcome_of, worst
from fieldwise.testing.running import Inputs, answer, apart, as_module, doubled, in_full, same
from fieldwise.tile import streamed, tiled


def streamed_outcome(
    model: object,
    inputs: Inputs,
    axis: int,
    *,
    bands: Iterable[int] | None = None,
    global_ops: Literal["refuse", "multipass"] = "refuse",
) -> Outcome:
    """Whether bands of 1 and 2 rows, and one of all, give what the whole gives.

    axis: of the inputs, counted from the end
    """
    module = as_module(model)
    sizes = bands or dict.fromkeys((1, 2, inputs[0].shape[axis]))

    def run(band: int) -> object:
        made = streamed(module, inputs, axis=axis, band=band, global_ops=global_ops)
        return made(*(x.clone() for x in inputs))

    return _against_whole(module, inputs, {f"bands of {band}": band for band in sizes}, run)


def tiled_outcome(model: object, inputs: Inputs, axis: int) -> Outcome:
    """Whether two tiles, or as many as the network's grid asks for, give what the whole gives."""
    module = as_module(model)
    size = inputs[0].shape[axis]
    found = Outcome("nothing")
    for tile in dict.fromkeys(((size + 1) // 2, size // 2, 1)):
        if not tile:
            continue

        def run(step: int) -> object:
            made = tiled(module, inputs, tile=step, axes=[axis % inputs[0].dim()])
            return made(*(x.clone() for x in inputs))

        found = _against_whole(module, inputs, {f"tiles of {tile}": tile}, run)
        if found.verdict != "refused":
            return found
    return found


def _against_whole(
    module: nn.Module, inputs: Inputs, pieces: Mapping[str, int], run: Callable[[int], object]
) -> Outcome:
    with torch.no_grad():
        whole = answer(module, inputs)
    elements = sum(tensor.numel() for tensor in tensors_in(whole))
    found = []
    for told, size in pieces.items():
        try:
            with torch.no_grad():
                outputs = run(size)
        except Exception as error:  # noqa: BLE001 - what comes out is what is looked for
            found.append(outcome_of(error))
            continue
        difference = unlike(outputs, whole)
        if difference:
            return Outcome("wrong", f"{told}: {difference}", 1)
        found.append(Outcome("exact" if elements else "nothing", compared=elements))
    return worst(found)


def unlike(found: object, wanted: object) -> str | None:
    """In what two answers differ, beyond rounding; None where they are alike."""
    if _form(found) != _form(wanted):
        return f"the outputs come as {_form(found)}, not as {_form(wanted)}"
    for (name, one), (_, two) in zip(named_tensors(found), named_tensors(wanted), strict=True):
        if one.shape != two.shape or one.dtype != two.dtype:
            return (
                f"{name} is {one.dtype} of the shape {tuple(one.shape)}, not {two.dtype} of "
                f"{tuple(two.shape)}"
            )
        if not same(one, two):
            return f"{name} differs by {apart(one, two).max().item():.2g}"
    return None


def _form(tree: object) -> object:
    """The nesting of an answer: keys and kinds, without the tensors."""
    if isinstance(tree, Mapping):
        return {key: _form(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_form(item) for item in tree]
    if isinstance(tree, tuple):
        return tuple(_form(item) for item in tree)
    return "tensor" if isinstance(tree, torch.Tensor) else repr(tree)


def check_streamed(
    model: nn.Module,
    *inputs: object,
    axis: int = -2,
    global_ops: Literal["refuse", "multipass"] = "refuse",
) -> Outcome:
    """Hold streamed runs of a model against the whole: in bands of one and two rows, and of all.

    axis, global_ops: as for ``streamed``; the axis is counted from the end

    Raises AssertionError where they differ in values or nesting, where a run fails, and where it is
    refused, since nothing was compared then.
    """
    given = in_full(model, inputs)
    module = doubled(as_module(model))
    return streamed_outcome(module, given, axis, global_ops=global_ops).required()


def check_tiled(model: nn.Module, *inputs: object, axis: int = -1) -> Outcome:
    """Hold a run in tiles along an axis against the whole; raises as ``check_streamed`` does."""
    return tiled_outcome(doubled(as_module(model)), in_full(model, inputs), axis).required()
