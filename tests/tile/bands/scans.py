"""Running values, masks and writes by position, and interpolation that filters first."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.tile.bands.laws import Law, laws

LINE, IMAGE = (2, 3, 40), (1, 3, 24, 16)
POSITIONAL = "differs from row to row|depends on the total length"
NOT_TILED = "reads? the whole axis"
UNTOLD = "how it treats positions is not described"


def resized(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """With a filter as wide as the step."""
    return F.interpolate(x, size=size, mode=mode, antialias=True)


def written(x: Tensor, *index: object) -> Tensor:
    """One number at some places."""
    y = x.sin()
    y[index] = 0.5
    return y


SCANS = {
    **laws(
        extremes=Law(lambda x: x.cummax(2).values, LINE, 2, tile=NOT_TILED),
        extremes_of_few_values=Law(
            lambda x: torch.add(*x.round().cummin(2)), LINE, 2, tile=NOT_TILED
        ),
        totals_of_exponentials=Law(lambda x: x.logcumsumexp(2), LINE, 2, tile=NOT_TILED),
        lower_triangle=Law(lambda x: x.tril(-2), (1, 2, 24, 20), 2, tile=UNTOLD),
        upper_triangle=Law(lambda x: x.triu(3), (1, 2, 20, 24), 2, tile=UNTOLD, live=POSITIONAL),
        triangle_of_columns=Law(
            lambda x: x.triu(-2), (2, 20, 24), 2, tile=UNTOLD
        ),
        triangle_across=Law(lambda x: x.triu(1), (24, 2, 5, 6), 0, tile=UNTOLD),
        places_that_are_filled=Law(
            lambda x: x.index_fill(2, torch.tensor([0, -1, 17, 5]), 2.0), LINE, 2,
            live=POSITIONAL, tile=UNTOLD,
        ),
        places_that_are_written=Law(
            lambda x: written(x, slice(None), slice(None), torch.tensor([3, 0, -4, 3])), LINE, 2,
            live=POSITIONAL, tile=UNTOLD,
        ),
        places_across_that_are_written=Law(
            lambda x: written(x, slice(None), torch.tensor([[0], [2]]), torch.tensor([7, 30])),
            LINE, 2, live=POSITIONAL, tile=UNTOLD,
        ),
        places_of_a_mask=Law(
            lambda x: written(x, slice(None), slice(None), torch.arange(40) % 7 == 2), LINE, 2,
            live=POSITIONAL, tile="picks index|not described",
        ),
        factors_by_position=Law(
            lambda x: x * (torch.arange(x.shape[2]) % 5 < 3), LINE, 2
        ),
        halved_by_a_factor=Law(
            lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True), IMAGE, 2
        ),
    ),
    **{
        f"{mode} to {size}": Law(
            partial(resized, size=size, mode=mode), IMAGE, axis, live=POSITIONAL,
            tile=tile,
        )
        for mode in ("bilinear", "bicubic")
        for size, axis, tile in (
            ((12, 8), 2, 4), ((8, 48), 2, 6), ((36, 24), 3, 4), ((24, 5), 2, 4),
            ((10, 7), 2, "repeats every 12 samples only"),
        )
    },
}  # fmt: skip
