"""Numbers rounded to a grid: in place, and by a range that is observed from all of them."""

from __future__ import annotations

import pytest
import torch
import torch.ao.quantization as quantization
import torch.ao.quantization.fx._decomposed
from torch import Tensor, nn

from fieldwise.capture.torch.capture import capture
from fieldwise.field import receptive_fields
from fieldwise.testing import check_reads

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

SCALES = torch.tensor([0.1, 0.2])
ZEROS = torch.zeros(2, dtype=torch.int32)
ops = torch.ops.quantized_decomposed


class ConvBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.b, self.r = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.r(self.b(self.c(x)))


def trained_for_quantisation(*fused: list[str]) -> nn.Module:
    """As ``prepare_qat`` makes it, after one batch, in eval mode."""
    net = ConvBlock().train()
    net.qconfig = quantization.get_default_qat_qconfig("x86")
    net = quantization.fuse_modules_qat(net, [*fused]) if fused else net
    net = quantization.prepare_qat(net)
    net(torch.randn(2, 3, 8, 8))
    return net.eval()


def test_a_fixed_grid_is_read_in_place():
    def per_tensor(x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127)

    def per_channel(x: Tensor) -> Tensor:
        return torch.fake_quantize_per_channel_affine(x, SCALES, ZEROS, 1, -128, 127)

    def decomposed(x: Tensor) -> Tensor:
        whole = ops.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8)
        x = ops.dequantize_per_tensor(whole, 0.1, 0, -128, 127, torch.int8)
        whole = ops.quantize_per_channel(x, SCALES, ZEROS, 1, -128, 127, torch.int8)
        return ops.dequantize_per_channel(whole, SCALES, ZEROS, 1, -128, 127, torch.int8)

    for function in (per_tensor, per_channel, decomposed):
        row = receptive_fields(Function(function), (1, 2, 5))["output"].row
        assert (row.exact, row.extent, row.stride) == (True, (1,), (1,))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_a_grid_that_is_made_of_the_input_is_read_too():
    def dynamic(x: Tensor) -> Tensor:
        scale = x.abs().amax().float() / 127
        zero = torch.zeros((), dtype=torch.int32)
        return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, -128, 127)

    assert check_reads(dynamic, torch.randn(1, 2, 5)).verdict == "exact"


def test_a_network_that_is_trained_for_quantisation_sees_what_its_convolution_sees():
    for fused in ((), (["c", "b", "r"],)):
        net = trained_for_quantisation(*fused).apply(quantization.disable_observer)
        row = receptive_fields(net, (1, 3, 8, 8))["output"].row
        assert (row.exact, row.extent, row.stride) == (True, (3, 3), (1, 1))


def test_while_ranges_are_observed_each_output_depends_on_all_of_them():
    net = trained_for_quantisation(["c", "b", "r"]).apply(quantization.enable_observer)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    row = receptive_fields(net, (1, 3, 8, 8))["output"].row
    assert row.full == (True, True)
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    x = torch.randn(1, 3, 8, 8)
    assert not torch.equal(net(x)[..., 0, 0], net(x + 9 * (torch.arange(8) == 7))[..., 0, 0])


def test_no_op_of_a_quantised_network_is_unknown():
    graph = capture(trained_for_quantisation(), torch.empty(1, 3, 8, 8))
    kinds = {read.kind.combines for node in graph.nodes for reads in node.reads for read in reads}
    assert "unknown" not in kinds
