"""``compare``: two networks layer by layer, and whether what matters to their users is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.report import AxisField, Row, largest
from fieldwise.graph.spatial import Axes
from fieldwise.reports import Report
from fieldwise.see.align import aligned

FIELD = ("extent", "count", "stride", "start", "period", "full", "past", "future")
"""Of an axis: what a field is."""


@dataclass(frozen=True, slots=True)
class LayerPair:
    """A layer of one network beside its counterpart in the other; None where it has none.

    changed: which attributes of their fields differ: of each axis, 'exact', or 'shape'
    """

    one: Row | None
    two: Row | None
    changed: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the layer, in the first network that has it."""
        row = self.one or self.two
        assert row is not None
        return row.name

    @property
    def differs(self) -> bool:
        """Whether their fields do; a shape is no field."""
        return self.one is None or self.two is None or any(c != "shape" for c in self.changed)


@dataclass(frozen=True)
class NetworkComparison(Report):
    """Two networks side by side.

    one, two: their reports
    names:    what they are called
    """

    one: FieldReport
    two: FieldReport
    names: tuple[str, str] = ("A", "B")

    @cached_property
    def rows(self) -> Sequence[LayerPair]:
        """Every layer of both, in order, the inputs left out."""
        left, right = self.one.rows, self.two.rows
        pairs = [
            (None if i is None else left[i], None if k is None else right[k])
            for i, k in aligned(left, right)
        ]
        inputs = (self.one.input.name, self.two.input.name)
        return tuple(
            LayerPair(a, b, _changed(a, b))
            for a, b in pairs
            if not ((a and a.name == inputs[0]) or (b and b.name == inputs[1]))
        )

    @cached_property
    def outputs(self) -> tuple[LayerPair, ...]:
        """Their outputs, in order; what a user of either sees."""
        ends = [
            [report[name].row for name in report.graph.outputs if name in report]
            for report in (self.one, self.two)
        ]
        length = max(map(len, ends))
        padded: list[list[Row | None]] = [[*rows, *[None] * (length - len(rows))] for rows in ends]
        return tuple(LayerPair(a, b, _changed(a, b)) for a, b in zip(*padded, strict=True))

    @property
    def outputs_differ(self) -> bool:
        """Whether the field of an output does: its extent, stride or start, and so the halo."""
        return any(pair.differs for pair in self.outputs)

    @property
    def differs(self) -> bool:
        """Whether the field of an output does, or of a layer that both have.

        Behind a global pool all outputs see everything, so outputs alone say little.
        """
        shared = (pair for pair in self.rows if pair.one is not None and pair.two is not None)
        return self.outputs_differ or any(pair.differs for pair in shared)


def compare(
    one: object,
    two: object,
    *,
    example: object = None,
    axes: Axes | None = None,
    names: tuple[str, str] | None = None,
) -> NetworkComparison:
    """Two networks layer by layer, by their reports.

    one, two:      reports; or models, of which they are made, as by ``receptive_fields``
    example, axes: of models, for both
    names:         what they are called; by default the specs that they are given by, else A and B

    Raises what ``receptive_fields`` raises.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> texts = ("conv3 relu", "conv3 conv5 relu")
    >>> found = compare(*(receptive_fields(layers_graph(text)) for text in texts))
    >>> found.differs, [(pair.name, pair.changed) for pair in found if pair.differs]
    (True, [('conv5', ()), ('relu', ('extent', 'count', 'halo'))])
    """
    left, right = (
        given if isinstance(given, FieldReport) else receptive_fields(given, example, axes=axes)
        for given in (one, two)
    )
    if names is None:
        first, second = (
            given if isinstance(given, str) else name
            for given, name in zip((one, two), ("A", "B"), strict=True)
        )
        names = first, second
    return NetworkComparison(left, right, names)


def halo(axis: AxisField) -> tuple[Fraction | None, Fraction | None]:
    """How many samples before and behind its own position an output needs, the most of any phase.

    None where there is no bound.
    """
    if not axis.context:
        return None, None
    left, right = zip(*axis.context, strict=True)
    return largest(left), largest(right)


def _changed(one: Row | None, two: Row | None) -> tuple[str, ...]:
    if one is None or two is None:
        return ()
    pairs = list(zip(one.axes, two.axes, strict=False))
    found = [name for name in FIELD if any(getattr(a, name) != getattr(b, name) for a, b in pairs)]
    if len(one.axes) != len(two.axes):
        found.append("axes")
    if any(halo(a) != halo(b) for a, b in pairs):
        found.append("halo")
    if one.exact != two.exact:
        found.append("exact")
    if one.shape != two.shape:
        found.append("shape")
    return tuple(found)
