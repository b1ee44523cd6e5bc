"""Axes of files as the dimensions of models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.errors import UsageError
from fieldwise.tile.files import AxisLayout, ModelView, guess_axes
from tests.tile.jobs.cases import image

SIZES = {"N": 1, "C": 3, "D": 5, "H": 7, "W": 11}


@st.composite
def layouts(draw):
    rank = draw(st.integers(3, 5))
    spatial = "DHW"[5 - rank :]
    axes = draw(st.permutations([*draw(st.sampled_from(["", "C", "N", "NC"])), *spatial]))
    return "".join(axes), rank


@given(layouts())
def test_the_model_sees_each_axis_where_it_belongs(found):
    axes, rank = found
    values = image(*(SIZES[a] for a in axes))
    layout = AxisLayout.of(axes, rank=rank)
    seen = layout.to_model(values)
    names = ("NC" + "DHW"[5 - rank :]) if rank else ""
    assert seen.shape == tuple(SIZES[a] if a in axes else 1 for a in names)
    expected = values.transpose([axes.index(a) for a in names if a in axes])
    np.testing.assert_array_equal(seen.reshape(expected.shape), expected)
    np.testing.assert_array_equal(layout.to_file(seen), values)
    assert layout.file_shape(seen.shape) == values.shape


@given(layouts(), st.data())
def test_a_slice_of_the_view_is_the_slice_of_the_whole(found, data):
    axes, rank = found
    values = image(*(SIZES[a] for a in axes))
    layout = AxisLayout.of(axes, rank=rank)
    whole = layout.to_model(values)
    index = []
    for size in whole.shape:
        lo = data.draw(st.integers(0, size - 1))
        index.append(slice(lo, data.draw(st.integers(lo + 1, size))))
    view = ModelView(values, layout)  # type: ignore[arg-type]
    assert view.shape == whole.shape
    np.testing.assert_array_equal(view[tuple(index)], whole[tuple(index)])
    np.testing.assert_array_equal(view[: index[0].stop], whole[: index[0].stop])


@pytest.mark.parametrize(
    ("shape", "model", "axes"),
    [
        ((3, 40, 50), (1, 3, 8, 8), "CHW"),
        ((40, 50, 3), (1, 3, 8, 8), "HWC"),
        ((1, 3, 40, 50), (1, 3, 8, 8), "NCHW"),
        ((40, 50), (1, 1, 8, 8), "HW"),
        ((9, 40, 50), (1, 1, 8, 8, 8), "DHW"),
        ((2, 9, 40, 50), (1, 2, 8, 8, 8), "CDHW"),
        ((2, 4000), (1, 2, 100), "CL"),
    ],
)
def test_axes_are_told_from_the_shape_where_only_one_reading_fits(shape, model, axes):
    assert guess_axes(shape, model=model) == axes


def test_what_the_file_says_decides_between_readings():
    assert guess_axes((3, 40, 3), model=(1, 3, 8, 8), hint="YXS") == "HWC"
    assert guess_axes((40, 50, 3), model=(1, 3, 8, 8), hint="CYX") == "HWC"


def test_several_readings_are_a_question_not_a_guess():
    with pytest.raises(UsageError, match=r"CHW and HWC both fit .* 3x40x3 .*give --layout"):
        guess_axes((3, 40, 3), model=(1, 3, 8, 8))
    with pytest.raises(UsageError, match="No layout fits"):
        guess_axes((4, 40, 40), model=(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("CHQ", "'Q' in the axes 'CHQ' means nothing"),
        ("CHH", "Two axes of 'CHH' mean the same"),
        ("CHY", "Two axes of 'CHY' mean the same"),
        ("CW", "1 spatial ones and the model's input has 2; write for example CHW"),
    ],
)
def test_axes_that_make_no_sense_are_told(axes, message):
    with pytest.raises(UsageError, match=message):
        AxisLayout.of(axes, rank=4)


def test_a_result_has_the_axes_of_the_input_and_channels_where_it_has_some():
    flat, colour = AxisLayout.of("HW", rank=4), AxisLayout.of("HWC", rank=4)
    for layout, shape, axes in (
        (flat, (1, 1, 8, 8), "HW"), (flat, (1, 5, 8, 8), "CHW"), (colour, (1, 5, 8, 8), "HWC"),
        (colour, (3, 5, 8, 8), "NHWC"),
    ):  # fmt: skip
        assert layout.of_result(shape, follows=(2, 2), batch=1).axes == axes


@pytest.mark.parametrize(
    ("axes", "expected"),
    [("CNYX", "CNYX"), ("NYXC", "NYXC"), ("YXCN", "YXCN"), ("XNYC", "XNYC"), ("NYX", "NCYX"),
     ("YXN", "CYXN"), ("NXY", "NCXY")],
)  # fmt: skip
def test_a_result_keeps_the_order_of_the_axes_and_new_channels_stand_behind_the_batch(
    axes, expected
):
    layout = AxisLayout.of(axes, rank=4)
    found = layout.of_result((4, 5, 8, 9), follows=(2, 2), batch=4)
    assert found.axes == expected
    sizes = dict(zip("NCYX", (4, 5, 8, 9), strict=True))
    assert found.file_shape((4, 5, 8, 9)) == tuple(sizes[letter] for letter in expected)


@pytest.mark.parametrize(
    ("axes", "shape", "batch", "expected", "dims"),
    [
        ("CHW", (1, 8, 9), 1, "HW", (1, 2)),
        ("WHC", (1, 8, 9), 1, "WH", (2, 1)),
        ("NCHW", (4, 8, 9), 4, "NHW", (0, 1, 2)),
        ("HW", (5, 8, 9), 1, "CHW", (0, 1, 2)),
        ("HWC", (5, 8, 9), 1, "HWC", (1, 2, 0)),
    ],
)
def test_a_result_without_channels_or_without_a_batch_keeps_the_others(
    axes, shape, batch, expected, dims
):
    found = AxisLayout.of(axes, rank=4).of_result(shape, follows=(2, 1), batch=batch)
    assert (found.axes, found.dims) == (expected, dims)


def test_a_result_whose_rows_stand_elsewhere_keeps_its_own_dimensions():
    layout = AxisLayout.of("HWC", rank=4)
    for shape, follows in (((1, 8, 9, 3), (2, 1)), ((1, 8, 9), (2, 2)), ((8, 9), (2, 0))):
        found = layout.of_result(shape, follows=follows, batch=1)
        assert found.dims == tuple(range(len(shape)))
        assert not set(found.axes) & set("NCHW")
