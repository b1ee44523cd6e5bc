"""Time folded into the batch, and other dimensions that hold the streamed axis as a digit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tile.bands.laws import Law, laws

VIDEO = (2, 3, 12, 8, 8)


def by_frame(x: Tensor, *layers: nn.Module) -> Tensor:
    """(b, c, t, h, w) to (b t) c h w, through a layer, and back; then the others."""
    frame, *rest = layers
    y = frame(x.transpose(1, 2).flatten(0, 1))
    y = y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
    for layer in rest:
        y = layer(y)
    return y


def attended(x: Tensor, mix: nn.Module) -> Tensor:
    """Attention within each frame."""
    batch, channels, time, height, width = x.shape
    tokens = x.permute(0, 2, 3, 4, 1).reshape(batch * time, height * width, channels)
    query, key, value = mix(tokens).chunk(3, -1)
    y = (query @ key.transpose(1, 2)).softmax(-1) @ value
    return y.reshape(batch, time, height, width, channels).permute(0, 4, 1, 2, 3)


def windows(x: Tensor, mix: nn.Module) -> Tensor:
    """Attention within windows of 2 x 4 x 4, which are folded into the batch."""
    batch, channels, *sizes = x.shape
    t, h, w = (size // part for size, part in zip(sizes, (2, 4, 4), strict=True))
    y = x.reshape(batch, channels, t, 2, h, 4, w, 4).permute(0, 2, 4, 6, 3, 5, 7, 1)
    query, key, value = mix(y.reshape(batch * t * h * w, 32, channels)).chunk(3, -1)
    y = F.scaled_dot_product_attention(query, key, value)
    y = y.reshape(batch, t, h, w, 2, 4, 4, channels).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return y.reshape(x.shape)


def dated(x: Tensor, table: Tensor) -> Tensor:
    """A table with a row per frame, added while time is in the batch."""
    y = x.transpose(1, 2).flatten(0, 1)
    y = y + table.repeat(x.shape[0], 1)[:, :, None, None]
    return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


VIDEOS = laws(
    convolution_by_frame=Law(by_frame, VIDEO, 2, (
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv3d(4, 3, 3, padding=1),
    )),
    frames_with_norms=Law(by_frame, VIDEO, 2, (
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.SiLU(),
                      nn.Upsample(scale_factor=2), nn.ZeroPad2d(1), nn.MaxPool2d(2)),
    )),
    rows_of_frames=Law(by_frame, VIDEO, 3, (
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv3d(4, 3, 3, padding=1),
    )),
    a_pooled_frame=Law(lambda x, gate: x * by_frame(x, nn.AdaptiveAvgPool2d(1), gate), VIDEO, 2, (
        nn.Conv3d(3, 3, 1),
    )),
    tokens_of_frames=Law(attended, VIDEO, 2, (nn.Linear(3, 9),)),
    windows_in_time=Law(windows, VIDEO, 2, (nn.Linear(3, 9),), multiple=2),
    windows_in_height=Law(windows, VIDEO, 3, (nn.Linear(3, 9),), multiple=4),
    frames_with_dates=Law(
        dated, VIDEO, 2, (torch.randn(12, 3),), live="a constant that differs from row to row"
    ),
    samples_of_heads=Law(
        lambda x, mix: mix(x.transpose(0, 1).reshape(-1, 10)).reshape(3, -1, 10), (9, 3, 10), 0,
        (nn.Linear(10, 10),),
    ),
    columns_of_windows=Law(
        lambda x, mix: F.fold(mix(F.unfold(x, 3, padding=1)), tuple(x.shape[-2:]), 3, padding=1),
        (1, 2, 12, 24), 3, (nn.Conv1d(18, 18, 1),),
    ),
    columns_of_blocks=Law(
        lambda x, mix: F.fold(mix(F.unfold(x, 4, stride=2)), tuple(x.shape[-2:]), 4, stride=2),
        (1, 2, 12, 24), 3, (nn.Conv1d(32, 32, 1),),
    ),
)  # fmt: skip
