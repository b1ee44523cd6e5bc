"""Convolutions, pools and padding with periodic borders.

Each op is given an operand that is wrapped as far as it looks, and its own padding is switched
off.  What does not look beyond the border is computed as before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor

from fieldwise.shift.repair.adapt import log_change
from fieldwise.shift.repair.borders import Pads, chosen, wrapped
from fieldwise.shift.repair.calls import AVG_POOL, CONV, MAX_POOL, UNFOLD, FunctionCall
from fieldwise.shift.repair.geometry import sliding_windows

Wraps = Sequence[bool]
"""Per dimension of the operand, whether it is a periodic axis."""


def conv(call: FunctionCall, wraps: Wraps, *, cover: bool = False) -> object:
    """Wrap as far as the padding reached; to ``cover``, as far as a window per stride needs."""
    windows = sliding_windows(call, CONV[call.func])
    own = pads = [window.pads for window in windows]
    if cover:
        pads = [window.covering(window.pads) for window in windows]
    what = "zero padding" if own == pads else "valid windows"
    return _run_wrapped(call, wraps, own, pads, what)


def pool(call: FunctionCall, wraps: Wraps, *, cover: bool = False) -> object:
    """Wrap to the left as far as the padding, to the right as far as the last window reaches.

    To ``cover``, as far as a window per stride needs.  A pool that returns indices into what it
    padded is left alone.
    """
    windows = sliding_windows(call, (MAX_POOL | AVG_POOL)[call.func])
    if call.gives_indices or (windows[0].ceils and not all(wraps[-len(windows) :])):
        return call.run()
    pads = [window.covering(window.reach) if cover else window.reach for window in windows]
    own = [window.pads for window in windows]
    return _run_wrapped(call, wraps, own, pads, "padding", ceil_mode=False)


def unfold(call: FunctionCall, wraps: Wraps) -> object:
    """Wrap as far as the padding reached."""
    own = [window.pads for window in sliding_windows(call, UNFOLD[call.func])]
    return _run_wrapped(call, wraps, own, own, "zero padding")


def _run_wrapped(
    call: FunctionCall,
    wraps: Wraps,
    own: Sequence[Pads],
    pads: Sequence[Pads],
    what: str,
    **changes: object,
) -> object:
    """The call, its operand wrapped by ``pads`` along periodic axes in place of its own padding."""
    along = wraps[-len(pads) :]
    if not any(wrap and any(both) for wrap, both in zip(along, pads, strict=True)):
        return call.run()
    log_change(call.func, _spelled_pads(what, along, pads))
    value = wrapped(call["input"], chosen(pads, along))
    kept = [(0, 0) if wrap else both for wrap, both in zip(along, own, strict=True)]
    if any(before != after for before, after in kept):
        value = F.pad(value, [side for both in reversed(kept) for side in both])
        kept = [(0, 0)] * len(along)
    padding = tuple(before for before, _ in kept)
    return call.but(input=value, padding=padding, **changes).run()


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
    log_change(call.func, f"{mode} padding {spelled} wrapped")
    value = wrapped(value, added)
    return call.but(input=value, pad=tuple(kept)).run() if any(kept) else value


def _spelled_pads(what: str, along: Sequence[bool], pads: Sequence[Pads]) -> str:
    spelled = ", ".join(
        f"{before}+{after}" for (before, after), wrap in zip(pads, along, strict=True) if wrap
    )
    return f"{what} {spelled} wrapped"
