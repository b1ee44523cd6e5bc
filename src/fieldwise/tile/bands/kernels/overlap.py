"""Overlap-add (fold, inverse STFT): a band of windows is added up and laid where it belongs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.graph.calls import per_axis, rebind, replay
from fieldwise.tile.bands.kernels.layout import laid
from fieldwise.tile.bands.kernels.registry import Executor, Rows, Site, executor
from fieldwise.tile.bands.kernels.replayed import replayed
from fieldwise.tile.bands.reach import RowReach

# -------------------------------------------------------------------- fold


@executor("col2im")
def _fold(site: Site) -> Executor:
    """(N, C·kh·kw, positions) to (N, C, H, W); the streamed axis's padding is cropped here."""
    axis = site.dim - (len(site.shape) - 2)
    if axis < 0:
        return replayed(site)
    number, link = site.only("self")
    kernel, stride, dilation, padding = (
        per_axis(site.given[name], 2, 1)
        for name in ("kernel_size", "stride", "dilation", "padding")
    )
    extents = [step * (taps - 1) + 1 for step, taps in zip(dilation, kernel, strict=True)]
    uncropped = [0 if place == axis else side for place, side in enumerate(padding)]
    lines = site.shape[-1 - axis] + 2 * padding[1 - axis] - extents[1 - axis]
    columns = 1 if axis else lines // stride[1] + 1

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = (end // columns for end in link.reach.span(lo, hi))
        x = rows.inside(number, start * columns, stop * columns)

        def blank(count: int) -> Tensor:
            return x.new_zeros(site.band(count))

        if start == stop:
            return (blank(hi - lo),)
        size = list(site.shape[-2:])
        size[axis] = (stop - start - 1) * stride[axis] + extents[axis]
        call = rebind(site.call, {"output_size": size, "padding": uncropped})
        (block,) = replay(call, {number: x})
        at = start * stride[axis] - padding[axis]
        return (laid(block, site.dim, at, lo, hi, blank),)

    return Executor(run)


# -------------------------------------------------------------------- STFT and its inverse


@executor("stft")
def _stft(site: Site) -> Executor:
    """(batch, sample) to (batch, frequency, frame): a transform is as long as its frame."""
    if site.dim != len(site.shape) - 1:
        return replayed(site)
    number, link = site.only("self")
    size, hop, pad = _frames(site)
    frames = AxisMap(hop, (IndexSet.range(-pad, size - pad),))
    border = link.reach.border
    reach = RowReach.of(frames, border, size=link.rows, count=site.rows)
    call = rebind(site.call, {"center": False}) if pad else site.call

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        return replay(call, {number: rows.padded(number, *reach.raw(lo, hi), border)})

    return Executor(run, reaches=((number, reach.opened() if site.endless else reach),))


def _frames(site: Site) -> tuple[int, int, int]:
    """The samples of a transform, how far frames are apart, and what is padded on either side."""
    given = site.given
    size: int = given["n_fft"]
    return size, given["hop_length"] or size // 4, size // 2 if given.get("center") else 0


@executor("istft")
def _istft(site: Site) -> Executor:
    """(batch, frequency, frame) to (batch, sample): frames are weighed, added up and normalised."""
    number, link = site.only("self")
    if site.dim != len(site.shape) - 1:
        return replayed(site)
    given = site.given
    size, hop, crop = _frames(site)
    window = _window(site, size)
    norm = "ortho" if given["normalized"] else "backward"

    def samples(x: Tensor) -> Tensor:
        """The samples of each frame: (…, n_fft, frames)."""
        if given["return_complex"]:
            return torch.fft.ifft(x, size, -2, norm)
        return torch.fft.irfft(x.narrow(-2, 0, size // 2 + 1), size, -2, norm)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        start, stop = link.reach.span(lo, hi)
        x = rows.inside(number, start, stop)

        def blank(count: int) -> Tensor:
            dtype = x.dtype if given["return_complex"] else x.dtype.to_real()
            return torch.zeros(site.band(count), dtype=dtype, device=x.device)

        if start == stop:
            return (blank(hi - lo),)
        taps = window.to(x.device)[:, None]
        added = overlapped(samples(x) * taps, hop)
        weight = overlapped((taps * taps).expand(-1, stop - start), hop)
        at = start * hop - crop
        whole = laid(added, -1, at, lo, hi, blank)
        weights = laid(weight, -1, at, lo, hi, lambda count: weight.new_ones(count))
        return (whole / weights,)

    return Executor(run)


def overlapped(frames: Tensor, hop: int) -> Tensor:
    """(…, samples, frames), ``hop`` samples apart, to (…, samples): their sum.

    >>> overlapped(torch.ones(3, 2), 2)
    tensor([1., 1., 2., 1., 1.])
    """
    *lead, size, count = frames.shape
    if frames.is_complex():
        parts = (overlapped(part, hop) for part in (frames.real, frames.imag))
        return torch.complex(*parts)
    length = (count - 1) * hop + size
    flat = frames.reshape(prod(lead), size, count)
    return F.fold(flat, (1, length), (1, size), stride=(1, hop)).reshape(*lead, length)


def _window(site: Site, size: int) -> Tensor:
    """The window of a frame, with zeros on both sides to the length of a transform."""
    given = site.given
    ((_, link),) = site.streamed
    length, window = given["win_length"] or size, given["window"]
    window = torch.ones(length, dtype=link.dtype.to_real()) if window is None else window
    left = (size - length) // 2
    return F.pad(window, (left, size - length - left))
