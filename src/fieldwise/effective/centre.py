"""Where a unit looks: the middle of its own field, and the unit that looks at the middle."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.axes import Region
from fieldwise.field.analysis import FieldReport


def centre_of(report: FieldReport, name: str, unit: tuple[int, ...]) -> tuple[float, ...]:
    """The middle of what a unit sees through the local paths, per reported axis, in samples.

    It is that of the field as if the input had no borders.  Where no path is local, the middle of
    the input.  Always a multiple of ½.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> report = receptive_fields(layers_graph("conv3/2 conv2", (1, 1, 32)))
    >>> centre_of(report, report.graph.outputs[0], (4,))
    (10.0,)
    """
    shape = report.input.shape
    sizes = [shape[axis] for axis in report.axes]
    seen = report.unbounded(name, unit, local=True) or report.unbounded(name, unit)
    if not seen:
        return tuple((size - 1) / 2 for size in sizes)
    hull = Region.of(seen).hull()
    return tuple(
        (size - 1) / 2 if side.count >= size and not side.first else (side.first + side.last) / 2
        for side, size in zip(hull, sizes, strict=True)
    )


def central_unit(report: FieldReport, name: str) -> tuple[int, ...]:
    """The unit whose centre is nearest to the middle of the input.

    Units of a local path come first: the class token of a transformer lies nowhere.  Of several, it
    is the one nearest to the middle of its own map (those of one attention window look alike), then
    the first.  One dimension is looked through after the other.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> report = receptive_fields(layers_graph("conv3/2p1 conv3/2p1", (1, 1, 32)))
    >>> central_unit(report, report.graph.outputs[0])
    (4,)
    """
    shape = report.find(name).shape
    sizes = [shape[dim] for dim in report.roles(name).unit]
    middle = [(report.input.shape[axis] - 1) / 2 for axis in report.axes]

    def away(unit: tuple[int, ...]) -> tuple[bool, float, float]:
        placeless = not report.unbounded(name, unit, local=True)
        centre = centre_of(report, name, unit)
        return placeless, _apart(centre, middle), _apart(unit, [(size - 1) / 2 for size in sizes])

    found = tuple(size // 2 for size in sizes)
    for dim, size in enumerate(sizes):
        line = ((*found[:dim], place, *found[dim + 1 :]) for place in range(size))
        found = min(line, key=away)
    return found


def _apart(one: Sequence[float], two: Sequence[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(one, two, strict=True))
