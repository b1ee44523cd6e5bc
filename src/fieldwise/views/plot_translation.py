"""A feature map and its translate under the periodic boundary condition, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwise.errors import UsageError
from fieldwise.views.plot_canvas import ACCENT, INK, MEDIUM, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

WIDTH = 8.0
CELLS = 40


def translation_figure(feature_map: ArrayLike, delta: int | tuple[int, ...]) -> Figure:
    """A feature map x over one or two axes above (beside) its translate by delta, 8 inches wide.

    The translate at t is x at (t − delta) mod T: what leaves at one end enters at the other,
    which is marked.  One axis is drawn as cells with an arrow from each to where it goes, two
    axes as images.

    Raises UsageError for a map over another number of axes, without elements or with more than
    40 cells on one axis, for a delta that does not fit it, or where matplotlib is not installed.

    >>> figure = translation_figure([3, 1, 4, 1, 5], 2)
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_gid()][-5:]
    ['1', '5', '3', '1', '4']
    """
    values = np.asarray(feature_map)
    deltas = (delta,) if isinstance(delta, int) else tuple(delta)
    _check(values, deltas)
    moved = np.roll(values, deltas, range(values.ndim))
    if values.ndim == 1:
        return _cells(values, moved, deltas[0] % values.size)
    return _images(values, moved, deltas)


def _check(values: Any, deltas: tuple[int, ...]) -> None:
    if values.ndim not in (1, 2) or not values.size:
        raise UsageError(
            f"A feature map of shape {values.shape} is not one over one or two axes; pass a "
            "single channel, for example x[0, 0]."
        )
    if len(deltas) != values.ndim:
        raise UsageError(
            f"A feature map over {values.ndim} axes is translated by as many numbers, not "
            f"{len(deltas)}."
        )
    if values.ndim == 1 and values.size > CELLS:
        raise UsageError(
            f"A feature map of {values.size} cells cannot be read; pass at most {CELLS}."
        )


# -------------------------------------------------------------------- one axis


def _cells(values: Any, moved: Any, delta: int) -> Figure:
    height, above, below = 2.6, 2.05, 0.8
    figure = new_figure(WIDTH, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    size = len(values)
    step = min(0.6, (WIDTH - 1.6) / size)
    left = 1.4 + (WIDTH - 1.6 - step * size) / 2
    room = _side(step) / 2 + 0.05
    for name, row, y in (("x", values, above), ("translate", moved, below)):
        label = "x(t)" if name == "x" else f"x(t − {delta})"
        axes.text(left - 0.15, y, label, size=11, ha="right", va="center_baseline", color=INK)
        for index, value in enumerate(row):
            entered = index < delta if name == "translate" else index >= size - delta
            centre = (left + step * (index + 0.5), y)
            _cell(axes, centre, step, float(_share(value, values)), marked=entered)
            _numbered(axes, centre, step, f"{value:.3g}", gid=f"{name}-{index}")
    for index in range(size):
        target = (index + delta) % size
        start, end = (left + step * (at + 0.5) for at in (index, target))
        name = f"move-{index}-{target}"
        _arrow(axes, (start, above - room), (end, below + room), name, target < index)
    low = f"periodic, T = {size}, δ = {delta}: what leaves on the right enters on the left"
    axes.text(WIDTH / 2, 0.2, low, size=9, ha="center", va="center_baseline", color=INK)
    return figure


def _cell(
    axes: Axes, centre: tuple[float, float], step: float, share: float, *, marked: bool
) -> None:
    from matplotlib.patches import Rectangle

    side = _side(step)
    light = 1 - 0.4 * share
    axes.add_patch(
        Rectangle(
            (centre[0] - side / 2, centre[1] - side / 2), side, side,
            facecolor=(light, light, min(1.0, light + 0.05)),
            edgecolor=ACCENT if marked else MEDIUM, linewidth=2.0 if marked else 0.8,
        )
    )  # fmt: skip


def _side(step: float) -> float:
    return 0.86 * min(step, 0.5)


def _numbered(axes: Axes, centre: tuple[float, float], step: float, text: str, *, gid: str) -> None:
    """The value in its cell, where it fits."""
    size = min(10.0, 0.93 * _side(step) * 72 / (0.65 * len(text)))
    if size >= _SMALLEST_TYPE:
        axes.text(*centre, text, size=size, ha="center", va="center_baseline", color=INK, gid=gid)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], name: str, wraps: bool
) -> None:
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=8, shrinkA=0, shrinkB=0, gid=name,
            color=ACCENT if wraps else MEDIUM, linestyle="--" if wraps else "-", linewidth=1.1,
        )
    )  # fmt: skip


def _share(value: object, values: Any) -> Any:
    low, high = values.min(), values.max()
    return (value - low) / (high - low) if high > low else 0.0


# -------------------------------------------------------------------- two axes


def _images(values: Any, moved: object, deltas: tuple[int, ...]) -> Figure:
    height = 1.6 + min(3.4 * values.shape[0] / values.shape[1], 6.0)
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("constrained", rect=(0, 0.4 / height, 1, 1 - 0.4 / height))
    figure.text(
        0.5, 0.2 / height, "dashed: where the periodic map is cut and joined", size=9, color=INK,
        ha="center", va="center_baseline", in_layout=False,
    )  # fmt: skip
    down, right = (delta % size for delta, size in zip(deltas, values.shape, strict=True))
    titles = ("x(i, j)", f"x(i − {down}, j − {right}), periodic")
    sizes = values.shape
    seams = ((sizes[0] - down, sizes[1] - right), (down, right))
    places = figure.subplots(1, 2)
    for axes, image, title, seam in zip(places, (values, moved), titles, seams, strict=True):
        axes.imshow(image, cmap="Greys", vmin=values.min(), vmax=values.max())
        axes.set_title(title, size=11, color=INK)
        axes.set_xlabel("column j", size=9)
        axes.set_ylabel("row i", size=9)
        axes.tick_params(labelsize=8)
        for at, size, draw in zip(seam, sizes, (axes.axhline, axes.axvline), strict=True):
            if 0 < at < size:
                draw(at - 0.5, color=ACCENT, linestyle="--", linewidth=1.6)
    return figure


_SMALLEST_TYPE = 6.0
