"""Layers that cannot help: those after everything is seen, and those that skip input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldwise.field.analysis import FieldReport
from fieldwise.field.report import AxisField, Row
from fieldwise.graph.ir import Along, Node


@dataclass(frozen=True, slots=True)
class Unproductive:
    """Layers that add nothing to what is seen, or skip part of the input.

    saturated: values whose operands already saw the whole input along every axis before them
               (Richter et al., "Should You Go Deeper?", 2021)
    skipping:  values whose extent is smaller than their stride: some input is never read
    """

    saturated: tuple[str, ...]
    skipping: tuple[str, ...]


def unproductive(report: FieldReport) -> Unproductive:
    """Which layers widen a field that already covers the input, and which skip inputs."""
    sizes = [report.input.shape[axis] for axis in report.axes]
    rows = {row.name: row for row in report.rows}
    saturated = [
        row.name
        for row in report.rows
        if (node := report.graph.producer(row.name)) is not None
        and _weighs_windows(node)
        and _covers(rows[node.operands[0]], sizes)
        and row.axes != rows[node.operands[0]].axes
    ]
    skipping = [row.name for row in report.rows if any(_skips(axis) for axis in row.axes)]
    return Unproductive(tuple(saturated), tuple(skipping))


def _weighs_windows(node: Node) -> bool:
    """Whether it makes one of each window of neighbours, as convolutions and pools do."""
    return any(
        isinstance(coord, Along) and not coord.map.is_identity
        for reads in node.reads
        for read in reads
        if read.kind.combines == "product" or read.kind.alike
        for coord in read.coords()
    )


def _covers(row: Row, sizes: Sequence[int]) -> bool:
    return all(_least(axis, size) >= size for axis, size in zip(row.axes, sizes, strict=True))


def _least(axis: AxisField, size: int) -> int:
    """What every unit sees at least."""
    if axis.least is not None:
        return axis.least
    return size if axis.full else axis.extent or 0


def _skips(axis: AxisField) -> bool:
    return axis.extent is not None and axis.stride is not None and axis.extent < axis.stride
