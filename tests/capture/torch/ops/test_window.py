"""Convolutions and pools against the Jacobian."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.capture.torch.ops.oracle import agree

CONVOLUTIONS = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d)}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(2, 3, 3), (1, 2, 7)),
        (nn.Conv1d(2, 3, 3), (2, 7)),
        (nn.Conv1d(2, 2, 4, padding="same"), (2, 2, 7)),
        (nn.Conv1d(2, 2, 2, padding="same", dilation=3), (1, 2, 9)),
        (nn.Conv1d(2, 2, 3, padding="valid", dilation=2), (1, 2, 9)),
        (nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 2)), (1, 2, 5, 4)),
        (nn.Conv2d(4, 6, 3, groups=2, padding=1), (1, 4, 3, 4)),
        (nn.Conv2d(3, 6, 3, groups=3, dilation=2, padding=2), (1, 3, 5, 4)),
        (nn.Conv2d(2, 2, 3, padding="same", dilation=(1, 2)), (1, 2, 4, 5)),
        (nn.Conv3d(1, 2, (1, 2, 3), stride=(1, 1, 2), padding=(0, 1, 1)), (1, 1, 2, 3, 4)),
        (nn.ConvTranspose1d(2, 3, 4, stride=3, padding=1, output_padding=2), (1, 2, 4)),
        (nn.ConvTranspose1d(2, 3, 3, stride=2, dilation=2), (2, 4)),
        (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (1, 4, 3)),
        (
            nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1, groups=2),
            (1, 4, 2, 3),
        ),
        (nn.ConvTranspose3d(1, 2, 2, stride=2), (1, 1, 2, 2, 2)),
        (nn.LazyConv1d(2, 1), (1, 2, 3)),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_a_convolution_reads_what_its_jacobian_says(layer, shape):
    layer(torch.zeros(shape))
    agree(layer, shape)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
@pytest.mark.parametrize("padding", [2, "same"])
def test_a_convolution_reads_what_its_padding_mode_lays_around_it(mode, padding):
    agree(nn.Conv1d(1, 2, 4, padding=padding, padding_mode=mode), (1, 1, 6))
    agree(nn.Conv2d(1, 1, 3, padding=padding, padding_mode=mode), (1, 1, 4, 5))


@settings(max_examples=60)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    padding=st.integers(0, 4),
    size=st.integers(1, 9),
    groups=st.sampled_from([1, 2]),
)
def test_any_convolution_reads_what_its_jacobian_says(
    kernel, stride, dilation, padding, size, groups
):
    assume(size + 2 * padding >= dilation * (kernel - 1) + 1)
    geometry = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    agree(nn.Conv1d(2, 4, kernel, **geometry), (1, 2, size))


@settings(max_examples=60)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    padding=st.integers(0, 3),
    size=st.integers(1, 6),
    extra=st.integers(0, 2),
    groups=st.sampled_from([1, 2]),
)
def test_any_transposed_convolution_reads_what_its_jacobian_says(
    kernel, stride, dilation, padding, size, extra, groups
):
    assume(extra < max(stride, dilation))
    assume((size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1 > 0)
    geometry = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    agree(nn.ConvTranspose1d(2, 4, kernel, output_padding=extra, **geometry), (1, 2, size))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("convolve", [F.conv2d, F.conv_transpose2d])
def test_a_kernel_made_from_the_input_is_read_too(convolve, groups):
    def hypernetwork(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return convolve(x, weight, bias, stride=2, padding=1, groups=groups)

    weight = (4, 2 // groups, 3, 2) if convolve is F.conv2d else (2, 4 // groups, 3, 2)
    agree(hypernetwork, (1, 2, 4, 3), weight, (4,))


def test_a_convolution_with_time_first():
    agree(lambda x, w, b: torch.conv_tbc(x, w, b, 1), (4, 2, 3), (3, 3, 2), (2,))


def test_a_constant_image_under_a_kernel_made_from_the_input():
    image = torch.rand(1, 2, 4, dtype=torch.float64)

    class Net(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return F.conv1d(image.to(weight.dtype), weight, padding=1)

    agree(Net(), (3, 2, 3))


# -------------------------------------------------------------------- pools


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.MaxPool1d(3, stride=2, padding=1), (1, 2, 7)),
        (nn.MaxPool1d(2, dilation=3), (2, 7)),
        (nn.MaxPool2d(2), (1, 1, 5, 4)),
        (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (1, 1, 4, 6)),
        (nn.MaxPool2d((2, 3), stride=(1, 2), dilation=(2, 1)), (2, 4, 5)),
        (nn.MaxPool3d((1, 2, 2)), (1, 1, 2, 3, 4)),
        (nn.AdaptiveMaxPool1d(3), (1, 1, 7)),
        (nn.AdaptiveMaxPool2d((2, None)), (1, 1, 5, 3)),
        (nn.AdaptiveMaxPool3d(1), (1, 1, 2, 2, 3)),
    ],
    ids=repr,
)
def test_a_max_pool_reads_its_window(pool, shape):
    agree(pool, shape, inputs="peaks")


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.AvgPool1d(3, stride=2, padding=1), (1, 2, 7)),
        (nn.AvgPool1d(3, stride=2, ceil_mode=True), (2, 8)),
        (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (1, 1, 6, 5)),
        (nn.AvgPool2d(3, stride=2, ceil_mode=True), (1, 1, 6, 4)),
        (nn.AvgPool2d(2, divisor_override=3), (1, 1, 5, 4)),
        (nn.AvgPool3d((2, 1, 2), padding=(1, 0, 0)), (1, 1, 3, 2, 4)),
        (nn.AdaptiveAvgPool1d(4), (1, 2, 10)),
        (nn.AdaptiveAvgPool1d(5), (2, 3)),
        (nn.AdaptiveAvgPool2d(1), (1, 2, 3, 4)),
        (nn.AdaptiveAvgPool2d((3, 2)), (2, 7, 6)),
        (nn.AdaptiveAvgPool3d((1, 2, 3)), (1, 1, 2, 3, 4)),
        (nn.LPPool1d(2, 3, stride=2), (1, 2, 7)),
        (nn.LPPool2d(3, 2, ceil_mode=True), (1, 1, 5, 4)),
    ],
    ids=repr,
)
def test_an_averaging_pool_reads_its_window(pool, shape):
    agree(pool, shape)


@settings(max_examples=60)
@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    size=st.integers(1, 12),
    ceil_mode=st.booleans(),
)
def test_any_pool_reads_its_window(kernel, stride, padding, size, ceil_mode):
    assume(padding <= kernel // 2)
    assume(size + 2 * padding >= kernel)
    agree(nn.AvgPool1d(kernel, stride, padding, ceil_mode), (1, 1, size))
    agree(nn.MaxPool1d(kernel, stride, padding, ceil_mode=ceil_mode), (1, 1, size), inputs="peaks")


@settings(max_examples=40)
@given(before=st.integers(1, 14), after=st.integers(1, 14))
def test_any_adaptive_pool_reads_its_window(before, after):
    agree(nn.AdaptiveAvgPool1d(after), (1, 1, before))


def test_unpooling_keeps_batch_and_channel_and_marks_space():
    def autoencoder(x: torch.Tensor) -> torch.Tensor:
        pooled, indices = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(pooled, indices, 2)

    agree(autoencoder, (2, 2, 4, 4), inputs="peaks", exact=False)


@pytest.mark.parametrize("rank", [1, 3])
def test_unpooling_in_one_and_three_dimensions(rank):
    pool = F.max_pool1d if rank == 1 else F.max_pool3d
    unpool = F.max_unpool1d if rank == 1 else F.max_unpool3d

    def autoencoder(x: torch.Tensor) -> torch.Tensor:
        return unpool(*pool(x, 2, return_indices=True), 2)

    agree(autoencoder, (1, 2, *[2] * rank), inputs="peaks", exact=False)


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.FractionalMaxPool2d(2, output_size=3), (1, 2, 5, 6)),
        (nn.FractionalMaxPool3d(2, output_ratio=0.5), (1, 1, 4, 4, 4)),
    ],
    ids=repr,
)
def test_windows_drawn_at_random_are_marked(pool, shape):
    agree(pool, shape, inputs="peaks", exact=False)
