"""With which arguments a model fits the weights in a file: named only where it was tried.

A checkpoint rarely says how its model was built.  The sizes of its tensors do: where the model has
8 channels and the file 16, an argument of 8 is tried as 16, one of 32 as 64, (8, 16) as (16, 32).
Where entries are missing or left over, switches are turned and numbers moved by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

from torch import nn

from fieldwise.capture.torch.weight_files import State
from fieldwise.capture.torch.weights import SizePair, differences
from fieldwise.errors import UsageError

Make = Callable[[Mapping[str, object]], nn.Module]
"""The model with some arguments changed; raises UsageError where it cannot be made so."""

_ROUNDS = 16
"""Changes, one after the other, each of which makes fewer entries differ."""
_SECONDS = 10.0
"""How long it is tried; then nothing is named."""
_NEVER = 1 << 31
"""How many entries differ where a model cannot be made."""


def fitting_arguments(
    make: Make, arguments: Mapping[str, object], states: Mapping[str, State]
) -> dict[str, object] | None:
    """The arguments that have to be others, with the values with which the weights fit, or None.

    arguments: those that the model has now, by name; None for one whose value is not known, which
               is tried with the sizes in the file
    states:    the weights in the file, by place

    >>> def make(changed):
    ...     channels = {"width": 8, "classes": 2, **changed}
    ...     return nn.Conv2d(channels["width"], channels["classes"], 3)
    >>> state = nn.Conv2d(16, 5, 3).state_dict()
    >>> fitting_arguments(make, {"width": 8, "classes": 2}, {"": state})
    {'classes': 5, 'width': 16}
    """
    until = time.monotonic() + _SECONDS
    changed: dict[str, object] = {}
    fewest, sizes = _differences(make, changed, states)
    for _ in range(_ROUNDS):
        best: dict[str, object] | None = None
        best_sizes = sizes
        for name, value in _candidates({**arguments, **changed}, sizes):
            if time.monotonic() > until:
                return None
            tried = {**changed, name: value}
            count, differing = _differences(make, tried, states)
            if count < fewest:
                best, fewest, best_sizes = tried, count, differing
            if not fewest:
                return best
        if best is None:
            return None
        changed, sizes = best, best_sizes
    return None


def _differences(
    make: Make, changed: Mapping[str, object], states: Mapping[str, State]
) -> tuple[int, frozenset[SizePair]]:
    """How many entries of the model so changed differ from the file's, and sizes that do."""
    try:
        count, sizes = differences(make(changed), states)
    except UsageError:
        return _NEVER, frozenset()
    return count, frozenset(sizes)


def _candidates(
    arguments: Mapping[str, object], sizes: frozenset[SizePair]
) -> Iterator[tuple[str, object]]:
    """Other values of one argument; those that the sizes ask for come first.

    >>> list(_candidates({"width": 8, "name": "a"}, frozenset({(4, 6)})))
    [('width', 12), ('width', 9), ('width', 7)]
    """
    ratios = sorted({Fraction(of_file, of_model) for of_model, of_file in sizes if of_model})
    found = sorted({of_file for _, of_file in sizes})
    for name, value in arguments.items():
        if value is None:
            yield from ((name, size) for size in found)
        yield from ((name, one) for ratio in ratios if (one := _scaled(value, ratio)) is not None)
    for name, value in arguments.items():
        if isinstance(value, bool):
            yield name, not value
        elif isinstance(value, int):
            yield from ((name, value + step) for step in (1, -1) if value + step > 0)


def _scaled(value: object, ratio: Fraction) -> object:
    """A number, or each of several, times a ratio; None where that is none of its kind."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        scaled = value * ratio
        return int(scaled) if scaled.denominator == 1 else None
    if isinstance(value, float):
        return float(value * ratio)
    if isinstance(value, (tuple, list)):
        parts = [_scaled(part, ratio) for part in value]
        return None if not parts or None in parts else type(value)(parts)
    return None
