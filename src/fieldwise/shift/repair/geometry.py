"""The windows of convolutions, pools and unfolds: how far each reaches, and how many fit."""

from __future__ import annotations

from dataclasses import dataclass

from fieldwise.shift.repair.borders import Pads
from fieldwise.shift.repair.calls import CONV, UNFOLD, FunctionCall


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """What slides along one spatial axis of ``size`` samples.

    pads:  what is added before and after
    ceils: whether the last window may reach beyond the padding; it does not start there

    >>> SlidingWindow(112, 3, 2, 1, (0, 0), ceils=True).count
    56
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    pads: Pads
    ceils: bool = False

    @property
    def span(self) -> int:
        """From the first of its samples to the last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def count(self) -> int:
        """How many windows fit."""
        return self._count(self.pads, ceils=self.ceils)

    def _count(self, pads: Pads, *, ceils: bool = False) -> int:
        room = self.size + sum(pads) - self.span
        if not ceils:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        return count - ((count - 1) * self.stride >= self.size + pads[0])

    @property
    def reach(self) -> Pads:
        """How far the first window reaches before the axis, and the last one beyond it."""
        before = self.pads[0]
        last = (self.count - 1) * self.stride + self.span
        return before, max(0, last - self.size - before)

    def covering(self, pads: Pads) -> Pads:
        """Padding, on the right, for as many windows as there are strides in the axis.

        As it is where the stride does not divide the size, and for a window over the whole axis.

        >>> strided, whole = SlidingWindow(8, 3, 2, 1, (0, 0)), SlidingWindow(8, 8, 1, 1, (0, 0))
        >>> strided.covering((0, 0)), strided.covering((1, 1)), whole.covering((0, 0))
        ((0, 1), (1, 1), (0, 0))
        """
        count = self._count(pads)
        if self.size % self.stride or count * self.stride >= self.size or count <= 1:
            return pads
        return pads[0], self.span - self.stride - pads[0]


def sliding_windows(call: FunctionCall, axes: int) -> tuple[SlidingWindow, ...]:
    """The window of a convolution, a pool or an unfold along each of its spatial axes."""
    weighs = call.func in CONV
    kernel = tuple(call["weight"].shape[2:]) if weighs else call.sizes("kernel_size", axes, None)
    stride = call.sizes("stride", axes, 1 if weighs or call.func in UNFOLD else kernel)
    dilation = call.sizes("dilation", axes, 1)
    ceils = bool(call.get("ceil_mode", False))
    sizes = call["input"].shape[-axes:]
    pads = _pads(call, [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)])
    return tuple(
        SlidingWindow(*along, ceils)
        for along in zip(sizes, kernel, stride, dilation, pads, strict=True)
    )


def _pads(call: FunctionCall, reaches: list[int]) -> list[Pads]:
    """What is added before and after, per spatial axis."""
    padding = call.get("padding", 0)
    if padding == "valid":
        return [(0, 0) for _ in reaches]
    if padding == "same":
        return [(total // 2, total - total // 2) for total in reaches]
    return [(p, p) for p in call.sizes("padding", len(reaches), 0)]
