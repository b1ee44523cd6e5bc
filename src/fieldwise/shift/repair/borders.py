"""Tensors continued periodically beyond their borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

Pads = tuple[int, int]


def wrapped(value: Tensor, pads: Mapping[int, Pads]) -> Tensor:
    """``value`` continued periodically: (before, after) by dimension, as far as one likes.

    >>> import torch
    >>> wrapped(torch.tensor([[0, 1, 2]]), {1: (1, 7)}).tolist()
    [[2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]]
    """
    pads = {dim % value.dim(): both for dim, both in pads.items() if any(both)}
    if not pads:
        return value
    rest = {dim: (b % value.shape[dim], a % value.shape[dim]) for dim, (b, a) in pads.items()}
    whole = {dim: (b - rest[dim][0], a - rest[dim][1]) for dim, (b, a) in pads.items()}
    while any(map(any, whole.values())):
        step = {
            dim: (min(b, value.shape[dim]), min(a, value.shape[dim]))
            for dim, (b, a) in whole.items()
        }
        value = _wrapped_once(value, step)
        whole = {dim: (b - step[dim][0], a - step[dim][1]) for dim, (b, a) in whole.items()}
    return _wrapped_once(value, rest) if any(map(any, rest.values())) else value


def _wrapped_once(value: Tensor, pads: Mapping[int, Pads]) -> Tensor:
    """By no more than the size; whole turns come first, so that the size stays a whole period.

    torch pads the last three dimensions circularly, but not the first two of five; what it does not
    pad is wrapped line by line.
    """
    first = {2: 1, 3: 1, 4: 1, 5: 2}.get(value.dim(), value.dim())
    for dim in (dim for dim in pads if dim < first):
        lines = value.movedim(dim, -1)
        flat = F.pad(lines.reshape(-1, lines.shape[-1]), pads[dim], mode="circular")
        value = flat.reshape(*lines.shape[:-1], -1).movedim(-1, dim)
    direct = [dim for dim in pads if dim >= first]
    if not direct:
        return value
    dims = range(value.dim() - 1, min(2, *direct, value.dim() - 1) - 1, -1)
    sides = [side for dim in dims for side in (pads[dim] if dim in direct else (0, 0))]
    return F.pad(value, sides, mode="circular")


def cropped(value: Tensor, cuts: Mapping[int, Pads]) -> Tensor:
    """(start, length) by dimension."""
    for dim, (start, length) in cuts.items():
        value = value.narrow(dim, start, length)
    return value


def chosen(pads: Sequence[Pads], along: Sequence[bool]) -> dict[int, Pads]:
    """By dimension from the end, those of the periodic axes."""
    count = len(pads)
    return {
        axis - count: both
        for axis, (both, wraps) in enumerate(zip(pads, along, strict=True))
        if wraps
    }
