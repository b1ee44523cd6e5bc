"""Extent, stride and coverage over the depth of one network, or of several, as a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

from fieldwise.errors import UsageError
from fieldwise.views.names import shortened
from fieldwise.views.plot_canvas import INK, MEDIUM, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fieldwise.field import FieldReport
    from fieldwise.field.report import AxisField, Row

WIDTH, HEIGHT = 6.5, 5.4
MOST = 8
_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7f7f7f",
)  # fmt: skip
"""Those of Okabe and Ito, which differ for the colour-blind too, and a grey."""
_DASHES = ("-", "--", "-.", ":")


def chart_figure(*reports: FieldReport, names: Sequence[str] = (), width: float = WIDTH) -> Figure:
    """Extent, stride and coverage over depth, along the first reported axis; ``width`` in inches.

    Depth is a layer's place among those that the report has, from 0 to 1, so that networks of any
    length stand over each other.  The coverage is the share of the input that the middle position
    of a layer sees.  A field of the whole axis has no extent: its line ends, and its coverage is 1.

    names: one per report

    Raises UsageError for none, for more than eight, for another number of names, and where
    matplotlib is not installed.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> figure = chart_figure(receptive_fields(layers_graph("conv3 conv3/2 conv5", (1, 1, 64))))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['extent', 'stride', 'coverage']
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [3, 5, 13]
    """
    if not 1 <= len(reports) <= MOST:
        raise UsageError(f"A chart shows one to {MOST} networks, not {len(reports)}.")
    if names and len(names) != len(reports):
        raise UsageError(f"names= holds {len(names)} for {len(reports)} networks; give one each.")
    figure = new_figure(width, HEIGHT * width / WIDTH)
    figure.set_layout_engine("constrained")
    parts = figure.subplots(3, 1, sharex=True)
    for number, report in enumerate(reports):
        _draw(parts, report, names[number] if names else report.model or "", number)
    for axes, title in zip(parts, ("extent", "stride", "coverage"), strict=True):
        axes.set_ylabel(title, size=9)
        axes.tick_params(labelsize=8)
        axes.grid(color=MEDIUM, alpha=0.3, linewidth=0.5)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    parts[1].set_yscale("log", base=2)
    parts[2].set_ylim(-0.03, 1.03)
    parts[2].set_xlabel("depth", size=9)
    if names or any(report.model for report in reports):
        parts[0].legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _draw(parts: Sequence[Axes], report: FieldReport, name: str, number: int) -> None:
    rows = [row for row in report.rows if row.name != report.input.name and row.axes]
    depths = [place / max(len(rows) - 1, 1) for place in range(len(rows))]
    lines: tuple[Sequence[float | None], ...] = (
        [row.axes[0].extent for row in rows],
        [None if row.axes[0].stride is None else float(row.axes[0].stride) for row in rows],
        [_coverage(report, row) for row in rows],
    )
    for axes, values in zip(parts, lines, strict=True):
        known = [(x, y) for x, y in zip(depths, values, strict=True) if y is not None]
        axes.plot(
            [x for x, _ in known], [y for _, y in known],
            color=_COLOURS[number], linestyle=_DASHES[number % len(_DASHES)], linewidth=1.4,
            marker="." if len(rows) <= _FEW else "", label=shortened(name), gid=f"network-{number}",
        )  # fmt: skip


_FEW = 40


def _coverage(report: FieldReport, row: Row) -> float:
    """The share of the input that the middle position sees, at most, from the clipped extents."""
    return prod(_shares(report, row.axes))


def _shares(report: FieldReport, axes: Sequence[AxisField]) -> Iterator[float]:
    for axis in axes:
        size = report.input.shape[axis.axis]
        seen = axis.extent if axis.clipped is None else axis.clipped
        whole = seen is None or not size
        yield 1.0 if whole else min(1.0, (seen or 0) / size)
