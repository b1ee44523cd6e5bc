"""Path counts: the gradient of the same network with all weights one, and known distributions."""

from __future__ import annotations

import random
from math import comb, sqrt

import numpy as np
import pytest
import torch
from torch import nn

from fieldwise import receptive_fields
from fieldwise.capture.layers import layers_graph
from fieldwise.effective.measures import deviations
from fieldwise.errors import UsageError
from fieldwise.field.paths import path_counts


class Linear(nn.Module):
    """A random network of linear layers and moves, all weights one."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.steps = nn.ModuleList(self._layer(dice) for _ in range(4))
        self.moves = [dice.choice(["none", "double", "roll", "flip", "cat", "shuffle", "crop"])
                      for _ in self.steps]  # fmt: skip
        for parameter in self.parameters():
            nn.init.constant_(parameter, float(parameter.dim() > 1))

    @staticmethod
    def _layer(dice: random.Random) -> nn.Module:
        kernel = dice.choice([1, 2, 3, 5])
        if dice.random() < 0.25:
            return nn.ConvTranspose2d(4, 4, kernel, dice.choice([1, 2]), padding=kernel // 2)
        if dice.random() < 0.2:
            return nn.Upsample(scale_factor=2)
        mode = dice.choice(["zeros", "reflect", "circular", "replicate"])
        return nn.Conv2d(
            4, 4, kernel, dice.choice([1, 2]), padding=kernel // 2, padding_mode=mode,
            groups=dice.choice([1, 2, 4]), dilation=1 if mode == "reflect" else dice.choice([1, 2]),
        )  # fmt: skip

    def forward(self, x):
        for layer, move in zip(self.steps, self.moves, strict=True):
            x = layer(x)
            if move == "double":
                x = x + x
            elif move == "roll":
                x = x + torch.roll(x, 2, 3)
            elif move == "flip":
                x = x + x.flip(2)
            elif move == "cat":
                x = torch.cat([x[:, 2:], x[:, :1], x[:, :1]], 1)
            elif move == "shuffle":
                x = torch.nn.functional.pixel_shuffle(torch.cat([x] * 4, 1), 2)
            elif move == "crop":
                x = x[:, :, 1:]
        return x


@pytest.mark.parametrize("seed", range(30))
def test_the_number_of_paths_is_the_gradient_where_all_weights_are_one(seed):
    """To 1e-12, of a few units of random networks, borders of every kind included."""
    dice = random.Random(seed)
    net = Linear(dice).double().eval()
    x = torch.zeros(1, 4, 24, 20, dtype=torch.float64, requires_grad=True)
    result = net(x)
    report = receptive_fields(net, (1, 4, 24, 20))
    for _ in range(3):
        unit = tuple(dice.randrange(size) for size in result.shape[2:])
        (gradient,) = torch.autograd.grad(
            result[(0, slice(None), *unit)].sum(), x, retain_graph=True
        )
        wanted = gradient.sum((0, 1)).numpy()
        found = path_counts(report, report.graph.outputs[0], unit)
        assert found.exact
        np.testing.assert_allclose(found.shares * found.total, wanted, rtol=1e-12, atol=0)
        np.testing.assert_array_equal(
            found.shares > 0, report[report.graph.outputs[0]].at(*unit).mask()
        )


@pytest.mark.parametrize("layers", [1, 5, 40, 400])
def test_layers_of_two_taps_are_a_binomial_distribution(layers):
    """And their deviation is √(n/4), however deep: nothing overflows."""
    report = receptive_fields(layers_graph(" ".join(["conv2"] * layers), (1, 1, layers + 1)))
    found = path_counts(report, report.graph.outputs[0], (0,))
    wanted = [comb(layers, k) / 2**layers for k in range(layers + 1)]
    np.testing.assert_allclose(found.shares, wanted, rtol=1e-11)
    assert found.log2 == pytest.approx(layers)
    assert deviations(found.shares) == pytest.approx((sqrt(layers / 4),), rel=1e-9)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_the_deviation_of_n_layers_is_that_of_n_uniform_steps(kernel):
    """√(n (k² − 1) / 12) along each axis: √(2n/3) for 3 × 3."""
    layers, size = 12, 12 * (kernel - 1) + 1
    report = receptive_fields(
        layers_graph(" ".join([f"conv{kernel}"] * layers), (1, 1, size, size))
    )
    found = path_counts(report, report.graph.outputs[0], (0, 0))
    wanted = sqrt(layers * (kernel**2 - 1) / 12)
    assert deviations(found.shares) == pytest.approx((wanted, wanted), rel=1e-12)


def test_a_unit_that_sees_nothing_has_no_paths():
    """It reads padding alone."""
    net = nn.Sequential(nn.ZeroPad1d(4), nn.Conv1d(1, 1, 2))
    report = receptive_fields(net, (1, 1, 8))
    found = path_counts(report, report.graph.outputs[0], (0,))
    assert found.total == 0
    assert not found.shares.any()


def test_a_unit_outside_the_map_is_an_error():
    """As it is for ``at``."""
    report = receptive_fields(layers_graph("conv3", (1, 1, 8)))
    with pytest.raises(UsageError, match="outside"):
        path_counts(report, report.graph.outputs[0], (9,))
