"""Connection diagrams: which units of each layer read which below, and what one unit sees."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from fieldwise.views.diagram_layout import (
    USUAL,
    DiagramLayout,
    DiagramStyle,
    Dot,
    Label,
    Mark,
    Stroke,
    arrange,
)
from fieldwise.views.plot_canvas import FAINT, GROUND, INK, MEDIUM, STRONG, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fieldwise.field.unit_connections import Connections


def connection_diagram(
    *networks: Connections, titles: Sequence[str] = (), style: DiagramStyle = USUAL
) -> Figure:
    """The networks side by side, 8 inches wide: one row of dots per layer, the input below.

    Drawn dark: the units and connections that the chosen unit depends on, its receptive field in
    a bracket.  Faint: all others.  Hollow: padding.  Units stand above the centre of what they
    see, so a stride shows as spacing.  Every element of the SVG has an id (see
    ``views.diagram_layout``).

    titles: one per network; by default the name of its chosen layer
    style:  the width, and what is left out, or added (``DiagramStyle``)
    Raises UsageError for more than can be read, or where matplotlib is not installed.
    """
    named = titles or [network.rows[-1].names[-1] for network in networks]
    layout = arrange(networks, named, style)
    figure = new_figure(layout.width, layout.height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, layout.width)
    axes.set_ylim(0, layout.height)
    _draw(axes, layout)
    if not style.blank:
        _key(axes, {dot.mark for dot in layout.dots})
    return figure


def _draw(axes: Axes, layout: DiagramLayout) -> None:
    for stroke in layout.strokes:
        _stroke(axes, stroke)
    for dot in layout.dots:
        _dot(axes, dot)
    for label in layout.labels:
        _label(axes, label)


def _stroke(axes: Axes, stroke: Stroke) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    (x0, y0), (x1, y1) = stroke.start, stroke.end
    control = ((x0 + x1) / 2 + 2 * stroke.bend, (y0 + y1) / 2)
    bent = Path([(x0, y0), control, (x1, y1)], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    path = bent if stroke.bend else Path([(x0, y0), (x1, y1)])
    axes.add_patch(PathPatch(path, fill=False, gid=stroke.name, **_LINES[stroke.line]))


def _dot(axes: Axes, dot: Dot) -> None:
    from matplotlib.patches import Circle

    style = _DOTS[dot.mark]
    axes.add_patch(Circle((dot.x, dot.y), dot.radius, gid=dot.name, zorder=3, **style))


def _label(axes: Axes, label: Label) -> None:
    axes.text(
        label.x, label.y, label.text, size=label.size, ha=label.place, va="center_baseline",
        color=INK, weight="bold" if label.strong else "normal",
    )  # fmt: skip


def _key(axes: Axes, marks: Collection[Mark]) -> None:
    """What the marks mean that are there, on one line at the bottom."""
    y, x = 0.16, 0.2
    for mark, meaning in _KEY:
        if mark not in marks and mark.removeprefix("used ") not in marks:
            continue
        _dot(axes, Dot(f"key-{mark.replace(' ', '-')}", x, y, 0.06, mark))
        _label(axes, Label(x + 0.13, y, meaning, 8.0, "left"))
        x += 0.45 + len(meaning) * 0.07


_LINES: dict[str, dict[str, object]] = {
    "seen": {"color": STRONG, "linewidth": 1.3, "zorder": 2},
    "faint": {"color": FAINT, "linewidth": 0.7, "zorder": 1},
    "zero": {"color": STRONG, "linewidth": 1.0, "linestyle": (0, (2, 2)), "zorder": 2},
    "bracket": {"color": INK, "linewidth": 1.5, "zorder": 2, "capstyle": "projecting"},
}
_DOTS: dict[str, dict[str, object]] = {
    "seen": {"facecolor": STRONG, "edgecolor": STRONG},
    "plain": {"facecolor": FAINT, "edgecolor": MEDIUM, "linewidth": 0.6},
    "padding": {"facecolor": GROUND, "edgecolor": MEDIUM, "linewidth": 0.8},
    "used padding": {"facecolor": GROUND, "edgecolor": STRONG, "linewidth": 1.3},
}
_KEY: tuple[tuple[Mark, str], ...] = (
    ("seen", "the chosen position depends on it"),
    ("plain", "it does not"),
    ("used padding", "padding"),
)
