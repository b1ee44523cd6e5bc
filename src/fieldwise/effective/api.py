"""``effective_field``: how much each input sample matters to a unit, averaged over inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.models import as_module
from fieldwise.capture.torch import as_inputs
from fieldwise.capture.torch.autocast import autocast_dtype
from fieldwise.capture.torch.given import check_model
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.normalisation import Normalisation
from fieldwise.capture.torch.tree import map_tensors
from fieldwise.capture.torch.weights import digest_of_state
from fieldwise.effective.centre import central_unit, centre_of
from fieldwise.effective.field import EffectiveField
from fieldwise.effective.gradients import UnitGradient
from fieldwise.effective.inputs import Noise, Pictures, normalisation_of, pictures
from fieldwise.effective.layer import last_map, layer_of
from fieldwise.effective.mean import MapMean
from fieldwise.effective.protocols import PROTOCOLS, ProtocolName
from fieldwise.errors import UsageError
from fieldwise.field.analysis import receptive_fields
from fieldwise.graph.ir import Shape
from fieldwise.graph.spatial import Axes
from fieldwise.graph.tensors import dtype_name

_EACH = 8
"""Inputs per task of a cluster, and between two saves."""


def effective_field(
    model: object,
    example: object = None,
    *,
    images: str | Path | Iterable[Any] | None = None,
    noise: int | None = None,
    layer: str | None = None,
    unit: int | Sequence[int] | None = None,
    axes: Axes | None = None,
    protocol: ProtocolName = "luo",
    normalisation: Normalisation | None = None,
    seed: int = 0,
    state: str | Path | None = None,
    client: Any = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> EffectiveField:
    """The effective receptive field of a unit: the mean contribution of every input position.

    model:    it runs as it is: in its mode, with its weights, on their device; it is not changed.
              An ``ExportedProgram`` or a spec as for ``receptive_fields``
    example:  the input, or its shape, as for ``receptive_fields``
    images:   what the first input is: a folder of pictures or .npy arrays, or arrays of its shape
    noise:    that many inputs of normally distributed numbers in their place; by default as many as
              the protocol averages over
    layer:    a module's path, or a value that a module or the model returns; by default the last
              one with several output positions
    unit:     one index per unit dimension; by default the unit whose own field lies in the middle
    axes:     dimensions of the input over which the map lies, as for ``receptive_fields``
    protocol: what becomes of a gradient: 'luo', 'replknet', 'openerf' (``effective.protocols``)
    normalisation: mean and standard deviation per channel, for pictures; by default those of the
              model's own config, else ImageNet's
    state:    a file in which the mean is kept, and from which a run goes on that was interrupted
    client:   a dask.distributed Client whose workers share the inputs; not under autocast, which is
              of this process alone
    progress: is called with how many inputs are done, and how many there are if that is known

    Raises UsageError for an unknown layer, protocol or unit, where no gradient reaches the input,
    and for a state of another run; CaptureError where the model cannot be recorded.

    Source: Luo et al., Understanding the effective receptive field in deep convolutional neural
    networks, NeurIPS 2016.

    >>> import torch
    >>> blur = nn.Sequential(*(nn.Conv1d(1, 1, 3, padding=1, bias=False) for _ in range(8)))
    >>> for weight in blur.parameters():
    ...     _ = nn.init.constant_(weight, 1 / 3)
    >>> found = effective_field(blur, (1, 1, 64), noise=2)
    >>> round(found.deviations[0] ** 2, 3)              # 8 layers, each of variance 2/3
    5.333
    >>> found.unit, found.theoretical_side, found.side
    ((31,), 17.0, 11.0)
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"There is no protocol {protocol!r}; name {', '.join(PROTOCOLS)}.")
    if images is not None and noise is not None:
        raise UsageError("The mean is over images or over noise; give one of the two.")
    module, example = as_module(model, example)
    call = _call(module, example)
    casts = _casts(call, client)
    report = receptive_fields(call.model, call.example, axes=axes)
    _check_differentiable(getattr(torch, report.graph.values[report.input.name].dtype))
    layer = last_map(report, call) if layer is None else layer_of(report, call, layer)
    name = report.graph.outputs[0] if layer is None else layer
    given_unit = (unit,) if isinstance(unit, int) else unit
    chosen = central_unit(report, name) if given_unit is None else tuple(given_unit)
    seen = report[name].at(*chosen)
    gradient = UnitGradient(
        call, layer, chosen, tuple(report.roles(name).unit), report.axes, protocol
    )
    given, about = _inputs(call, images, noise, seed, protocol, normalisation)
    made_from = {
        "layer": layer, "unit": list(chosen), "axes": list(report.axes), "protocol": protocol,
        "shape": list(report.input.shape), "inputs": about, "weights": digest_of_state(module),
        "normalisation": given.normalisation if isinstance(given, Pictures) else None,
        **({} if casts is None else {"autocast": str(casts)}),
    }  # fmt: skip
    kept = _State(None if state is None else Path(state), made_from)
    maps = _averaged(gradient, given, kept, seen.shape, client, progress)
    return EffectiveField(
        layer=layer,
        unit=chosen,
        protocol=protocol,
        inputs=about,
        maps=maps,
        seen=seen,
        centre=centre_of(report, name, chosen),
        is_rounding=gradient.vanishes(call.inputs[0]),
    )


