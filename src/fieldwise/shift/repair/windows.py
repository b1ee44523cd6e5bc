"""Convolutions, pools and padding with periodic borders.

Each op is given an operand that is wrapped as far as it looks, and its own padding is switched
off.  What does not look beyond the border is computed as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.shift.repair.adapt import note
from fieldwise.shift.repair.borders import Borders, Pads, chosen, conv_padding, windows, wrapped
from fieldwise.shift.repair.calls import AVG_POOL, CONV, MAX_POOL, Call


def conv(call: Call, borders: Borders) -> Any:
    """Wrap as far as the padding reached."""
    along = borders.along(CONV[call.func])
    pads = conv_padding(call, len(along))
    if not any(wraps and any(both) for wraps, both in zip(along, pads, strict=True)):
        return call.run()
    note(call.func, _told("zero padding", along, pads))
    value = wrapped(call["input"], chosen(pads, along))
    kept = [(0, 0) if wraps else both for wraps, both in zip(along, pads, strict=True)]
    if any(before != after for before, after in kept):
        value = F.pad(value, [side for both in reversed(kept) for side in both])
        kept = [(0, 0)] * len(along)
    return call.but(input=value, padding=tuple(before for before, _ in kept)).run()


def pool(call: Call, borders: Borders) -> Any:
    """Wrap to the left as far as the padding, to the right as far as the last window reaches.

    A pool that returns indices into what it padded is left alone.
    """
    along = borders.along((MAX_POOL | AVG_POOL)[call.func])
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
    value = wrapped(value, chosen(pads, along))
    kept = tuple(0 if wraps else p for wraps, p in zip(along, before, strict=True))
    return call.but(input=value, padding=kept, ceil_mode=False).run()


def unfold(call: Call, borders: Borders) -> Any:
    """Wrap as far as the padding reached."""
    along = borders.along(2)
    padding = call.sizes("padding", 2, 0)
    pads = [(p, p) for p in padding]
    if not any(wraps and p for wraps, p in zip(along, padding, strict=True)):
        return call.run()
    note(call.func, _told("zero padding", along, pads))
    kept = tuple(0 if wraps else p for wraps, p in zip(along, padding, strict=True))
    return call.but(input=wrapped(call["input"], chosen(pads, along)), padding=kept).run()


def pad(call: Call, borders: Borders) -> Any:
    """What it adds along periodic axes is the other side; what it cuts off, it cuts off.

    Only of (batch, channels, *spatial), or what has the input's rank: the last dimensions of
    other tensors need not be spatial.
    """
    value: Tensor = call["input"]
    mode = call.get("mode", "constant")
    if mode == "circular" or value.dim() not in (borders.rank, 2 + len(borders.wrapped)):
        return call.run()
    kept = list(call["pad"])
    added: dict[int, Pads] = {}
    for position, wraps in enumerate(reversed(borders.wrapped)):
        both = kept[2 * position : 2 * position + 2]
        if wraps and max(both, default=0) > 0:
            added[value.dim() - 1 - position] = (max(both[0], 0), max(both[1], 0))
            kept[2 * position : 2 * position + 2] = [min(both[0], 0), min(both[1], 0)]
    if not added:
        return call.run()
    spelled = ", ".join(f"{before}+{after}" for before, after in added.values())
    note(call.func, f"{mode} padding {spelled} wrapped")
    value = wrapped(value, added)
    return call.but(input=value, pad=tuple(kept)).run() if any(kept) else value


def _told(what: str, along: Sequence[bool], pads: Sequence[Pads]) -> str:
    spelled = ", ".join(
        f"{before}+{after}" for (before, after), wraps in zip(pads, along, strict=True) if wraps
    )
    return f"{what} {spelled} wrapped"
