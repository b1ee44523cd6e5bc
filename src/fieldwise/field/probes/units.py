"""Units of a tensor, and the tensor a layer returned, for the probes that run the real model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from threading import get_ident

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.example import placed
from fieldwise.capture.torch.keeping import kept
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.own_names import part_of
from fieldwise.capture.torch.private import seeded
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import UsageError
from fieldwise.graph.graph import Graph

_PLACE = re.compile(r"(?P<path>.*?)(#(?P<run>[1-9]\d*))?(\[(?P<place>\d+)\])?")


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
    """One forward run; the tensor that ``layer`` returned, copied before others write to it.

    ``layer`` is a module's path, None for the model itself.  Behind it '#2' stands for its second
    run, and '[1]' for the second of the tensors that it returned; the first is taken otherwise.
    The model and the random state are afterwards as they were.
    """
    (returned,) = outputs_in_run(call, [(layer, Tensor.clone)])
    return returned


def outputs_in_run(
    call: ModelCall, asked: Sequence[tuple[str | None, Callable[[Tensor], Tensor]]]
) -> list[Tensor]:
    """The same of several layers in one run: what is made of each tensor as it is returned."""
    places = [_place_of(call.model, layer) for layer, _ in asked]
    found: dict[int, Tensor] = {}
    runs, times = Counter[str](), Counter[int]()

    def noting(path: str) -> Callable[[object], None]:
        def note(output: object) -> None:
            runs[path] += 1
            tensors = list(tensors_in(output))
            for number, ((of, run, place), (_, made)) in enumerate(zip(places, asked, strict=True)):
                if of == path and place < len(tensors):
                    times[number] += 1
                    if run == runs[path]:
                        found[number] = made(tensors[place])

        return note

    _run_with(call, {path: noting(path) for path, _, _ in places})
    for number, ((path, _, place), (layer, _)) in enumerate(zip(places, asked, strict=True)):
        if number not in found:
            part = part_of(call.model)
            what = f"{part} '{path}'" if path else "model"
            tensor = f"tensor [{place}]" if place else "a tensor"
            raise UsageError(
                f"The {what} returned {tensor} {times[number]} times in this forward run, so there "
                f"is no '{layer or 'output'}'; name a {part} that takes part."
            )
    return [found[number] for number in range(len(asked))]


def shown_by_run(graph: Graph, call: ModelCall) -> dict[str, tuple[str | None, ...]]:
    """Per value that a run of the captured model shows, as which layers ``layer_output`` finds it.

    Those are the values that modules return, and the model itself.  A run does not say which of
    several tensors are constants, so that a module returns all that it returns as values, or none.

    >>> from fieldwise.capture.torch.capture import capture
    >>> net = nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU())
    >>> call = ModelCall(net, torch.zeros(1, 1, 8))
    >>> shown_by_run(capture(net, call.example), call)
    {'0': ('0',), '1': ('1', None)}
    """
    counts: dict[str, list[int]] = {path: [] for path, _ in call.model.named_modules()}

    def counting(path: str) -> Callable[[object], None]:
        return lambda output: counts[path].append(sum(1 for _ in tensors_in(output)))

    with torch.no_grad():
        _run_with(call, {path: counting(path) for path in counts})
    found: dict[str, list[str | None]] = defaultdict(list)
    for path, runs in {**graph.scopes, "": (graph.outputs,)}.items():
        if [len(returned) for returned in runs] == counts.get(path):
            for run, returned in enumerate(runs, 1):
                for place, value in enumerate(returned):
                    found[value].append(_spelled(path, run, len(runs), place, len(returned)))
    return {
        value: tuple(sorted(layers, key=lambda layer: layer != value))
        for value, layers in found.items()
    }


def _run_with(call: ModelCall, keep: Mapping[str, Callable[[object], None]]) -> None:
    """Run the model; what modules return is given to the function of their path."""
    thread = get_ident()

    def hook(of: Callable[[object], None]) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _args, output: of(output) if get_ident() == thread else None

    args, kwargs = placed(call.example)
    modules = dict(call.model.named_modules())
    with kept(call.model), seeded(), ExitStack() as stack:
        for path, of in keep.items():
            if path:
                stack.callback(modules[path].register_forward_hook(hook(of)).remove)
        output = call.model(*args, **kwargs)
    if "" in keep:
        keep[""](output)


def _spelled(path: str, run: int, runs: int, place: int, places: int) -> str | None:
    """The layer of a tensor that a run returned, as ``names_by_module`` spells it."""
    if not path and not place:
        return None
    return (path if runs == 1 else f"{path}#{run}") + (f"[{place}]" if places > 1 else "")


def varied(call: ModelCall, first: Tensor) -> ModelCall:
    """The model with another first input, the one that the probes vary."""
    given = call.inputs[0]
    inputs = map_tensors(lambda tensor: first if tensor is given else tensor, call.example)
    return ModelCall(call.model, inputs)


def _place_of(model: nn.Module, layer: str | None) -> tuple[str, int, int]:
    """A module's path, which run of it counted from 1, and which of the tensors it returned."""
    paths = dict(model.named_modules())
    if layer is None:
        return "", 1, 0
    if layer in paths:
        return layer, 1, 0
    written = _PLACE.fullmatch(layer)
    if written and written["path"] in paths:
        return written["path"], int(written["run"] or 1), int(written["place"] or 0)
    part = part_of(model)
    raise UsageError(
        f"There is no {part} '{layer}'; a probe that runs the model itself can read only what a "
        f"{part} returns: use a {part}'s path."
    )
