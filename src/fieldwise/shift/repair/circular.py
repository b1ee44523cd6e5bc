"""Periodic boundaries: whatever stood beyond the border becomes the other side of the image.

Every op that looks beyond its operand is given an operand that is wrapped far enough, and its own
padding is switched off.  The index arithmetic of each op is in its rule below; positions that do
not look beyond the border are computed as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd
from typing import Any, Literal

import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.shift.repair.adapt import Adaptation, Session, note
from fieldwise.shift.repair.calls import (
    AVG_POOL,
    CONV,
    INTERPOLATE,
    MAX_POOL,
    PAD,
    TRANSPOSED,
    UNFOLD,
    Call,
    Function,
)

Interpolation = Literal["wrap", "clamp"]
Pads = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Circular(Adaptation):
    """Periodic along some axes.

    wrapped:       per spatial axis of the input, whether it is periodic
    interpolation: 'clamp' leaves the borders of linear and cubic interpolation as they are
    """

    wrapped: tuple[bool, ...]
    interpolation: Interpolation = "wrap"

    @property
    def prefix(self) -> str:
        """``CircularConv2d``."""
        return "Circular"

    @property
    def rank(self) -> int:
        """The last, so that what other repairs pad is wrapped too."""
        return 1

    def session(self) -> Session:
        """Nothing is kept during a run."""
        return _Session(self)

    def along(self, spatial: int) -> tuple[bool, ...]:
        """Which of the ``spatial`` last dimensions of a windowed op are periodic.

        None of an op of another dimensionality, such as a convolution over channels.
        """
        return self.wrapped if spatial == len(self.wrapped) else (False,) * spatial


@dataclass(frozen=True, slots=True)
class _Session(Session):
    setting: Circular

    def rewrite(self, call: Call) -> Any:
        """By the rule for its function."""
        rule = _RULES.get(call.func)
        return call.run() if rule is None else rule(call, self.setting)


def wrapped(value: Tensor, pads: Mapping[int, Pads]) -> Tensor:
    """``value`` continued periodically: (before, after) by dimension, as far as one likes.

    Dimensions are those that torch pads circularly: the last three, but not the first.

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
    """By no more than the size; whole turns come first, so that the size stays a whole period."""
    first = min(2, *pads)
    dims = reversed(range(first, value.dim()))
    return F.pad(value, [s for dim in dims for s in pads.get(dim, (0, 0))], mode="circular")


# ---------------------------------------------------------------------- rules

Rule = Callable[[Call, Circular], Any]

_RULES: dict[Function, Rule] = {}


def _rule(functions: Mapping[Function, int]) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for function in functions:
            if function in _RULES:
                raise ValueError(f"'{function.__name__}' has a rule already.")
            _RULES[function] = rule
        return rule

    return register


@_rule(CONV)
def _conv(call: Call, setting: Circular) -> Any:
    """Wrap as far as the padding reached."""
    along = setting.along(CONV[call.func])
    pads = conv_padding(call, len(along))
    if not any(wraps and any(both) for wraps, both in zip(along, pads, strict=True)):
        return call.run()
    note(call.func, _told("zero padding", along, pads))
    value = wrapped(call["input"], _chosen(pads, along))
    kept = [(0, 0) if wraps else both for wraps, both in zip(along, pads, strict=True)]
    if any(before != after for before, after in kept):
        value = F.pad(value, [side for both in reversed(kept) for side in both])
        kept = [(0, 0)] * len(along)
    return call.but(input=value, padding=tuple(before for before, _ in kept)).run()


@_rule(MAX_POOL)
@_rule(AVG_POOL)
def _pool(call: Call, setting: Circular) -> Any:
    """Wrap to the left as far as the padding, to the right as far as the last window reaches.

    A pool that returns indices into what it padded is left alone.
    """
    along = setting.along((MAX_POOL | AVG_POOL)[call.func])
    axes = len(along)
    before = call.sizes("padding", axes, 0)
    kernel = call.sizes("kernel_size", axes, None)
    stride = call.sizes("stride", axes, kernel)
    dilation = call.sizes("dilation", axes, 1)
    value: Tensor = call["input"]
    ceils = bool(call.get("ceil_mode", False))
    pads = []
    for size, k, s, d, p in zip(value.shape[-axes:], kernel, stride, dilation, before, strict=True):
        span = d * (k - 1) + 1
        count = windows(size, span, s, (p, p), ceils=ceils)
        pads.append((p, max(0, (count - 1) * s + span - size - p)))
    beyond = any(wraps and any(both) for wraps, both in zip(along, pads, strict=True))
    if not beyond or call.gives_indices or (ceils and not all(along)):
        return call.run()
    note(call.func, _told("padding", along, pads))
    value = wrapped(value, _chosen(pads, along))
    kept = tuple(0 if wraps else p for wraps, p in zip(along, before, strict=True))
    return call.but(input=value, padding=kept, ceil_mode=False).run()


def windows(size: int, span: int, stride: int, pads: Pads, *, ceils: bool = False) -> int:
    """How many windows fit; in ceil mode one may reach beyond the padding, but not start there.

    >>> windows(112, 3, 2, (0, 0), ceils=True), windows(112, 3, 2, (1, 1))
    (56, 56)
    """
    room = size + sum(pads) - span
    if not ceils:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - ((count - 1) * stride >= size + pads[0])


