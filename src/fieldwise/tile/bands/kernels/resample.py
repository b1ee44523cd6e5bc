"""Interpolation of a band with the scale of the whole: the streamed axis by explicit weights.

Where the factor is a power of two and corners are not aligned, the call on the band has the same
weights as the call on the whole, bit for bit, and is quicker.  Else the other axes are resized by
torch and the streamed one by the source indices and weights that torch computes for the whole
(ATen UpSample.h), in its precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.graph.calls import op_name
from fieldwise.tile.bands.kernels.layout import picked, take
from fieldwise.tile.bands.kernels.registry import (
    ENDLESS,
    Executor,
    KernelRun,
    Link,
    Rows,
    Site,
    executor,
)
from fieldwise.tile.bands.kernels.replayed import replayed
from fieldwise.tile.bands.reach import RowReach

_SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}


@dataclass(frozen=True, slots=True)
class _Resize:
    """An interpolation: torch's operator and its arguments per spatial axis."""

    name: str
    sizes: tuple[int, ...]
    scales: tuple[float | None, ...]
    corners: bool | None
    axis: int

    @classmethod
    def of(cls, site: Site) -> _Resize:
        axes, given = len(site.shape) - 2, site.given
        factors = given.get("scale_factors") or [given.get(name) for name in _SCALES[axes]]
        scales = tuple(factors) if factors else (None,) * axes
        sizes = site.shape[2:]
        return cls(op_name(site.node), sizes, scales, given.get("align_corners"), site.dim - 2)

    def __call__(self, x: Tensor, rows: int, scale: float | None) -> Tensor:
        """Resize all axes, the streamed one to ``rows`` rows."""
        sizes, scales = list(self.sizes), list(self.scales)
        sizes[self.axis], scales[self.axis] = rows, scale
        corners = () if self.corners is None else (self.corners,)
        return getattr(torch.ops.aten, self.name).default(x, sizes, *corners, *scales)


@executor("upsample_nearest", "upsample_linear", "upsample_bilinear", "upsample_trilinear",
          "upsample_bicubic")  # fmt: skip
def _upsample(site: Site) -> Executor:
    if site.dim < _SPATIAL:
        return replayed(site)
    number, link = site.only("input" if "input" in site.given else "self")
    resize = _Resize.of(site)
    if resize.name.endswith("_aa"):
        reach = _wider(link, site.rows, by=1)
        return Executor(_antialiased(site, number, link, resize, reach), reaches=((number, reach),))
    factor = _power_of_two(site, link, resize)
    if factor:
        return Executor(_native(site, number, link, resize, factor))
    if site.node.op == "upsample_nearest":
        return Executor(_nearest(number, link, resize))
    reach = _wider(link, site.rows, by=2 if site.node.op == "upsample_bicubic" else 1)
    return Executor(_weighted(site, number, link, resize, reach), reaches=((number, reach),))


def _power_of_two(site: Site, link: Link, resize: _Resize) -> int:
    """The factor where the band's own scale is the whole's, exactly; else 0."""
    before, after = link.shape[link.dim], site.rows
    factor = after // before
    scale = resize.scales[resize.axis]
    exact = factor * before == after and factor & (factor - 1) == 0
    return factor if exact and not resize.corners and scale in (None, float(factor)) else 0


def _wider(link: Link, rows: int, *, by: int) -> RowReach:
    """Room for all taps of a row that lies on the grid: torch weighs the others with (nearly) zero.

    The map knows the exact position, and torch rounds it: a tap more or less on either side.
    """
    size = link.shape[link.dim]
    wide = RowReach.of(link.map, Border.CLAMP, size=size, count=rows, margin=by)
    return wide if link.reach.size is not None else wide.opened()


def _native(site: Site, number: int, link: Link, resize: _Resize, factor: int) -> KernelRun:
    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = link.reach.span(lo, hi)
        x = rows.inside(number, start, stop)
        y = resize(x, (stop - start) * factor, resize.scales[resize.axis])
        return (y.narrow(site.dim, lo - start * factor, hi - lo),)

    return run


def _nearest(number: int, link: Link, resize: _Resize) -> KernelRun:
    """Each row is one operand row: the map says which."""
    last = link.shape[link.dim] - 1 if link.reach.size is not None else ENDLESS

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        picks = [min(link.map(row).first, last) for row in range(lo, hi)]
        x = take(rows, number, link, picks)
        return (resize(x, hi - lo, None),)

    return run


