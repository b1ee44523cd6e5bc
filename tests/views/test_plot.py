"""Pictures of fields and of a translate: every pixel and arrow is checked, and can be read."""

from __future__ import annotations

import io
import itertools
import re

import numpy as np
import pytest

from fieldwise.axes import IndexSet
from fieldwise.capture.layers import layers_graph
from fieldwise.errors import UsageError
from fieldwise.field import UnitField, receptive_fields
from fieldwise.views.plot import FieldPanel, field_figure, field_panel
from fieldwise.views.plot_canvas import save
from fieldwise.views.plot_translation import translation_figure

pytest.importorskip("matplotlib")


def panel(text, shape, *unit):
    value = receptive_fields(layers_graph(text, shape))[text.split()[-1]]
    return field_panel(value, value.at(*unit))


def box(*sides):
    return tuple(IndexSet.range(start, stop) for start, stop in sides)


CROSS = FieldPanel(
    "cross, position 0,5",
    UnitField((0, 5), (12, 14), (box((0, 4), (5, 6)), box((0, 1), (2, 9)))),
    (box((-3, 4), (5, 6)), box((0, 1), (2, 9))),
)
GRID = panel("conv3d4p4 conv3d8p8", (1, 1, 40, 30), 6, 20)


def colours(figure):
    """Per pixel of the picture, by its (row, column) in the input, the colour drawn there."""
    (image,) = figure.axes[0].images
    left, _, _, top = image.get_extent()
    picture = np.asarray(image.get_array())
    return {
        (row + round(top + 0.5), column + round(left + 0.5)): tuple(picture[row, column])
        for row, column in np.ndindex(picture.shape[:2])
    }


