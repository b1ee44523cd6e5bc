"""A convolution padded so that the output has ⌈size / stride⌉ positions (TensorFlow's same)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor, nn

from fieldwise.graph.calls import arguments
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


class SameConv(nn.Conv2d):
    """A plain convolution after padding by the size of its input, the odd sample at the end.

    >>> import torch
    >>> SameConv(1, 1, 3, stride=2)(torch.zeros(1, 1, 8, 8)).shape
    torch.Size([1, 1, 4, 4])
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """Pad, then convolve."""
        padded = F.pad(input, same_pads(self, tuple(input.shape[2:])))
        return self._conv_forward(padded, self.weight, self.bias)


def same_pads(conv: Conv, sizes: tuple[int, ...]) -> list[int]:
    """Pads as ``F.pad`` takes them, last dimension first, (before, after) each."""
    pads: list[int] = []
    for size, kernel, stride, dilation in reversed(
        list(zip(sizes, conv.kernel_size, conv.stride, conv.dilation, strict=True))
    ):
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        pads += [total // 2, total - total // 2]
    return pads


def is_same_padding(graph: Graph, node: Node, conv: nn.Module) -> bool:
    """Whether a recorded ``pad`` is what ``SameConv`` does at this size."""
    given, sizes = arguments(node), graph.shape(node.operands[0])[2:]
    zeros = not given.get("value") and given.get("mode", "constant") == "constant"
    if not zeros or not isinstance(conv, Conv):
        return False
    return list(given.get("pad", ())) == same_pads(conv, sizes)
