"""Pools as long as the axis, and what is made of their one row."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tile.bands.laws import Law, laws

IMAGE = (2, 3, 24, 16)
WHOLE = partial(Law, passes=True, tile="follow axis 2|reads? the whole axis")


def style(x: Tensor, mix: nn.Module) -> Tensor:
    """Cellpose's: a mean that is flattened, normalised, and added to everything."""
    found = F.avg_pool2d(x, x.shape[2:]).flatten(1)
    found = found / found.square().sum(1, keepdim=True).sqrt()
    return x + mix(found)[:, :, None, None]


POOLS = laws(
    mean=WHOLE(lambda x, conv: x * F.avg_pool2d(conv(x), x.shape[2:]), IMAGE, 2, (
        nn.Conv2d(3, 3, 3, padding=1),
    )),
    largest=WHOLE(lambda x: x - F.max_pool2d(x.sin(), x.shape[2:]), IMAGE, 2),
    columns_in_windows=WHOLE(
        lambda x: x + F.interpolate(F.avg_pool2d(x, (x.shape[2], 4)), scale_factor=(1, 4)), IMAGE, 2
    ),
    gate=WHOLE(
        lambda x, one, two: x * two(one(F.avg_pool2d(x, x.shape[2:])).relu()).sigmoid(), IMAGE, 2,
        (nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 1)),
    ),
    style=WHOLE(style, IMAGE, 2, (nn.Linear(3, 3),)),
    one_index=WHOLE(
        lambda x: x + F.max_pool2d(x, x.shape[2:])[:, :, 0, 0].tanh()[:, :, None, None], IMAGE, 2
    ),
    two_pools=WHOLE(
        lambda x: x * (F.max_pool1d(x, x.shape[2]) + F.avg_pool1d(x, x.shape[2])), (2, 3, 40), 2
    ),
    one_after_the_other=WHOLE(
        lambda x: (y := x - F.avg_pool1d(x, x.shape[2])) / F.max_pool1d(y.abs(), x.shape[2]),
        (2, 3, 40), 2,
    ),
    pool_of_one_channel=WHOLE(
        lambda x: torch.cat([x, F.avg_pool1d(x, 40).view(2, 3, 1).expand(2, 3, 40)], 1),
        (2, 3, 40), 2,
    ),
)  # fmt: skip