def _weighted(site: Site, number: int, link: Link, resize: _Resize, reach: RowReach) -> KernelRun:
    """A few operand rows, weighted: Σ_t w_t · x[i_t]."""
    size, dim = link.shape[link.dim], site.dim
    last = size - 1 if link.reach.size is not None else ENDLESS
    cubic = site.node.op == "upsample_bicubic"
    step = _step(resize, size, site.rows, cubic=cubic)
    spread = [-1 if place == dim else 1 for place in range(len(site.shape))]

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = reach.span(lo, hi)
        x = resize(rows.inside(number, start, stop), stop - start, None)
        accurate = torch.float64 if x.dtype == torch.float64 else torch.float32
        position = torch.arange(lo, hi, dtype=accurate, device=x.device)
        position = position * step if resize.corners else (position + 0.5) * step - 0.5
        if not cubic:
            position = position.clamp_(min=0)
        left = position.floor().clamp_(max=last)
        taps = _cubic_taps if cubic else _linear_taps
        y = None
        for offset, weight in taps((position - left).clamp_(0, 1)):
            index = (left.long() + offset).clamp_(0, last) - start
            part = picked(x, dim, index) * weight.to(x.dtype).reshape(spread)
            y = part if y is None else y.add_(part)
        assert y is not None
        return (y,)

    return run


def _antialiased(
    site: Site, number: int, link: Link, resize: _Resize, reach: RowReach
) -> KernelRun:
    """Operand rows around each row, weighted by a filter that is as wide as the step.

    Weights of rows beyond the ends are left out, and the others sum to one (ATen
    UpSampleKernel.cpp, ``compute_indices_weights_aa``).
    """
    size, dim = link.rows, site.dim
    end = size if link.reach.size is not None else ENDLESS
    taps, cubic = (_AA_TAPS[site.node.op], site.node.op == "upsample_bicubic")
    step = _step(resize, size, site.rows, cubic=True)
    wide = max(step, 1.0)
    support = taps / 2 * wide
    spread = [-1 if place == dim else 1 for place in range(len(site.shape))]

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = reach.span(lo, hi)
        x = resize(rows.inside(number, start, stop), stop - start, None)
        center = (torch.arange(lo, hi, dtype=torch.float64, device=x.device) + 0.5) * step
        first = (center - support + 0.5).long().clamp(min=0)
        last = (center + support + 0.5).long().clamp(max=end)
        index = first[:, None] + torch.arange(int(2 * support) + 2, device=x.device)
        weights = _filter((index - center[:, None] + 0.5) / wide, cubic=cubic)
        weights = weights.where(index < last[:, None], 0.0)
        weights = (weights / weights.sum(1, keepdim=True)).to(x.dtype)
        index = (index - start).clamp(0, stop - start - 1)
        y = torch.zeros_like(picked(x, dim, index[:, 0]))
        for at, weight in zip(index.unbind(1), weights.unbind(1), strict=True):
            y.add_(picked(x, dim, at) * weight.reshape(spread))
        return (y,)

    return run


_AA_TAPS = {"upsample_bilinear": 2, "upsample_bicubic": 4}


def _filter(x: Tensor, *, cubic: bool) -> Tensor:
    """The weight of a row so many steps away: a triangle, or Keys' cubic with a = −0.5."""
    x, zero = x.abs(), torch.zeros_like(x)
    if not cubic:
        return (1 - x).clamp(min=0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, zero))


def _step(resize: _Resize, before: int, after: int, *, cubic: bool) -> float:
    """Operand rows per result row, as torch has it; linear kernels copy where sizes agree."""
    if resize.corners:
        return (before - 1) / (after - 1) if after > 1 else 0.0
    if before == after and not cubic:
        return 1.0
    scale = resize.scales[resize.axis]
    return 1.0 / scale if scale else before / after


def _linear_taps(t: Tensor) -> list[tuple[int, Tensor]]:
    return [(0, 1 - t), (1, t)]


def _cubic_taps(t: Tensor) -> list[tuple[int, Tensor]]:
    """Keys' cubic convolution with a = −0.75, as torch has it."""

    def near(x: Tensor) -> Tensor:
        return ((_A + 2) * x - (_A + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A

    return [(-1, far(t + 1)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))]


_A = -0.75
_SPATIAL = 2