def light(colour):
    """The luminance, as grey print and a colour-blind eye have it."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


@pytest.mark.parametrize("drawn", [CROSS, GRID], ids=["cross", "grid"])
def test_what_is_seen_is_dark_what_lies_beyond_the_border_light_and_holes_white(drawn):
    mask = drawn.seen.mask()
    beyond = {
        pair for product in drawn.unbounded for pair in itertools.product(*map(tuple, product))
    }
    found = colours(field_figure(drawn))
    assert beyond <= set(found)
    for (row, column), colour in found.items():
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        if inside and mask[row, column]:
            assert light(colour) < 0.62
        elif (row, column) in beyond and not inside:
            assert 0.7 < light(colour) < 0.9
        else:
            assert colour == (1.0, 1.0, 1.0)


def test_where_products_overlap_it_is_darker():
    found = colours(field_figure(CROSS))
    assert light(found[0, 5]) < light(found[1, 5]) == light(found[0, 4])


def test_the_border_of_the_input_and_every_product_are_outlined():
    frames = {
        patch.get_gid(): patch.get_bbox().bounds for patch in field_figure(CROSS).axes[0].patches
    }
    assert frames == {
        "input-border": (-0.5, -0.5, 14, 12),
        "product-0": (4.5, -3.5, 1, 7),
        "product-1": (1.5, -0.5, 7, 1),
    }


def test_the_title_tells_the_sizes_and_what_this_input_holds():
    title = field_figure(CROSS).axes[0].get_title()
    assert title == "cross, position 0,5\nfield 7x1 ∪ 1x7\n10 pixels seen of 12x14"


def test_an_upper_bound_and_nothing_are_said():
    bound = UnitField((0,), (4,), (box((0, 3)),), exact=False, why="unknown")
    nothing = UnitField((0,), (4,), ())
    figure = field_figure(FieldPanel("a", bound), FieldPanel("b", nothing))
    assert [axes.get_title() for axes in figure.axes] == [
        "a\nat most 3 samples seen of 4", "b\nsees nothing of the input",
    ]  # fmt: skip


def test_axes_are_in_pixels_and_rows_run_down():
    axes = field_figure(CROSS).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("column (pixels)", "row (pixels)")
    bottom, top = axes.get_ylim()
    assert top < 0 < 12 < bottom


def test_a_small_field_in_a_large_image_is_enlarged():
    axes = field_figure(panel("conv5", (1, 1, 224, 224), 100, 7)).axes[0]
    assert axes.get_xlim() == (4.5, 13.5)
    assert axes.get_ylim() == (106.5, 97.5)


def test_a_field_over_one_axis_is_a_strip():
    axes = field_figure(panel("conv3d4", (1, 1, 20), 2)).axes[0]
    assert axes.get_xlabel() == "position (samples)"
    assert not axes.yaxis.get_visible()


FIGURES = {
    "one": lambda: field_figure(CROSS, title="a net"),
    "two": lambda: field_figure(CROSS, GRID, title="a net"),
    "four": lambda: field_figure(CROSS, GRID, GRID, CROSS, title="a net"),
    "strip": lambda: field_figure(panel("conv3d4", (1, 1, 20), 2), title="a net"),
    "cells": lambda: translation_figure([3, 1, 4, 1, 5, 9, 2, 6], 3),
    "many cells": lambda: translation_figure(np.arange(40.0), 3),
    "images": lambda: translation_figure(np.eye(12, 16), (3, 5)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_overlaps_another_or_leaves_the_picture(name):
    figure = FIGURES[name]()
    assert figure.get_size_inches()[0] * figure.dpi == 800
    assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts(figure)]
    assert boxes
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
    for one, two in itertools.combinations(boxes, 2):
        assert not one.overlaps(two)


def texts(figure):
    """Every text that is drawn; of the ticks those within the axes."""
    found = [*figure.texts]
    for legend in figure.legends:
        found += legend.get_texts()
    for axes in figure.axes:
        found += [axes.title, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            if axis.get_visible():
                low, high = sorted(axis.get_view_interval())
                ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                found += [axis.label, *(tick.label1 for tick in ticks)]
    return [text for text in found if text.get_text()]


@pytest.mark.parametrize(
    ("panels", "said"),
    [
        ([], "shows one to 4 fields beside each other, not 0"),
        ([CROSS] * 5, "not 5; draw fewer layers"),
        ([FieldPanel("v", UnitField((0,), (2, 2, 2), ()))], "lies over 3 axes; a picture shows"),
    ],
)
def test_what_cannot_be_drawn_is_refused(panels, said):
    with pytest.raises(UsageError, match=said):
        field_figure(*panels)


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"a picture is written as \.svg, \.png or \.pdf"):
        save(field_figure(CROSS), tmp_path / "field.jpeg")


# -------------------------------------------------------------------- a translate


def drawn(figure):
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()


@pytest.mark.parametrize("delta", [0, 1, 3, 7, 8, -2])
def test_every_cell_moves_by_delta_and_what_leaves_enters_at_the_other_end(delta):
    values = [3, 1, 4, 1, 5, 9, 2, 6]
    figure = translation_figure(values, delta)
    moves = re.findall(r'id="move-(\d+)-(\d+)"', drawn(figure))
    assert {(int(a), int(b)) for a, b in moves} == {(t, (t + delta) % 8) for t in range(8)}
    labels = {text.get_gid(): text.get_text() for text in figure.axes[0].texts}
    for t in range(8):
        assert labels[f"translate-{t}"] == str(values[(t - delta) % 8])


def test_over_two_axes_both_images_have_the_same_greys_and_a_seam():
    image = np.arange(20.0).reshape(4, 5)
    left, right = translation_figure(image, (1, 2)).axes
    assert (left.images[0].get_array() == image).all()
    moved = right.images[0].get_array()
    assert all(moved[i, j] == image[i - 1, j - 2] for i, j in np.ndindex(4, 5))
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0, 19)
    assert [line.get_xydata().tolist() for line in right.lines] == [
        [[0, 0.5], [1, 0.5]], [[1.5, 0], [1.5, 1]],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "delta", "said"),
    [
        (np.zeros((2, 2, 2)), (1, 1, 1), "is not one over one or two axes"),
        ([], 1, "is not one over one or two axes"),
        ([1, 2], (1, 1), "over 1 axes is translated by as many numbers, not 2"),
        (range(41), 1, "of 41 cells cannot be read; pass at most 40"),
    ],
)
def test_what_is_no_feature_map_is_refused(values, delta, said):
    with pytest.raises(UsageError, match=said):
        translation_figure(values, delta)
