"""Blur before subsampling (Zhang 2019): smaller errors for shifts between the strides.

A strided convolution or pool becomes a dense one, then a binomial low-pass at its stride.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import comb, prod

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.shift.repair.adapt import Adaptation, AdaptedRun, log_change
from fieldwise.shift.repair.calls import CONV, FunctionCall
from fieldwise.shift.repair.strides import Strided, strided

_CONVS = {axes: conv for conv, axes in CONV.items()}


@dataclass(frozen=True, slots=True)
class Antialiased(Adaptation):
    """taps: of the binomial filter along each axis that is subsampled; odd, 3 or more."""

    taps: int = 3

    @property
    def prefix(self) -> str:
        """``AntialiasedConv2d``."""
        return "Antialiased"

    @property
    def rank(self) -> int:
        """The first."""
        return 0

    def session(self) -> AdaptedRun:
        """Nothing is kept during a run."""
        return _Session(self.taps)


@dataclass(frozen=True, slots=True)
class _Session(AdaptedRun):
    taps: int

    def rewrite(self, call: FunctionCall) -> object:
        """Strided windows; pools that return indices are left alone."""
        found = strided(call)
        if found is None or call.gives_indices:
            return call.run()
        spelled = "x".join(map(str, found.strides))
        log_change(
            call.func, f"stride {spelled} made dense, blurred by {self.taps} taps, subsampled"
        )
        return blurred(found.whole().run(), found, self.taps)


def blurred(value: Tensor, found: Strided, taps: int) -> Tensor:
    """Every so many samples of the low-passed ``value``; what lies beyond the border is reflected.

    Along an axis too short to be reflected, the last sample is repeated.
    """
    axes = len(found.strides)
    reach = [taps // 2 if stride > 1 else 0 for stride in found.strides]
    pads = [
        (before, max(0, (window.count - 1) * window.stride + 1 + before - size))
        for before, window, size in zip(reach, found.windows, value.shape[-axes:], strict=True)
    ]
    short = any(max(p) >= size for p, size in zip(pads, value.shape[-axes:], strict=True))
    sides = [side for both in reversed(pads) for side in both]
    value = F.pad(value, sides, mode="replicate" if short else "reflect")
    channels = value.shape[-axes - 1]
    weight = _binomial([taps if stride > 1 else 1 for stride in found.strides]).to(value)
    weight = weight.expand(channels, 1, *weight.shape)
    return _CONVS[axes](value, weight, stride=found.strides, groups=channels)


def _binomial(lengths: list[int]) -> Tensor:
    """The product of binomial filters; its weights sum to 1.

    >>> _binomial([3]).tolist()
    [0.25, 0.5, 0.25]
    """
    rows = [torch.tensor([comb(n - 1, k) for k in range(n)], dtype=torch.float64) for n in lengths]
    whole = reduce(lambda so_far, row: so_far.unsqueeze(-1) * row, rows)
    return whole / prod(2 ** (n - 1) for n in lengths)
