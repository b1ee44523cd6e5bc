"""How large a layer list may be: bounds on what an analysis of it would hold and compute.

What costs is not a number of the list but what it stands for: an index set takes a bit per sample
of its extent, a map a set per phase, and composing two maps a pass over such bits per phase and
tap.  So numbers are bounded as they are read, and every map before it is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, gcd

from fieldwise.axes import AxisMap
from fieldwise.capture.layer_kinds import AxisOptions, LayerKind

MAX_LAYERS = 4096
"""Layers of a list."""
MAX_NUMBER = 1_000_000
"""A kernel size, stride, dilation, padding or factor."""
MAX_LENGTH = 1 << 28
"""Samples along an axis of a value."""
MAX_FIELD = 1 << 24
"""Samples from the first to the last that a unit sees."""
MAX_PHASES = 1 << 14
"""Units after which the pattern of what they see repeats."""
_MAX_BITS = 1 << 32
"""Of all sets of a list together."""
_MAX_STEPS = 1 << 30
"""Passes over a byte, about, for all maps of a list together."""
_WORD, _CALL = 8, 256
"""Bits that one step handles; steps that an operation on small sets costs."""


class TooLargeError(ValueError):
    """A limit is passed; the text says which, and the remedy."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the maps of a list take: bits that they hold, and steps to make them."""

    bits: int = 0
    steps: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.bits + other.bits, self.steps + other.steps)


def fields(layers: Sequence[tuple[LayerKind, AxisOptions]]) -> Iterator[AxisMap | None]:
    """The field of every layer along one axis; None where it is the whole axis.

    Raises TooLargeError in place of the field of the first layer that would pass a limit.
    """
    field: AxisMap | None = AxisMap.window(1)
    total = Cost()
    for kind, options in layers:
        field, cost = _next(kind, options, field)
        total = total + cost
        check_cost(total)
        yield field


def check_cost(cost: Cost) -> None:
    """Raise TooLargeError where a list takes more than any that people write."""
    if cost.bits > _MAX_BITS or cost.steps > _MAX_STEPS:
        raise TooLargeError(
            "the list takes too much memory or time up to here; use fewer layers, smaller "
            "numbers or a smaller input"
        )


def result_length(kind: LayerKind, options: AxisOptions, size: int) -> tuple[int, Cost]:
    """The length of a layer's result along one axis of a list, and what pulling it back takes.

    Raises TooLargeError where it is too long.
    """
    found = 1 if kind.whole else kind.length(options, size)
    if found > MAX_LENGTH:
        raise TooLargeError(
            f"its result has {found} samples, and at most {MAX_LENGTH} are allowed along an axis; "
            "use a smaller input or factor"
        )
    phases = kind.phases(options)
    return found, Cost(max(found, 0), phases * max(found, 0) if phases > 1 else 0)


def _next(
    kind: LayerKind, options: AxisOptions, field: AxisMap | None
) -> tuple[AxisMap | None, Cost]:
    _check_map(kind.phases(options), options.span)
    if kind.whole or field is None:
        return None, Cost()
    read = kind.read(options)
    phases, extent, cost = _composed(read, field)
    _check_map(phases, extent)
    check_cost(cost)
    return read.then(field), cost


def _check_map(phases: int, extent: int) -> None:
    if extent > MAX_FIELD:
        raise TooLargeError(
            f"an output position sees {extent} samples, and at most {MAX_FIELD} are allowed; use "
            "smaller kernels, strides or dilations"
        )
    if phases > MAX_PHASES:
        raise TooLargeError(
            f"what output positions see repeats after {phases} of them, and at most {MAX_PHASES} "
            "are allowed; use smaller strides or factors"
        )


def _composed(read: AxisMap, field: AxisMap) -> tuple[int, int, Cost]:
    """Phases and extent of ``read.then(field)``, and its cost; each at most."""
    phases = read.period * (field.period // gcd(read.advance, field.period))
    extent = field.extent + ceil((read.extent - 1) * abs(field.rate))
    words = extent // _WORD + _CALL
    if read.count <= _FEW:
        steps = read.count * words
    else:
        runs = 1 if _dense(read) and _dense(field) else min(read.count, field.count)
        steps = field.period * (read.extent + runs * words)
    return phases, extent, Cost(phases * extent, phases * steps)


def _dense(index: AxisMap) -> bool:
    return all(offset.is_contiguous for offset in index.offsets)


_FEW = 32
"""Up to so many taps are composed one by one (see AxisMap.then)."""
