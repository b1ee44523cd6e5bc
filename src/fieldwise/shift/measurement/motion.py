"""How each value should move when the input does: the hypothesis that a measurement tests.

A wrong hypothesis costs nothing but a verdict of 'broken': what holds, holds by its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from fieldwise.errors import UsageError
from fieldwise.field import FieldReport, Row, receptive_fields
from fieldwise.graph.graph import Graph
from fieldwise.graph.names import aliases
from fieldwise.graph.spatial import Axes, chosen_axes

_LONGEST = 1 << 12


@dataclass(frozen=True, slots=True)
class Motion:
    """Shifting the input by k samples along an axis moves a value by k·rate units along ``dim``.

    dim:   None where the value should not move at all
    outer, inner: positions are a row-major index of outer × size × inner, of which the middle digit
           moves: where several axes lie in one dimension
    """

    dim: int | None
    rate: Fraction = Fraction(0)
    outer: int = 1
    inner: int = 1


class Expectations:
    """The motions of every value of a graph, by descent and stride (see ``field``)."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shape = graph.values[graph.inputs[0]].shape
        self.axes = tuple(range(2, len(self.shape))) or (len(self.shape) - 1,)
        self._reports: dict[tuple[int, str], FieldReport] = {}
        self._outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
        self._by_alias = {
            alias: value for value, names in aliases(graph).items() for alias in names
        }
        shifted = [name for name in graph.inputs if len(graph.shape(name)) == len(self.shape)]
        self._sources = {
            row.name: source
            for source in reversed(shifted)
            for row in self._report(self.axes[0], source).rows
        }

    def chosen(self, axes: Axes | None) -> tuple[int, ...]:
        """The axes asked for.  Raises UsageError for one that the input does not have."""
        return self.axes if axes is None else chosen_axes(axes, len(self.shape))

    def value(self, name: str, *, is_output: bool) -> str | None:
        """The value that is this output, or that the module of this name returned.

        None for one that does not depend on what is shifted.
        """
        value = (self._outputs if is_output else self._by_alias).get(name, name)
        return value if value in self._sources else None

    def motion(self, name: str, axis: int) -> Motion | None:
        """How a value (or what a module returned) should move; None where that is not known.

        Along the one dimension that descends from ``axis``, by the stride of its field.  Where
        there is none or several, along the same dimension of a value of the same rank, by the
        ratio of the sizes where no stride says it.
        """
        report = self._report(axis, self._sources[name])
        row = report.find(name)
        stride = _stride(row)
        dims = [dim for dim in report.roles(row.name).unit if row.shape[dim] > 1]
        if len(dims) != 1 and len(row.shape) == len(self.shape) and row.shape[axis] > 1:
            dims = [axis]
        if len(dims) > 1:
            return None
        if not dims:
            return Motion(None)
        ratio = Fraction(row.shape[dims[0]], self.shape[axis])
        return Motion(dims[0], 1 / stride if stride else ratio)

    def motions(self, name: str, axis: int) -> tuple[Motion | None, ...]:
        """The ways in which a value may move, the likeliest first.

        A stride along a flattened map is one of rows, and what is sorted, or is the magnitude of a
        frequency, has a stride and stays.
        """
        first = self.motion(name, axis)
        if first is None or first.dim is None:
            return (first,)
        size = self._report(axis, self._sources[name]).find(name).shape[first.dim]
        others = (Motion(first.dim, Fraction(size, self.shape[axis])), Motion(None))
        return (first, *(other for other in others if other != first))

    def spatial(self, name: str) -> tuple[int, ...]:
        """The dimensions along which a value is a map."""
        found = (self.motion(name, axis) for axis in self.axes)
        return tuple(sorted({one.dim for one in found if one and one.dim is not None}))

    def period(self, axis: int) -> int:
        """The least shift that moves every feature map by a whole number of units.

        By the strides, and where a global operation leaves none, by the ratio of the sizes.
        Raises UsageError where there is none of a reasonable length.
        """
        ranks = (len(self.shape), 2 + len(self.axes))
        rows = (
            row
            for source in dict.fromkeys(self._sources.values())
            for row in self._report(axis, source).rows
        )
        maps = [row for row in rows if len(row.shape) in ranks and row.op != "pad"]
        period = lcm(*(self._least_shift(row, axis) for row in maps))
        if period > _LONGEST:
            raise UsageError(
                f"The strides along axis {axis} have no common multiple up to {_LONGEST}; "
                f"say by how much to shift."
            )
        return period

    def _least_shift(self, row: Row, axis: int) -> int:
        stride = _stride(row)
        if stride:
            return abs(stride).numerator
        if len(row.shape) != len(self.shape) or row.shape[axis] == 1:
            return 1
        whole, rest = divmod(self.shape[axis], row.shape[axis])
        return 1 if rest else max(whole, 1)

    def _report(self, axis: int, source: str) -> FieldReport:
        key = (axis, source)
        if key not in self._reports:
            self._reports[key] = receptive_fields(
                self.graph, wrt=source, axes=(axis,), ignore_global=True
            )
        return self._reports[key]


def _stride(row: Row) -> Fraction | None:
    """The signed stride, on local paths where a global operation made the field full.

    That of a field in pieces is a mean over the pieces, and says nothing.
    """
    if row.at_this_size:
        return None
    own = row.axes[0].stride
    return own if own is not None or row.local is None else row.local[0].stride
