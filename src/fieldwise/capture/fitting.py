"""The arguments with which the model of a spec fits a file of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fieldwise.capture.arguments import read_arguments, split_call, written_call
from fieldwise.capture.factories import ZOOS, Factory

if TYPE_CHECKING:
    from torch import nn

_OF_ZOOS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"torchvision": ("num_classes",), "timm": ("num_classes", "in_chans"), "keras": ("classes",)}
)
"""Arguments that nearly every model of a zoo takes."""


def fitting_spec(spec: str, weights: Path, build: Callable[[str], nn.Module]) -> str | None:
    """The spec with which a file of weights fits, where other arguments make it fit; None else.

    build: the model of a spec; it is called for every spec that is tried

    Raises UsageError where the file cannot be read.
    """
    found = _arguments(spec)
    if found is None:
        return None
    name, written, every = found

    def with_changed(changed: Mapping[str, object]) -> str:
        given = {**written, **changed}
        return f"{name}{written_call((), {one: given[one] for one in every if one in given})}"

    from fieldwise.capture.torch.fitting import fitting_arguments
    from fieldwise.capture.torch.weights import find_states
    from fieldwise.capture.torch.zoo import uninitialised

    with uninitialised():
        changed = fitting_arguments(
            lambda tried: build(with_changed(tried)), every, find_states(weights)
        )
    return None if changed is None else with_changed(changed)


def _arguments(spec: str) -> tuple[str, dict[str, object], dict[str, object]] | None:
    """What is called, the arguments that are written, and all that it has, by name.

    >>> _arguments("timm:resnet18(in_chans=1)")
    ('timm:resnet18', {'in_chans': 1}, {'num_classes': None, 'in_chans': 1})
    >>> _arguments("torch.nn:Conv1d(3, 8, kernel_size=3)")[1]
    {'in_channels': 3, 'out_channels': 8, 'kernel_size': 3}
    >>> _arguments("network.onnx")
    """
    zoo = spec.partition(":")[0]
    if zoo in _OF_ZOOS:
        name, call = split_call(spec)
        written = read_arguments(spec, call)[1]
        return name, written, {**dict.fromkeys(_OF_ZOOS[zoo]), **written}
    factory = None if zoo in ZOOS else Factory.find(spec)
    if factory is None or factory.is_ready():
        return None
    bound = factory.bound_arguments()
    return bound and (f"{factory.code}:{factory.name}", *bound)
