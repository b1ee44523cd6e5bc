"""The field of a unit over the input as a picture: every product, every hole, every border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldwise.axes import IndexSet, Region
from fieldwise.errors import UsageError
from fieldwise.views.photo import Photo, laid_over, photo_of
from fieldwise.views.plot_canvas import ACCENT, GROUND, INK, STRONG, frame, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fieldwise.axes.region import Sides
    from fieldwise.field import UnitField, ValueField

PANELS = 4
WIDTH = 8.0

Window = tuple[int, int, int, int]
"""Rows from, rows to, columns from, columns to; half open, in input pixels."""


@dataclass(frozen=True, slots=True)
class FieldPanel:
    """One picture: what a unit sees of this input, and what it would see without borders.

    unbounded: products of the closed form; () where only the field in this input is drawn
    image:     what lies below, a colour per sample of the input
    """

    title: str
    seen: UnitField
    unbounded: tuple[Sides, ...] = ()
    image: Photo | None = None


def field_panel(value: ValueField, seen: UnitField, *, image: object = None) -> FieldPanel:
    """The picture of what one unit of a value was found to see, its closed form beside it.

    image: lies below it: a file, or an array (height, width) or (height, width, 3), either of
           numbers from 0 to 1 or of bytes; it is resized to the input
    """
    place = f", position {','.join(map(str, seen.unit))}" if seen.unit else ""
    unit = seen.unit if value.report.roles(value.row.name).unit else ()
    photo = None if image is None else photo_of(image, seen.shape)
    return FieldPanel(value.row.name + place, seen, value.unbounded(*unit), photo)


def field_figure(*panels: FieldPanel, title: str = "") -> Figure:
    """Fields over the input, up to four beside each other, 8 inches wide; axes in pixels.

    Dark: what the unit sees, darker where several products of its field overlap.  Light: what
    the closed form adds beyond the border of the input, which is outlined.  Dashed: the products,
    where there are several.  A field over one axis is drawn as a strip.

    Raises UsageError for fields over more than two axes, for more than four, or where matplotlib
    is not installed.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> conv = receptive_fields(layers_graph("conv3d4 conv3", (1, 1, 24, 24)))["conv3"]
    >>> figure = field_figure(field_panel(conv, conv.at(3, 3)))
    >>> figure.axes[0].get_title().splitlines()
    ['conv3, position 3,3', 'field 11x11', '81 pixels seen of 24x24']
    """
    _check(panels)
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    flat = all(len(panel.seen.shape) == 1 for panel in panels)
    foot, head = 0.45, 0.4 if title else 0.0
    height = foot + head + lines * (1.7 if flat else 6.4 / columns + 0.6)
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("constrained", rect=(0, foot / height, 1, 1 - (foot + head) / height))
    if title:
        figure.text(
            0.5, 1 - 0.22 / height, title, size=11, weight="bold", color=INK, ha="center",
            va="center_baseline", in_layout=False,
        )  # fmt: skip
    places = figure.subplots(lines, columns, squeeze=False).flat
    for panel, axes in zip(panels, places, strict=False):
        _draw(axes, panel)
    for axes in list(places)[len(panels) :]:
        axes.set_axis_off()
    _key(figure, panels)
    return figure


def _check(panels: Sequence[FieldPanel]) -> None:
    if not 1 <= len(panels) <= PANELS:
        raise UsageError(
            f"A picture shows one to {PANELS} fields beside each other, not {len(panels)}; "
            "draw fewer layers."
        )
    for panel in panels:
        if not 1 <= len(panel.seen.shape) <= 2:
            raise UsageError(
                f"The field of {panel.title} lies over {len(panel.seen.shape)} axes; a picture "
                "shows one or two, so choose some (axes=, --axes)."
            )


# -------------------------------------------------------------------- one panel


def _draw(axes: Axes, panel: FieldPanel) -> None:
    seen = [_planar(product) for product in panel.seen.products]
    beyond = [_planar(product) for product in panel.unbounded]
    rows, columns = (1, *panel.seen.shape)[-2:]
    window = _window([*seen, *beyond], (rows, columns))
    top, bottom, left, right = window
    extent = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    axes.imshow(_picture(seen, beyond, window, panel.image), extent=extent)
    frame(axes, 0, rows, 0, columns, color=ACCENT, linewidth=1.8, gid="input-border")
    if 1 < len(beyond) <= len(_DASHES):
        for number, (product, dashes) in enumerate(zip(beyond, _DASHES, strict=False)):
            (y0, y1), (x0, x1) = ((side.first, side.last + 1) for side in product)
            frame(
                axes, y0, y1, x0, x1,
                color=INK, linewidth=1.0, linestyle=dashes, gid=f"product-{number}",
            )  # fmt: skip
    axes.set_xlim(left - 0.5, right - 0.5)
    axes.set_ylim(bottom - 0.5, top - 0.5)
    axes.set_title(f"{panel.title}\n{_caption(panel)}", size=9.5, color=INK)
    if len(panel.seen.shape) == 1:
        axes.set_aspect("auto")
        axes.yaxis.set_visible(False)
        axes.set_xlabel("position (samples)", size=9)
    else:
        axes.set_xlabel("column (pixels)", size=9)
        axes.set_ylabel("row (pixels)", size=9)
    axes.tick_params(labelsize=8)
    axes.locator_params(integer=True, nbins=6)


def _planar(product: Sides) -> Sides:
    """A product over one axis as a strip one pixel high."""
    return (IndexSet(0, 1), *product) if len(product) == 1 else product


def _window(products: Sequence[Sides], shape: tuple[int, int]) -> Window:
    """What is shown: the field and a margin, and the whole input unless it is much larger."""
    hull = Region.of(products).hull() if products else ()
    sides: list[int] = []
    spans = [(side.first, side.last + 1) for side in hull] or [(0, size) for size in shape]
    whole = all(size <= 4 * (end - start) for size, (start, end) in zip(shape, spans, strict=True))
    for size, (start, end) in zip(shape, spans, strict=True):
        if size == 1 and (start, end) == (0, 1):
            sides += [0, 1]
            continue
        low, high = (min(start, 0), max(end, size)) if whole else (start, end)
        margin = max(2, (high - low) // 12)
        sides += [low - margin, high + margin]
    top, bottom, left, right = sides
    return top, bottom, left, right


def _picture(
    seen: Sequence[Sides], beyond: Sequence[Sides], window: Window, image: Photo | None
) -> Any:
    """Colours per pixel: what is seen of the input before what lies beyond its border."""
    inside, outside = _count(seen, window), _count(beyond, window)
    picture = np.full((*inside.shape, 3), _rgb(GROUND))
    picture[outside > 0] = _rgb(_BEYOND)
    shades = _shades(int(inside.max()))
    for number, shade in enumerate(shades, 1):
        picture[np.minimum(inside, len(shades)) == number] = _rgb(shade)
    return picture if image is None else laid_over(picture, inside > 0, image, window)


def _count(products: Sequence[Sides], window: Window) -> Any:
    """Per pixel of the window, how many products hold it."""
    top, bottom, left, right = window
    count = np.zeros((bottom - top, right - left), dtype=int)
    for rows, columns in products:
        y = list(rows.shift(-top).clip(bottom - top))
        x = list(columns.shift(-left).clip(right - left))
        count[np.ix_(y, x)] += 1
    return count


def _shades(most: int) -> tuple[str, ...]:
    """From one product to as many as overlap, dark in any case."""
    return _SHADES[-min(max(most, 1), len(_SHADES)) :]


def _caption(panel: FieldPanel) -> str:
    """The sizes of the products, and how much of them the input holds."""
    if not panel.seen.products:
        return "sees nothing of the input"
    sizes = ["x".join(str(side.extent) for side in product) for product in panel.unbounded]
    listed = " ∪ ".join(sizes[:_LISTED]) + (" ∪ …" if len(sizes) > _LISTED else "")
    size = "x".join(map(str, panel.seen.shape))
    unit = "pixels" if len(panel.seen.shape) == 2 else "samples"
    seen = f"{'' if panel.seen.exact else 'at most '}{panel.seen.count} {unit} seen of {size}"
    return f"field {listed}\n{seen}" if listed else seen


def _key(figure: Figure, panels: Sequence[FieldPanel]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    overlaps = any(len(panel.seen.products) > 1 for panel in panels)
    marks: list[object] = [
        Patch(
            facecolor=STRONG, label="seen" + (", strongest by most rectangles" if overlaps else "")
        ),
        Patch(facecolor=_BEYOND, label="field beyond the border"),
        Line2D([], [], color=ACCENT, linewidth=1.8, label="border of the input"),
    ]
    if any(1 < len(panel.unbounded) <= len(_DASHES) for panel in panels):
        marks.append(Line2D([], [], color=INK, linestyle=_DASHES[0], label="rectangles"))
    figure.legend(handles=marks, loc="lower center", ncols=len(marks), fontsize=8, frameon=False)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))


_BEYOND = "#c9d5e2"
_SHADES = ("#6f9bd1", "#3a6db0", STRONG)
_DASHES: tuple[Any, ...] = ((0, (5, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))
_LISTED = 3
