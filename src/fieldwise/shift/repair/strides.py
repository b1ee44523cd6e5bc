"""A strided window as a dense one and a subsampling: what both repairs of strides begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812  (as torch calls it)

from fieldwise.shift.repair.calls import AVG_POOL, CONV, MAX_POOL, AnyFunction, FunctionCall
from fieldwise.shift.repair.geometry import SlidingWindow, sliding_windows

STRIDED: Mapping[AnyFunction, int] = CONV | MAX_POOL | AVG_POOL


@dataclass(frozen=True, slots=True)
class Strided:
    """A convolution or pool that takes every so many samples; its windows per spatial axis."""

    call: FunctionCall
    windows: tuple[SlidingWindow, ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the windows."""
        return tuple(window.stride for window in self.windows)

    def dense(self) -> FunctionCall:
        """The same window at every sample, with the same padding."""
        changes = {"ceil_mode": False} if "ceil_mode" in self.call.given else {}
        return self.call.but(stride=1, **changes)

    def whole(self) -> FunctionCall:
        """The same window at every sample of an operand that it divides.

        What such a window without padding reads beyond the end is reflected, so that the result is
        as long as the operand: a period, once the boundaries are periodic.
        """
        beyond = [_missing(window) for window in self.windows]
        if not any(beyond):
            return self.dense()
        sides = [side for more in reversed(beyond) for side in (0, more)]
        return self.dense().but(input=F.pad(self.call["input"], sides, mode="reflect"))


def _missing(window: SlidingWindow) -> int:
    """How many samples behind the operand a dense window needs, and reflection can give."""
    if window.count * window.stride != window.size:
        return 0
    return max(0, min(window.span - 1 - sum(window.pads), window.size - 1))


def strided(call: FunctionCall) -> Strided | None:
    """The windows of a call that skips samples; None for every other call.

    >>> import torch
    >>> from fieldwise.shift.repair.calls import known_call
    >>> found = strided(known_call(torch.conv1d, (torch.ones(1, 1, 8), torch.ones(1, 1, 3)), {
    ...     "stride": 2, "padding": 1}))
    >>> [(window.size, window.span, window.count) for window in found.windows]
    [(8, 3, 4)]
    """
    axes = STRIDED.get(call.func)
    if axes is None:
        return None
    windows = sliding_windows(call, axes)
    return Strided(call, windows) if any(window.stride > 1 for window in windows) else None
