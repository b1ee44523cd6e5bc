"""What a kernel is said to hold, against what torch takes while it runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fieldwise.graph.ir import Call
from fieldwise.tile.memory_format import CHANNELS_LAST
from fieldwise.tile.workspace import held_beside
from tests.tile.taken import bytes_at_once

ATEN = torch.ops.aten


def around(call: Call) -> tuple[int, int]:
    """What the tensors of a call and its kernel are said to take, and what they take."""
    with torch.no_grad():
        made = call.target(*call.args)
    read = sum(one.nbytes for one in call.args if isinstance(one, Tensor))
    took = bytes_at_once(lambda: call.target(*call.args))
    return read + made.nbytes + held_beside(call, made), read + took


def convolution(layer: nn.Module, x: Tensor) -> Call:
    return Call(
        ATEN.convolution.default,
        (
            x, layer.weight.detach(), layer.bias.detach(), layer.stride, layer.padding,
            layer.dilation, layer.transposed, layer.output_padding, layer.groups,
        ),
    )  # fmt: skip


LAYERS = {
    "sequence": (nn.Conv1d(32, 32, 9, padding=4), 8192),
    "sequence, strided": (nn.Conv1d(32, 64, 4, 2), 8192),
    "sequence, transposed": (nn.ConvTranspose1d(32, 16, 4, 2), 8192),
    "image": (nn.Conv2d(16, 16, 3, padding=1), 192),
    "image, pointwise": (nn.Conv2d(16, 16, 1), 192),
    "image, dilated": (nn.Conv2d(16, 16, 3, dilation=2), 192),
    "image, groups": (nn.Conv2d(16, 16, 3, groups=4), 192),
    "image, depthwise": (nn.Conv2d(16, 16, 3, groups=16), 192),
    "image, dilated groups": (nn.Conv2d(16, 16, 3, dilation=2, groups=4), 192),
    "image, transposed": (nn.ConvTranspose2d(16, 16, 3), 192),
    "image, transposed with a stride": (nn.ConvTranspose2d(16, 16, 2, 2), 192),
    "image, transposed groups": (nn.ConvTranspose2d(16, 16, 3, groups=4), 192),
    "many weights": (nn.Conv2d(256, 256, 3), 16),
    "volume": (nn.Conv3d(16, 16, 3), 32),
    "volume, pointwise": (nn.Conv3d(16, 16, 1), 32),
    "volume, dilated": (nn.Conv3d(16, 16, 3, dilation=2), 32),
    "volume, groups": (nn.Conv3d(16, 16, 3, groups=4), 32),
    "volume, transposed": (nn.ConvTranspose3d(16, 16, 3), 32),
    "volume, transposed with a stride": (nn.ConvTranspose3d(16, 16, 2, 2), 32),
    "volume, transposed groups": (nn.ConvTranspose3d(16, 16, 3, groups=4), 32),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", [False, True], ids=["in rows", "channels last"])
@pytest.mark.parametrize("case", LAYERS)
def test_a_convolution_takes_what_its_kernel_is_said_to_hold(case, last, dtype, batch):
    layer, side = LAYERS[case]
    rank = layer.weight.dim()
    x = torch.randn(batch, layer.in_channels, *[side] * (rank - 2), dtype=getattr(torch, dtype))
    if last and rank in CHANNELS_LAST:
        x = x.contiguous(memory_format=CHANNELS_LAST[rank])
    said, took = around(convolution(layer.to(x.dtype), x))
    assert took / 1.2 <= said <= 1.2 * took


@pytest.mark.parametrize("op", [ATEN._softmax.default, ATEN._log_softmax.default])
@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("last", [False, True], ids=["in rows", "channels last"])
def test_a_softmax_copies_what_does_not_lie_in_rows(op, dim, last):
    x = torch.randn(1, 16, 128, 128)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    said, took = around(Call(op, (x, dim, False)))
    assert said == took


def test_on_another_device_nothing_is_counted():
    layer = nn.Conv2d(16, 16, 3, device="meta", dtype=torch.float64)
    x = torch.empty(1, 16, 64, 64, device="meta", dtype=torch.float64)
    made = torch.empty(1, 16, 62, 62, device="meta", dtype=torch.float64)
    assert held_beside(convolution(layer, x), made) == 0
    assert held_beside(Call(ATEN._softmax.default, (x.mT, 1, False)), x) == 0
