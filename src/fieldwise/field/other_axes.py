"""Along which other axes a network has positions, where it has none along those that are usual."""

from __future__ import annotations

from fieldwise.field.analysis import FieldReport, receptive_fields
from fieldwise.field.report import AxisField
from fieldwise.graph.graph import Graph


def better_axes(graph: Graph, report: FieldReport) -> tuple[int, ...] | None:
    """The axes that are worth asking about in place of the report's; None where those are.

    An axis of which the first layer that mixes anything reads everything holds features, as the
    last one of (batch, time, features) does, or channels, as that of (batch, height, width,
    channels).  Others are worth asking about if that layer and an output see a part of them.

    >>> import torch
    >>> from fieldwise.capture.torch import capture
    >>> graph = capture(torch.nn.Linear(8, 4), torch.zeros(1, 20, 8))
    >>> report = receptive_fields(graph)
    >>> report.axes, better_axes(graph, report)
    ((2,), (1,))
    """
    mixing = next((row.name for row in report.rows if any(map(_reads_beside, row.axes))), None)
    if mixing is None:
        return None
    seen = _seen_in_part(report, mixing)
    rank = len(graph.shape(graph.inputs[0]))
    others = tuple(axis for axis in range(1, rank) if axis not in report.axes)
    if len(seen) == len(report.axes) or not others:
        return None
    beside = receptive_fields(graph, axes=others)
    out = {axis for name in graph.outputs for axis in _seen_in_part(beside, name)}
    found = [axis for axis in _seen_in_part(beside, mixing) if axis in out]
    return tuple(sorted((*seen, *found))) if found else None


def _reads_beside(found: AxisField) -> bool:
    """Whether positions see more than one sample of an axis."""
    return found.full_by is not None or found.extent != 1


def _seen_in_part(report: FieldReport, name: str) -> tuple[int, ...]:
    """The axes of which the positions of a value do not see everything."""
    axes = zip(report.axes, report.find(name).axes, strict=True)
    return tuple(axis for axis, found in axes if found.full_by is None)
