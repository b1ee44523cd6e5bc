"""The layout of the first rows lasts: no later value loses it, and nothing converts it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.tile import streamed
from fieldwise.tile.memory_format import CHANNELS_LAST, in_channels_last, is_channels_last
from tests.tile.bands.networks import Pyramid, UNet, transposed, upsampled
from tests.tile.bands.ops import Ops
from tests.tile.bands.videos import by_frame

CONVOLUTIONS = ("convolution", "mkldnn_convolution")


def steady_ops(model: nn.Module, shape: tuple[int, ...], *, band: int, axis: int = 2) -> Ops:
    """The ops of a run but of its first steps and its last ones."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    gained = streamed(model.eval(), x, band=band, axis=axis).bands(x)
    third = shape[axis] // band // 3
    ops = Ops()
    list(islice(gained, third))
    with ops:
        assert len(list(islice(gained, third))) == third
    assert list(gained)
    return ops


class Volumes(nn.Module):
    """Down and up again, in three dimensions, with kernels that oneDNN takes at any size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(1, 4, 5, padding=2), nn.BatchNorm3d(4), nn.ReLU())
        self.down = nn.Sequential(nn.MaxPool3d(2), nn.Conv3d(4, 4, 5, padding=2), nn.ReLU())
        self.last = nn.Conv3d(8, 2, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = F.interpolate(self.down(x), scale_factor=2)
        return self.last(torch.cat([x, y], 1))


class Residual(nn.Module):
    """A bottleneck of a residual network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, 4, 1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


def trunk() -> nn.Module:
    """The stem and two stages of a residual network."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        Residual(8),
        Residual(8),
        nn.Conv2d(8, 16, 1, stride=2, bias=False),
        Residual(16),
    )


BAND = 16
IMAGE, GREY, BATCH = (1, 3, 256, 32), (1, 1, 256, 32), (2, 3, 256, 32)


def grey() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: UNet(transposed(2)), IMAGE),
        (lambda: UNet(transposed(3, padding=1, output_padding=1)), BATCH),
        (lambda: UNet(upsampled("bilinear", align_corners=False)), IMAGE),
        (lambda: UNet(upsampled("nearest")), IMAGE),
        (Pyramid, IMAGE),
        (trunk, IMAGE),
        (trunk, BATCH),
        (grey, GREY),
        (Volumes, (1, 1, 96, 12, 12)),
    ],
    ids=["u-net", "batch", "bilinear", "nearest", "pyramid", "trunk", "trunk batch", "grey", "3-D"],
)
def test_in_the_steady_state_all_values_are_in_channels_last_and_only_new_rows_are_converted(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    ops = steady_ops(make(), shape, band=BAND)
    assert any(ops.named(*CONVOLUTIONS))
    fresh = [one for one in ops.ran if not shares_memory(one) and has_layout(one.made)]
    assert fresh
    for one in fresh:
        assert is_channels_last(one.made[0]), one.name
    converted = [
        one
        for one in ops.named("clone", "contiguous", "copy_", "_to_copy")
        if any(t.dim() in CHANNELS_LAST and not is_channels_last(t) for t in one.given)
    ]
    steps = sum(1 for one in ops.named("slice") if one.given[0].shape == shape)
    assert len(converted) == steps > 0
    assert all(one.given[-1].shape[1] == shape[1] for one in converted)


def has_layout(tensors: tuple[Tensor, ...]) -> bool:
    return bool(tensors) and tensors[0].dim() in CHANNELS_LAST


def shares_memory(one) -> bool:
    """Whether an op gives a view of what it is given."""
    before = {tensor.untyped_storage().data_ptr() for tensor in one.given}
    return any(tensor.untyped_storage().data_ptr() in before for tensor in one.made)


def test_an_image_that_comes_in_channels_last_is_not_copied():
    model = trunk().eval()
    x = in_channels_last(torch.randn(IMAGE))
    run = streamed(model, x, band=BAND)
    with Ops() as ops:
        run(x)
    given = x.untyped_storage().data_ptr()
    copied = [
        one.made[0].shape[2]
        for one in ops.named("clone", "contiguous", "_to_copy")
        if one.given[0].untyped_storage().data_ptr() == given
    ]
    assert all(rows < BAND for rows in copied)


def test_what_no_convolution_reads_keeps_its_layout():
    class Tokens(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2).softmax(-1)

    ops = steady_ops(Tokens(), (1, 4, 96, 8), band=BAND)
    assert not any(is_channels_last(one.made[0]) for one in ops.named("mul"))


def test_frames_of_a_video_are_converted_where_they_are_convolved():
    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frame, self.next = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return by_frame(x, nn.Sequential(self.frame, self.next))

    ops = steady_ops(Frames(), (1, 3, 24, 8, 8), band=2)
    assert all(is_channels_last(one.made[0]) for one in ops.named(*CONVOLUTIONS))
