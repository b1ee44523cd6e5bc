"""Constants that lie along the streamed axis: tables of positions, or one row many times."""

from __future__ import annotations

from torch import Tensor

from fieldwise.tile.bands.follow import AxisPlace

POSITIONAL = "a constant that differs from row to row lies along the axis, whose length is unknown"


def if_uniform(constant: Tensor, dim: int) -> Tensor:
    """One row of a constant whose rows along ``dim`` are all the same; else the constant itself.

    >>> import torch
    >>> if_uniform(torch.zeros(2, 5), 1).shape, if_uniform(torch.arange(5), 0).shape
    (torch.Size([2, 1]), torch.Size([5]))
    """
    row = constant.narrow(dim, 0, 1)
    return row if bool((constant == row).all()) else constant


def rows_from(constant: Tensor, axis: AxisPlace, lo: int, hi: int) -> Tensor:
    """Rows [lo, hi) of a constant, which may hold one row that stands for all."""
    if constant.shape[axis.dim] > 1:
        return axis.cut(constant, lo, hi)
    return constant.expand(axis.sized((-1,) * constant.dim(), hi - lo))
