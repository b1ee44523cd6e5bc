"""Convolutions, pools and padding with periodic borders.

Each op is given an operand that is wrapped as far as it looks, and its own padding is switched
off.  What does not look beyond the border is computed as before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.shift.repair.adapt import note
from fieldwise.shift.repair.borders import Pads, chosen, conv_padding, windows, wrapped
from fieldwise.shift.repair.calls import AVG_POOL, CONV, MAX_POOL, FunctionCall

Wraps = Sequence[bool]
"""Per dimension of the operand, whether it is a periodic axis."""


def conv(call: FunctionCall, wraps: Wraps, *, cover: bool = False) -> object:
    """Wrap as far as the padding reached; to ``cover``, as far as a window per stride needs."""
    axes = CONV[call.func]
    along = wraps[-axes:]
    own = pads = conv_padding(call, axes)
    if cover:
        stride, dilation = (call.sizes(name, axes, 1) for name in ("stride", "dilation"))
        value: Tensor = call["input"]
        geometry = zip(value.shape[-axes:], call["weight"].shape[2:], stride, dilation, strict=True)
        pads = [_cover(*one, both) for one, both in zip(geometry, own, strict=True)]
    if not any(wrap and any(both) for wrap, both in zip(along, pads, strict=True)):
        return call.run()
    note(call.func, _told("zero padding" if own == pads else "valid windows", along, pads))
    value = wrapped(call["input"], chosen(pads, along))
    kept = [(0, 0) if wrap else both for wrap, both in zip(along, own, strict=True)]
    if any(before != after for before, after in kept):
        value = F.pad(value, [side for both in reversed(kept) for side in both])
        kept = [(0, 0)] * len(along)
    return call.but(input=value, padding=tuple(before for before, _ in kept)).run()


def pool(call: FunctionCall, wraps: Wraps, *, cover: bool = False) -> object:
    """Wrap to the left as far as the padding, to the right as far as the last window reaches.

    To ``cover``, as far as a window per stride needs.  A pool that returns indices into what it
    padded is left alone.
    """
    axes = (MAX_POOL | AVG_POOL)[call.func]
    along = wraps[-axes:]
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
        both = p, max(0, (count - 1) * s + span - size - p)
        pads.append(_cover(size, k, s, d, both) if cover else both)
    beyond = any(wrap and any(both) for wrap, both in zip(along, pads, strict=True))
    if not beyond or call.gives_indices or (ceils and not all(along)):
        return call.run()
    note(call.func, _told("padding", along, pads))
    value = wrapped(value, chosen(pads, along))
    kept = tuple(0 if wrap else p for wrap, p in zip(along, before, strict=True))
    return call.but(input=value, padding=kept, ceil_mode=False).run()


def _cover(size: int, kernel: int, stride: int, dilation: int, pads: Pads) -> Pads:
    """Padding, on the right, for as many windows as there are strides in the axis.

    As it is where the stride does not divide the size, and for a window over the whole axis.

    >>> _cover(8, 3, 2, 1, (0, 0)), _cover(8, 3, 2, 1, (1, 1)), _cover(8, 8, 1, 1, (0, 0))
    ((0, 1), (1, 1), (0, 0))
    """
    span = dilation * (kernel - 1) + 1
    count = windows(size, span, stride, pads)
    if size % stride or count * stride >= size or count <= 1:
        return pads
    return pads[0], span - stride - pads[0]


def unfold(call: FunctionCall, wraps: Wraps) -> object:
    """Wrap as far as the padding reached."""
    along = wraps[-2:]
    padding = call.sizes("padding", 2, 0)
    pads = [(p, p) for p in padding]
    if not any(wrap and p for wrap, p in zip(along, padding, strict=True)):
        return call.run()
    note(call.func, _told("zero padding", along, pads))
    kept = tuple(0 if wrap else p for wrap, p in zip(along, padding, strict=True))
    return call.but(input=wrapped(call["input"], chosen(pads, along)), padding=kept).run()


def pad(call: FunctionCall, wraps: Wraps) -> object:
    """What it adds along periodic axes is the other side; what it cuts off, it cuts off."""
    value: Tensor = call["input"]
    mode = call.get("mode", "constant")
    if mode == "circular":
        return call.run()
    kept = list(call["pad"])
    added: dict[int, Pads] = {}
    for position in range(len(kept) // 2):
        dim = value.dim() - 1 - position
        both = kept[2 * position : 2 * position + 2]
        if wraps[dim] and max(both) > 0:
            added[dim] = (max(both[0], 0), max(both[1], 0))
            kept[2 * position : 2 * position + 2] = [min(both[0], 0), min(both[1], 0)]
    if not added:
        return call.run()
    spelled = ", ".join(f"{before}+{after}" for before, after in added.values())
    note(call.func, f"{mode} padding {spelled} wrapped")
    value = wrapped(value, added)
    return call.but(input=value, pad=tuple(kept)).run() if any(kept) else value


def _told(what: str, along: Sequence[bool], pads: Sequence[Pads]) -> str:
    spelled = ", ".join(
        f"{before}+{after}" for (before, after), wrap in zip(pads, along, strict=True) if wrap
    )
    return f"{what} {spelled} wrapped"
