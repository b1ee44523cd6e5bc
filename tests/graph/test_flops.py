"""Operations are counted from reads and kinds: held against torch's own counter."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fieldwise.capture.torch import capture
from fieldwise.graph.flops import flops

PRODUCTS = {"conv", "conv_transpose", "linear", "matmul", "attention"}
"""What torch counts."""


def counted(model: nn.Module, x: torch.Tensor) -> Counter[str]:
    graph = capture(model, x)
    found = Counter[str]()
    for node in graph.nodes:
        found[node.op] += flops(node, graph.values)
    return found


class Attention(nn.Module):
    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, x, x)


CASES = {
    "groups": (nn.Conv2d(4, 8, (3, 5), groups=2, stride=2, dilation=2), (1, 4, 32, 32)),
    "depthwise": (nn.Conv1d(6, 6, 5, groups=6, padding=2), (2, 6, 20)),
    "transposed": (nn.ConvTranspose1d(4, 6, 8, stride=4, padding=2), (2, 4, 32)),
    "linear": (nn.Linear(5, 7), (3, 2, 5)),
    "two products": (
        nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Linear(6, 3)),
        (1, 1, 8, 8, 8),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_products_take_what_torch_counts(name):
    model, shape = CASES[name]
    x = torch.randn(shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    found = counted(model.eval(), x)
    assert sum(found[op] for op in PRODUCTS) == counter.get_total_flops() > 0


def test_attention_takes_two_products_per_head_with_every_visible_key():
    assert counted(Attention(), torch.randn(1, 2, 9, 4))["attention"] == 2 * 2 * (2 * 9 * 9 * 4)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_uses_every_weight_once_per_position(layer):
    model = layer(4, 8, 2, batch_first=True)
    weights = sum(weight.numel() for weight in model.parameters())
    (found,) = counted(model.eval(), torch.randn(3, 10, 4)).values()
    assert found == 3 * 10 * (2 * weights + 8)


def test_what_only_moves_elements_takes_nothing_and_what_computes_one_takes_one():
    class Net(nn.Module):
        def forward(self, x):
            return x.transpose(1, 2).reshape(1, 12) + 1

    assert counted(Net(), torch.randn(1, 3, 4)) == {"permute": 0, "reshape": 0, "add": 12}
