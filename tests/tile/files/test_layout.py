"""Axes of files as the dimensions of models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldwise.errors import UsageError
from fieldwise.tile.files import AxisLayout, ModelView, guess_axes, readings
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
        ((2, 1, 40, 50), (2, 1, 40, 50), "NCHW"),
        ((1, 3, 40, 50), (8, 3, 40, 50), "NCHW"),
    ],
)
def test_axes_are_told_from_the_shape_where_only_one_reading_fits(shape, model, axes):
    assert guess_axes(shape, model=model) == axes


def test_what_the_file_says_decides_between_readings():
    assert guess_axes((3, 40, 3), model=(1, 3, 8, 8), hint="YXS") == "HWC"
    assert guess_axes((40, 50, 3), model=(1, 3, 8, 8), hint="CYX") == "HWC"


def test_channels_that_are_not_there_do_not_make_another_axis_the_channels():
    """Rows were read as 40 channels where a channel was named beyond the four of the last axis."""
    shape = (40, 50, 4)
    for channels in ((0, 0), (3, 1), (4, 0)):
        takes = (1, len(channels), 8, 8)
        assert guess_axes(shape, model=takes, channels=channels) == "HWC"
        read = {axes: seen[:2] for axes, seen in readings(shape, channels=channels).items()}
        assert read["HWC"] == (1, 2)
    with pytest.raises(UsageError, match=r"^The input has channels 0 to 3, and --channels is 4,0"):
        guess_axes(shape, model=(1, 2, 8, 8), hint="YXC", channels=(4, 0))
    assert guess_axes((4, 50, 9), model=(1, 1, 8, 8), hint="YXC", channels=(5,)) == "HWC"


def test_several_readings_are_a_question_not_a_guess():
    with pytest.raises(UsageError, match=r"CHW and HWC both fit .* 3x40x3 .*give --layout"):
        guess_axes((3, 40, 3), model=(1, 3, 8, 8))
    with pytest.raises(UsageError, match="No layout fits"):
        guess_axes((40, 40, 40), model=(1, 3, 8, 8))
    with pytest.raises(UsageError, match=r"^The model takes 3 channels, the input has 4 \(RGBA\);"):
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


def test_times_and_planes_that_are_too_many_axes_are_samples():
    images, volumes = (AxisLayout.of("TCZYX", rank=rank) for rank in (4, 5))
    assert (images.one_by_one, volumes.one_by_one) == ("TZ", "T")
    assert images.model_shape((2, 3, 5, 8, 9)) == (10, 3, 8, 9)
    assert volumes.call_shape((2, 3, 5, 8, 9)) == (1, 3, 5, 8, 9)
    assert AxisLayout.of("tCzYX") == images
    assert AxisLayout.of("tczyx", rank=6).one_by_one == ""
    with pytest.raises(UsageError, match="have 2 spatial ones and the model's input has 1"):
        AxisLayout.of("TZYX", rank=3)


@given(st.permutations("TCZYX"), st.tuples(*[st.integers(1, 4)] * 5), st.integers(0, 63))
def test_a_plane_of_five_axes_is_where_numpy_has_it(axes, shape, seed):
    """Read and written sample by sample, whatever the order of the axes."""
    axes = "".join(axes)
    values = image(*shape, seed=seed)
    layout = AxisLayout.of(axes, rank=4).on(shape)
    view = ModelView(Array(values), layout)
    order = [axes.index(letter) for letter in "TZCYX"] if axes.index("T") < axes.index("Z") else [
        axes.index(letter) for letter in "ZTCYX"]  # fmt: skip
    wanted = values.transpose(order).reshape(layout.model_shape(shape))
    np.testing.assert_array_equal(view[(slice(None),) * 4], wanted)
    sink = np.zeros_like(values)
    for sample in range(len(wanted)):
        index = (slice(sample, sample + 1), *[slice(None)] * 3)
        np.testing.assert_array_equal(view[index], wanted[sample : sample + 1])
        block = layout.to_file(wanted[sample : sample + 1])
        start = layout.file_start((sample, 0, 0, 0))
        stop = layout.file_stop((sample + 1, *wanted.shape[1:]))
        assert tuple(hi - lo for lo, hi in zip(start, stop, strict=True)) == block.shape
        sink[tuple(slice(*ends) for ends in zip(start, stop, strict=True))] = block
    np.testing.assert_array_equal(sink, values)


@pytest.mark.parametrize(("axes", "order"), [("CYX", (0, 1, 2)), ("YXC", (1, 2, 0))])
@pytest.mark.parametrize("channels", [(0, 1, 2), (3, 0), (1, 1, 1)])
def test_channels_are_read_in_the_order_in_which_they_are_named(axes, order, channels):
    values = image(4, 8, 9)
    source = Array(values.transpose(order))
    layout = AxisLayout.of(axes, rank=4).on(source.values.shape, channels)
    view = ModelView(source, layout)
    assert view.shape == (1, len(channels), 8, 9)
    wanted = values[list(channels)][None]
    np.testing.assert_array_equal(view[(slice(None),) * 4], wanted)
    part = (slice(None), slice(1, 2), slice(3, 6))
    np.testing.assert_array_equal(view[part], wanted[part])


def test_an_image_without_channels_is_repeated_as_often_as_its_channel_is_named():
    layout = AxisLayout.of("YX", rank=4).on((8, 9), (0, 0, 0))
    found = ModelView(Array(image(8, 9)), layout)[(slice(None),) * 4]
    np.testing.assert_array_equal(found, np.broadcast_to(image(8, 9), (1, 3, 8, 9)))
    with pytest.raises(UsageError, match=r"^The input has channel 0 alone, and --channels is 1\.$"):
        AxisLayout.of("YX", rank=4).on((8, 9), (1,))
    with pytest.raises(UsageError, match=r"^The input has channels 0 to 3, and --channels is 4\.$"):
        AxisLayout.of("CYX", rank=4).on((4, 8, 9), (4,))


class Array:
    """A source in memory."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        return self.values[index]
