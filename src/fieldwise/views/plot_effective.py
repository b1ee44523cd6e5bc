"""Effective fields as pictures: a heat map each, the theoretical field outlined over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwise.axes import Region
from fieldwise.errors import UsageError
from fieldwise.views.names import shortened
from fieldwise.views.plot_canvas import ACCENT, INK, frame, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fieldwise.effective import EffectiveField

WIDTH = 8.0
PANELS = 6
DECADES = 4
"""What the scale spans: contributions below 10^−4 of the largest are drawn alike."""

_DARK, _BRIGHT = "#440154", "#fde725"
"""The ends of the scale."""

_HALF = "#c00000"
"""Seen on both ends of the scale."""


def effective_figure(*found: EffectiveField, title: str = "") -> Figure:
    """Heat maps of effective fields, up to six beside each other on one scale, 8 inches wide.

    Colours are the logarithm of the contribution over the largest of its map.  Dashed: what the
    theoretical field spans.  Full: the square that holds half of all contributions.  A map over one
    axis is a line with its standard error.

    Raises UsageError for maps over more than two axes, for more than six, and where matplotlib is
    not installed.

    >>> import torch
    >>> from fieldwise import effective_field
    >>> found = effective_field(torch.nn.Conv2d(1, 1, 5), (1, 1, 32, 32), noise=1)
    >>> effective_figure(found).axes[0].get_title().splitlines()[0]
    'output'
    """
    _check(found)
    flat = all(one.map.ndim == 1 for one in found)
    columns = min(len(found), 3)
    lines = -(-len(found) // columns)
    figure = new_figure(WIDTH, lines * (2.4 if flat else 0.82 * WIDTH / columns + 0.75) + 0.3)
    figure.set_layout_engine("constrained")
    if title:
        figure.suptitle(title, size=11, weight="bold", color=INK)
    places = list(figure.subplots(lines, columns, squeeze=False).flat)
    drawn = None
    for one, axes in zip(found, places, strict=False):
        axes.set_title(_title(one), size=8, color=INK)
        drawn = (_line if one.map.ndim == 1 else _image)(axes, one) or drawn
    for axes in places[len(found) :]:
        axes.set_axis_off()
    if drawn is not None:
        _key(figure)
        bar = figure.colorbar(drawn, ax=places, shrink=0.6, pad=0.02)
        bar.set_label("log10 of the contribution over the largest", size=8)
        bar.ax.tick_params(labelsize=8)
    return figure


def _check(found: Sequence[EffectiveField]) -> None:
    if not 1 <= len(found) <= PANELS:
        raise UsageError(f"A picture shows one to {PANELS} fields, not {len(found)}.")
    for one in found:
        if not 1 <= one.map.ndim <= 2:
            raise UsageError(
                f"A map over {one.map.ndim} axes is no picture; choose one or two (axes=, --axes)."
            )


def _title(found: EffectiveField) -> str:
    where = "output" if found.layer is None else shortened(found.layer)
    deviations = " × ".join(f"{value:.1f}" for value in found.deviations)
    numbers = f"σ {deviations}, side {found.side:.0f} of {found.theoretical_side:.0f}"
    named = () if found.model is None else (shortened(found.model),)
    return "\n".join((*named, where, numbers))


def _image(axes: Axes, found: EffectiveField) -> Any:
    largest = found.map.max()
    shares = found.map / largest if largest > 0 else found.map
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log10(shares), -DECADES)
    drawn = axes.imshow(logs, cmap="viridis", vmin=-DECADES, vmax=0, gid="contributions")
    if found.seen.products:
        rows, columns = Region(found.seen.products).hull()
        frame(
            axes, rows.first, rows.last + 1, columns.first, columns.last + 1,
            color="#ffffff", linestyle="--", linewidth=1.2, gid="theoretical-field",
        )  # fmt: skip
    half = next(row.linear.side for row in found.rows if row.share == 0.5)
    if half is not None:
        top, left = (place - half / 2 + 0.5 for place in found.centre)
        frame(axes, top, top + half, left, left + half, color=_HALF, linewidth=1.4, gid="half")
    axes.tick_params(labelsize=8)
    return drawn


def _key(figure: Figure) -> None:
    """What the outlines are, below the maps."""
    from matplotlib.patches import Patch

    marks = [
        Patch(facecolor=_DARK, edgecolor="#ffffff", linestyle="--", label="the receptive field"),
        Patch(facecolor=_BRIGHT, edgecolor=_HALF, label="half of all contributions"),
    ]
    figure.legend(
        handles=marks, loc="outside lower center", ncols=len(marks), fontsize=8, frameon=False,
        handlelength=1.6, handleheight=1.2,
    )  # fmt: skip


def _line(axes: Axes, found: EffectiveField) -> None:
    places = np.arange(found.map.size)
    axes.plot(places, found.map, color=ACCENT, linewidth=1.2, gid="contributions")
    error = found.standard_error
    if np.isfinite(error).all():
        axes.fill_between(
            places, found.map - error, found.map + error, color=ACCENT, alpha=0.25, linewidth=0
        )
    if found.seen.products:
        (side,) = Region(found.seen.products).hull()
        for place in (side.first - 0.5, side.last + 0.5):
            axes.axvline(place, color=INK, linestyle="--", linewidth=1, gid="theoretical-field")
    axes.tick_params(labelsize=8)
