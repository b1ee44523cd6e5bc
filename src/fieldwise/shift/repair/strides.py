"""A strided window as a dense one and a subsampling: what both repairs of strides begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812  (as torch calls it)

from fieldwise.shift.repair.borders import conv_padding, windows
from fieldwise.shift.repair.calls import AVG_POOL, CONV, MAX_POOL, AnyFunction, FunctionCall

STRIDED: Mapping[AnyFunction, int] = CONV | MAX_POOL | AVG_POOL


@dataclass(frozen=True, slots=True)
class Strided:
    """A convolution or pool that takes every so many samples.

    sizes: of the operand, along the spatial axes; results: of the result
    spans: of the window, first to last sample; before, after: its padding
    """

    call: FunctionCall
    sizes: tuple[int, ...]
    spans: tuple[int, ...]
    strides: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    results: tuple[int, ...]

    def dense(self) -> FunctionCall:
        """The same window at every sample, with the same padding."""
        changes = {"ceil_mode": False} if "ceil_mode" in self.call.given else {}
        return self.call.but(stride=1, **changes)

    def whole(self) -> FunctionCall:
        """The same window at every sample of an operand that it divides.

        What such a window without padding reads beyond the end is reflected, so that the result is
        as long as the operand: a period, once the boundaries are periodic.
        """
        missing = [
            span - 1 - before - after if result * stride == size else 0
            for size, span, stride, before, after, result in zip(
                self.sizes, self.spans, self.strides, self.before, self.after, self.results,
                strict=True,
            )
        ]  # fmt: skip
        beyond = [
            max(0, min(more, size - 1)) for more, size in zip(missing, self.sizes, strict=True)
        ]
        if not any(beyond):
            return self.dense()
        sides = [side for more in reversed(beyond) for side in (0, more)]
        return self.dense().but(input=F.pad(self.call["input"], sides, mode="reflect"))


def strided(call: FunctionCall) -> Strided | None:
    """The geometry of a call that skips samples; None for every other call.

    >>> import torch
    >>> from fieldwise.shift.repair.calls import known_call
    >>> found = strided(known_call(torch.conv1d, (torch.ones(1, 1, 8), torch.ones(1, 1, 3)), {
    ...     "stride": 2, "padding": 1}))
    >>> found.sizes, found.spans, found.results
    ((8,), (3,), (4,))
    """
    count = STRIDED.get(call.func)
    if count is None:
        return None
    conv = call.func in CONV
    kernel = tuple(call["weight"].shape[2:]) if conv else call.sizes("kernel_size", count, None)
    strides = call.sizes("stride", count, 1 if conv else kernel)
    if max(strides) == 1:
        return None
    dilation = call.sizes("dilation", count, 1)
    sizes = tuple(call["input"].shape[-count:])
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    pads = conv_padding(call, count) if conv else [(p, p) for p in call.sizes("padding", count, 0)]
    ceils = bool(call.get("ceil_mode", False))
    return Strided(
        call,
        sizes,
        spans,
        strides,
        tuple(before for before, _ in pads),
        tuple(after for _, after in pads),
        tuple(
            windows(size, span, stride, both, ceils=ceils)
            for size, span, stride, both in zip(sizes, spans, strides, pads, strict=True)
        ),
    )
