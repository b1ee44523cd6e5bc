"""What torch's kernels hold on a processor beside the tensors that they read and make.

Torch chooses the kernel of a convolution by its sizes, its type and how its operands lie.  Its own
kernels lay every window out by itself; oneDNN puts what it reads and makes in an order of its own,
unless that lies in channels-last.  On cards nothing is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fieldwise.graph.calls import bind
from fieldwise.graph.ir import Call
from fieldwise.tile.memory_format import CHANNELS_LAST, is_channels_last

_ONEDNN = ("Mkldnn", "???")
"""Its kernels as torch calls them; those of transposed convolutions have no name in Python."""
_IMAGE = 4
"""Dimensions of a batch of images; torch's own kernels know channels-last of these alone."""
_HALF = 2
"""Bytes of an element of the types in which oneDNN makes results in another order still."""


@dataclass(frozen=True, slots=True)
class ConvolutionKernel:
    """The kernel that torch takes for a convolution.

    name:          as torch calls it; empty where it is on a card
    batch, dtype:  of what it reads
    channels_last: whether that lies so, and it works on it
    """

    name: str
    batch: int
    dtype: torch.dtype
    channels_last: bool
    weight: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    transposed: bool
    groups: int

    @classmethod
    def of(
        cls,
        x: Tensor,
        weight: Tensor,
        *,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],
        groups: int,
        channels_last: bool,
    ) -> ConvolutionKernel:
        """The kernel of a call of ``aten.convolution``, which has these arguments.

        x: of the shape and the type that it reads, a batch; its values are not looked at
        channels_last: whether what it reads, or its weight, lies so
        """
        name, given = "", (tuple(stride), tuple(padding))
        if x.device.type == weight.device.type == "cpu" and not x.dtype.is_complex:
            name = str(torch._C._select_conv_backend(
                x, weight, bias, *given, tuple(dilation), transposed, tuple(output_padding),
                groups, None,
            ).name)  # fmt: skip
        works = channels_last and (name in _ONEDNN or x.dim() == _IMAGE)
        return cls(name, x.shape[0], x.dtype, works, weight, *given, transposed, groups)

    def beside(self, read: int, made: int, *, apart: int = 0) -> int:
        """The most bytes that it holds at once beside so many that it reads and makes.

        apart: of operands that are copied before it starts, since they lie otherwise
        """
        if self.name.startswith("Slow"):
            return apart + self._laid_out(read, made)
        if self.name not in _ONEDNN:
            return 0
        before = self.weight.nbytes + self._scratch(read, made)
        return apart + (before if self.channels_last else max(read + before, self._orders * made))

    def _laid_out(self, read: int, made: int) -> int:
        """Of torch's own kernels: the windows of one group, of all samples or one by one."""
        batch, taps = max(self.batch, 1), self.weight[0].numel()
        held = (read if self.transposed else made) * taps // max(self.weight.shape[0], 1)
        if self.name == "SlowTranspose3d":
            positions = made // max(batch * self.weight.shape[1] * self.groups, 1)
            return held // batch + positions + max(read - made, 0)
        if self.name == "Slow3d":
            return 0 if self._is_pointwise else held * self.groups
        if self.name == "Slow2d" and self._is_pointwise:
            held = 0
        elif self.name.startswith("SlowDilated"):
            held //= batch
        if self.groups == 1:
            return held
        is_cut = self.channels_last or batch > 1
        return max(held + (read // self.groups if is_cut else 0), made)

    def _scratch(self, read: int, made: int) -> int:
        """Of oneDNN's transposed convolutions: with a stride, a sample for every thread."""
        if self.transposed and self._is_strided:
            return torch.get_num_threads() * (read // max(self.batch, 1))
        return made if self.transposed and not (self.channels_last or self._is_half) else 0

    @property
    def _orders(self) -> int:
        """In how many orders oneDNN has what it makes, beside the one that is asked for."""
        return 2 if self._is_half or (self.transposed and self._is_strided) else 1

    @property
    def _is_strided(self) -> bool:
        return max(self.stride) > 1

    @property
    def _is_half(self) -> bool:
        return self.dtype.itemsize == _HALF

    @property
    def _is_pointwise(self) -> bool:
        """Whether an output is made of the channels of one sample, and of every sample."""
        return {*self.weight.shape[2:], *self.stride} == {1} and not any(self.padding)


def held_beside(call: Call, made: object) -> int:
    """What the kernel of an ATen op holds beside the tensors of a call and what it gave.

    They need no data.
    """
    rule = _RULES.get(call.target)
    return 0 if rule is None or not isinstance(made, Tensor) else rule(bind(call), made.nbytes)


def _of_convolution(given: dict[str, Any], made: int) -> int:
    x, weight = given.pop("input"), given.pop("weight")
    last = any(is_channels_last(t) and not t.is_contiguous() for t in (x, weight))
    kernel = ConvolutionKernel.of(x, weight, **given, channels_last=last)
    wanted = CHANNELS_LAST[x.dim()] if kernel.channels_last else torch.contiguous_format
    apart = sum(t.nbytes for t in (x, weight) if not t.is_contiguous(memory_format=wanted))
    return kernel.beside(x.nbytes, made, apart=apart)


def _of_softmax(given: dict[str, Any], _: int) -> int:
    """A copy of what does not lie in rows."""
    x: Tensor = given["self"]
    return 0 if x.device.type != "cpu" or x.is_contiguous() else x.nbytes


_RULES: dict[object, Callable[[dict[str, Any], int], int]] = {
    torch.ops.aten.convolution.default: _of_convolution,
    torch.ops.aten._softmax.default: _of_softmax,
    torch.ops.aten._log_softmax.default: _of_softmax,
}
