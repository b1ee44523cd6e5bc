"""The new weights of a plan, and the error that one window shows of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.folding.planner import plan
from fieldwise.folding.weights import Changed, changed_layers, pair_error


class Blocks(nn.Module):
    """A convolution with a BatchNorm before and behind it, a transposed one, two in parallel."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=2)
        self.behind = nn.BatchNorm2d(6)
        self.up, self.norm = nn.ConvTranspose2d(6, 4, 2, stride=2), nn.BatchNorm2d(4)
        self.wide, self.narrow = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.behind(self.conv(self.before(x))).relu()
        x = self.norm(self.up(x)).relu()
        return self.wide(x) + self.narrow(x)


def changed(factor: float = 1.0) -> list[Changed]:
    """The new weights of all layers, whose outputs are so many times as large."""
    torch.manual_seed(0)
    model = Blocks().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_()
                module.bias.normal_()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.bias.normal_()
        for name in ("behind", "norm", "wide", "narrow"):
            module = model.get_submodule(name)
            module.weight *= factor
            module.bias *= factor
    found = list(changed_layers(plan(capture(model, torch.empty(1, 4, 8, 8)))).values())
    assert len(found) == 3
    return found


def test_the_new_weights_give_what_the_layers_gave_one_after_the_other():
    for layer in changed():
        assert pair_error(layer, layer.weight, layer.bias) < 1e-12


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_the_error_of_rounded_weights_is_relative_to_the_outputs(factor):
    for layer in changed(factor):
        assert layer.bias is not None
        found = pair_error(layer, layer.weight * (1 + 1e-3), layer.bias * (1 + 1e-3))
        assert found == pytest.approx(1e-3)


def test_a_bias_that_differs_is_part_of_the_error():
    for layer in changed():
        assert layer.bias is not None
        assert pair_error(layer, layer.weight, layer.bias + 1) > 0.01
        assert pair_error(layer, layer.weight, np.zeros_like(layer.bias)) > 0.01