@dataclass(frozen=True, slots=True)
class _State:
    """The file in which a mean is kept, if there is one, and what it has to be the mean of."""

    path: Path | None
    made_from: dict[str, Any]

    def load(self, shape: Shape) -> MapMean:
        """The mean that was kept; that of no map of this shape where none was."""
        if self.path is None or not self.path.exists():
            return MapMean.none(shape)
        return MapMean.load(self.path, self.made_from)

    def save(self, maps: MapMean) -> None:
        """Keep the mean, for a run that goes on."""
        if self.path is not None:
            maps.save(self.path, self.made_from)


def _averaged(
    gradient: UnitGradient,
    given: Iterable[Any],
    state: _State,
    shape: Shape,
    client: Any,
    progress: Callable[[int, int | None], object] | None,
) -> MapMean:
    """The mean of the maps of all inputs.  Raises UsageError where none is finite."""
    maps = state.load(shape)
    total = len(given) if isinstance(given, Sequence) else None
    for part in _parts(gradient, given, maps.done, client):
        maps += part
        state.save(maps)
        if progress is not None:
            progress(maps.done, total)
    if not maps.count:
        why = f"all {maps.skipped} inputs gave numbers that are not finite"
        raise UsageError(f"There is no mean: {why if maps.skipped else 'there were no inputs'}.")
    return maps


def _casts(call: ModelCall, client: Any) -> torch.dtype | None:
    """What autocast casts to, or None.  Raises UsageError where workers would not."""
    casts = autocast_dtype(call.device)
    if casts is not None and client is not None:
        raise UsageError(
            "The workers of a cluster do not run under the autocast of this process; leave out "
            "one of the two."
        )
    return casts


def _check_differentiable(dtype: torch.dtype) -> None:
    """Raise UsageError for an input of whole numbers."""
    if not (dtype.is_floating_point or dtype.is_complex):
        raise UsageError(
            f"The input holds {dtype_name(dtype)}, by which nothing is differentiated; take the "
            "part of the model behind its embedding."
        )


def _inputs(
    call: ModelCall,
    images: str | Path | Iterable[Any] | None,
    noise: int | None,
    seed: int,
    protocol: str,
    normalisation: Normalisation | None,
) -> tuple[Iterable[Any], str]:
    """What the mean is over, and what a result says of it."""
    shape = call.shapes[0]
    if images is None:
        drawn = Noise(shape, PROTOCOLS[protocol].images if noise is None else noise, seed)
        return drawn, str(drawn)
    if isinstance(images, (str, Path)):
        channels = shape[1] if len(shape) > 1 else 1
        usual = normalisation or normalisation_of(call.model, channels)
        found = pictures(Path(images), shape, usual)
        return found, str(found)
    return images, "arrays"


def _call(model: nn.Module, example: object) -> ModelCall:
    """The model with its example, drawn where it has no data, on the model's device."""
    check_model(model)
    call = ModelCall(model, as_inputs(example, model))
    _check_differentiable(call.inputs[0].dtype)
    return ModelCall(model, map_tensors(lambda tensor: tensor.to(call.device), call.example))


def _parts(
    subject: UnitGradient, given: Iterable[Any], done: int, client: Any
) -> Iterator[MapMean]:
    """The maps of the inputs from number ``done`` on, a few at a time, in their order."""
    if client is None:
        yield from _in_turn(subject, given, done)
        return
    items = given if isinstance(given, Sequence) else list(given)
    starts = range(done, len(items), _EACH)
    sent = client.scatter(subject, broadcast=True)
    shared = client.scatter(items, broadcast=True)
    futures = [client.submit(_range_of, sent, shared, start, start + _EACH) for start in starts]
    for future in futures:
        yield future.result()


def _in_turn(subject: UnitGradient, given: Iterable[Any], done: int) -> Iterator[MapMean]:
    if isinstance(given, Sequence):
        rest: Iterator[Any] = (given[number] for number in range(done, len(given)))
    else:
        rest = itertools.islice(iter(given), done, None)
    for image in rest:
        yield MapMean.one(subject.contribution(_as_tensor(image), done))
        done += 1


def _range_of(subject: UnitGradient, items: Sequence[Any], start: int, stop: int) -> MapMean:
    """The maps of some inputs, on a worker."""
    numbers = range(start, min(stop, len(items)))
    first, *rest = (
        MapMean.one(subject.contribution(_as_tensor(items[number]), number)) for number in numbers
    )
    for one in rest:
        first += one
    return first


def _as_tensor(image: Any) -> Tensor:
    return image if isinstance(image, Tensor) else torch.as_tensor(image)
