"""Transposed convolutions and interpolation with periodic borders: wrap, resample, cut off."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, gcd

from torch import Tensor

from fieldwise.shift.repair.adapt import log_change
from fieldwise.shift.repair.borders import Pads, cropped, wrapped
from fieldwise.shift.repair.calls import TRANSPOSED, FunctionCall
from fieldwise.shift.repair.windows import Wraps


def transposed(call: FunctionCall, wraps: Wraps) -> object:
    """Wrap, and cut out of the result what stands where the original does.

    Output i is Σ x[j]·w[i + p − s·j]; with q samples wrapped on both sides and no padding it is
    found at i + p + s·q.
    """
    count = TRANSPOSED[call.func]
    along = wraps[-count:]
    if not any(along):
        return call.run()
    value: Tensor = call["input"]
    kernel = tuple(call["weight"].shape[2:])
    names = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
    geometry = [call.sizes(name, count, default) for name, default in names.items()]
    paddings, extras = list(geometry[1]), list(geometry[2])
    pads: dict[int, Pads] = {}
    cuts: dict[int, Pads] = {}
    for axis, (k, s, p, extra, d) in enumerate(zip(kernel, *geometry, strict=True)):
        if not along[axis]:
            continue
        size, reach = value.shape[axis - count], d * (k - 1)
        length = (size - 1) * s - 2 * p + reach + extra + 1
        q = _turned(size, length, s, p, reach)
        start = p + s * q
        whole = (size + 2 * q - 1) * s + reach + 1
        pads[axis - count], cuts[axis - count] = (q, q), (start, length)
        paddings[axis], extras[axis] = 0, max(0, start + length - whole)
    log_change(call.func, "wrapped and cropped")
    out = call.but(
        input=wrapped(value, pads), padding=tuple(paddings), output_padding=tuple(extras)
    ).run()
    return cropped(out, cuts)


def _turned(size: int, length: int, stride: int, padding: int, reach: int) -> int:
    """How many samples to wrap on both sides, so that every result sees all that it overlaps."""
    return max(
        0, ceil(Fraction(reach - padding, stride)), (length - 1 + padding) // stride - size + 1
    )


def fold(call: FunctionCall, wraps: Wraps) -> object:
    """Wrap the plane of patches, fold it onto a larger one, and cut out the original's place.

    wraps: of the two axes of the result; the operand has one dimension for both
    """
    along = wraps[-2:]
    lengths = call.sizes("output_size", 2, None)
    kernel = call.sizes("kernel_size", 2, None)
    names = {"stride": 1, "padding": 0, "dilation": 1}
    geometry = [call.sizes(name, 2, default) for name, default in names.items()]
    counts, pads, cuts = [], {}, {}
    whole, paddings = list(lengths), list(geometry[1])
    for axis, (length, k, s, p, d) in enumerate(zip(lengths, kernel, *geometry, strict=True)):
        reach = d * (k - 1)
        size = (length + 2 * p - reach - 1) // s + 1
        counts.append(size)
        if along[axis] and p:
            q = _turned(size, length, s, p, reach)
            pads[axis - 2], cuts[axis - 2] = (q, q), (p + s * q, length)
            whole[axis], paddings[axis] = (size + 2 * q - 1) * s + reach + 1, 0
    if not pads:
        return call.run()
    log_change(call.func, "patches wrapped and cropped")
    value = wrapped(call["input"].unflatten(-1, counts), pads).flatten(-2)
    return cropped(
        call.but(input=value, output_size=tuple(whole), padding=tuple(paddings)).run(), cuts
    )


_TAPS = {"linear": 1, "bilinear": 1, "trilinear": 1, "bicubic": 2}
_SPATIAL = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def interpolate(call: FunctionCall, wraps: Wraps, *, half_pixel: bool = False) -> object:
    """Wrap by a length that the scale maps to whole samples, resize, and cut that off again.

    Nearest interpolation looks nowhere beyond the border.  With align_corners the positions
    themselves depend on the border, and no periodic form exists; ``half_pixel`` does without it.
    """
    mode = call.get("mode", "nearest")
    value: Tensor = call["input"]
    if mode not in _SPATIAL or not any(wraps):
        return call.run()
    along = wraps[-_SPATIAL[mode] :]
    if call.get("align_corners", False):
        if not half_pixel:
            return call.run()
        log_change(call.func, "align_corners=True replaced by half-pixel centres")
        call = call.but(align_corners=False)
    before = tuple(value.shape[-len(along) :])
    after = _resized(call, before)
    if after is None or before == after:
        return call.run()
    pads: dict[int, Pads] = {}
    cuts: dict[int, Pads] = {}
    sizes = list(after)
    for axis, (size, length) in enumerate(zip(before, after, strict=True)):
        if not along[axis] or size == length:
            continue
        shrinks = call.get("antialias", False) and size > length
        taps = ceil(Fraction(_TAPS[mode] * size, length)) + 1 if shrinks else _TAPS[mode]
        step = size // gcd(size, length)
        pad = step * -(-taps // step)
        grown = pad * length // size
        pads[axis - len(along)] = (pad, pad)
        cuts[axis - len(along)] = (grown, length)
        sizes[axis] = length + 2 * grown
    log_change(call.func, f"{mode} interpolation wrapped")
    out = call.but(
        input=wrapped(value, pads),
        size=tuple(sizes),
        scale_factor=None,
        recompute_scale_factor=None,
    ).run()
    return cropped(out, cuts)


def _resized(call: FunctionCall, before: Sequence[int]) -> tuple[int, ...] | None:
    """The sizes after; None where they are not the scale times the sizes before."""
    if call.get("size", None) is not None:
        size = call["size"]
        return (size,) * len(before) if isinstance(size, int) else tuple(map(int, size))
    factor = call["scale_factor"]
    factors = tuple(factor) if isinstance(factor, (tuple, list)) else (factor,) * len(before)
    after = [size * scale for size, scale in zip(before, factors, strict=True)]
    return tuple(map(int, after)) if all(size == int(size) for size in after) else None