@_rule(UNFOLD)
def _unfold(call: Call, setting: Circular) -> Any:
    along = setting.along(2)
    padding = call.sizes("padding", 2, 0)
    pads = [(p, p) for p in padding]
    if not any(wraps and p for wraps, p in zip(along, padding, strict=True)):
        return call.run()
    note(call.func, _told("zero padding", along, pads))
    kept = tuple(0 if wraps else p for wraps, p in zip(along, padding, strict=True))
    return call.but(input=wrapped(call["input"], _chosen(pads, along)), padding=kept).run()


@_rule(PAD)
def _pad(call: Call, setting: Circular) -> Any:
    """What it adds along periodic axes is the other side; what it cuts off, it cuts off."""
    value: Tensor = call["input"]
    pad = tuple(call["pad"])
    mode = call.get("mode", "constant")
    added: dict[int, Pads] = {}
    kept = list(pad)
    for position, wraps in enumerate(reversed(setting.wrapped)):
        both = pad[2 * position : 2 * position + 2]
        if wraps and max(both, default=0) > 0 and position < value.dim():
            added[value.dim() - 1 - position] = (max(both[0], 0), max(both[1], 0))
            kept[2 * position : 2 * position + 2] = (min(both[0], 0), min(both[1], 0))
    if not added or mode == "circular":
        return call.run()
    spelled = ", ".join(f"{before}+{after}" for before, after in added.values())
    note(call.func, f"{mode} padding {spelled} wrapped")
    value = wrapped(value, added)
    return call.but(input=value, pad=tuple(kept)).run() if any(kept) else value


@_rule(TRANSPOSED)
def _transposed(call: Call, setting: Circular) -> Any:
    """Wrap, and cut out of the result what stands where the original does.

    Output i is Σ x[j]·w[i + p − s·j]; with q samples wrapped on both sides and no padding it is
    found at i + p + s·q.
    """
    along = setting.along(TRANSPOSED[call.func])
    count = len(along)
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
        q = max(0, ceil(Fraction(reach - p, s)), (length - 1 + p) // s - size + 1)
        start = p + s * q
        whole = (size + 2 * q - 1) * s + reach + 1
        pads[axis - count], cuts[axis - count] = (q, q), (start, length)
        paddings[axis], extras[axis] = 0, max(0, start + length - whole)
    note(call.func, "wrapped and cropped")
    out = call.but(
        input=wrapped(value, pads), padding=tuple(paddings), output_padding=tuple(extras)
    ).run()
    return _cropped(out, cuts)


_TAPS = {"linear": 1, "bilinear": 1, "trilinear": 1, "bicubic": 2}
_SPATIAL = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


@_rule(INTERPOLATE)
def _interpolate(call: Call, setting: Circular) -> Any:
    """Wrap by a length that the scale maps to whole samples, resize, and cut that off again.

    Nearest interpolation looks nowhere beyond the border; with align_corners the positions
    themselves depend on the border, and no periodic form exists.
    """
    mode = call.get("mode", "nearest")
    value: Tensor = call["input"]
    along = setting.along(_SPATIAL.get(mode, 0))
    if setting.interpolation == "clamp" or not any(along) or call.get("align_corners", False):
        return call.run()
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
    note(call.func, f"{mode} interpolation wrapped")
    out = call.but(
        input=wrapped(value, pads),
        size=tuple(sizes),
        scale_factor=None,
        recompute_scale_factor=None,
    ).run()
    return _cropped(out, cuts)


def _resized(call: Call, before: Sequence[int]) -> tuple[int, ...] | None:
    """The sizes after; None where they are not the scale times the sizes before."""
    if call.get("size", None) is not None:
        size = call["size"]
        return (size,) * len(before) if isinstance(size, int) else tuple(map(int, size))
    factor = call["scale_factor"]
    factors = tuple(factor) if isinstance(factor, (tuple, list)) else (factor,) * len(before)
    after = [size * scale for size, scale in zip(before, factors, strict=True)]
    return tuple(map(int, after)) if all(size == int(size) for size in after) else None


# ---------------------------------------------------------------------- helpers


def conv_padding(call: Call, count: int) -> list[Pads]:
    """What a convolution adds before and after, per spatial axis."""
    padding = call.get("padding", 0)
    if padding == "valid":
        return [(0, 0)] * count
    if padding == "same":
        kernel = call["weight"].shape[2:]
        dilation = call.sizes("dilation", count, 1)
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in call.sizes("padding", count, 0)]


def _chosen(pads: Sequence[Pads], along: Sequence[bool]) -> dict[int, Pads]:
    """By dimension from the end, those of the periodic axes."""
    count = len(pads)
    return {
        axis - count: both
        for axis, (both, wraps) in enumerate(zip(pads, along, strict=True))
        if wraps
    }


def _cropped(value: Tensor, cuts: Mapping[int, Pads]) -> Tensor:
    """(start, length) by dimension."""
    for dim, (start, length) in cuts.items():
        value = value.narrow(dim, start, length)
    return value


def _told(what: str, along: Sequence[bool], pads: Sequence[Pads]) -> str:
    spelled = ", ".join(
        f"{before}+{after}" for (before, after), wraps in zip(pads, along, strict=True) if wraps
    )
    return f"{what} {spelled} wrapped"
