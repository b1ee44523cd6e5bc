"""Which weights are drawn when a model is made: those that differ when it is made again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.private import seeded

_ANOTHER = 1
"""A seed other than the one that models are usually made with."""


def differing_parameters(model: nn.Module, again: Callable[[], nn.Module]) -> tuple[str, ...]:
    """The parameters of a model that differ when it is made again under another seed.

    >>> differing_parameters(nn.Linear(2, 1, bias=False), lambda: nn.Linear(2, 1, bias=False))
    ('weight',)
    >>> norm = nn.BatchNorm1d(2)
    >>> differing_parameters(norm, lambda: nn.BatchNorm1d(2))
    ()
    """
    with seeded(_ANOTHER):
        other = dict(again().named_parameters())
    return tuple(
        name
        for name, mine in model.named_parameters()
        if name not in other or not _alike(mine, other[name])
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    if one is other or one.is_meta or other.is_meta:
        return one is other or one.is_meta == other.is_meta
    mine, theirs = one.detach().cpu(), other.detach().cpu().to(one.dtype)
    return mine.shape == theirs.shape and torch.equal(mine.nan_to_num(), theirs.nan_to_num())
