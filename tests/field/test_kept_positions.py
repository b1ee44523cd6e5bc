"""Behind a norm or a softmax over positions a value has positions, with a path of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise import receptive_fields
from fieldwise.field.probes import gradient_field


class Softmax(nn.Module):
    """Over the columns."""

    def forward(self, x):
        return x.softmax(-1)


NORMS = {
    "group": lambda: nn.GroupNorm(2, 4),
    "instance": lambda: nn.InstanceNorm2d(4),
    "layer": lambda: nn.LayerNorm((4, 12, 14)),
    "softmax": Softmax,
}


@pytest.mark.parametrize("norm", NORMS)
def test_a_position_behind_a_norm_sees_the_whole_and_its_own_neighbours_locally(norm):
    """Exactly the whole axis, by the gradient too; locally as the network without the norm."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), NORMS[norm](), nn.Conv2d(4, 4, 3, stride=2, padding=1)
    ).eval()
    report = receptive_fields(net, (1, 1, 12, 14), ignore_global=True)
    value = report["2"]
    assert report.roles("2").unit == (2, 3)
    for unit in [(0, 0), (3, 4), (5, 6)]:
        seen = value.at(*unit)
        probe = gradient_field(net, torch.zeros(1, 1, 12, 14), "2", unit)
        assert seen.exact
        assert (seen.mask() == probe.mask).all()
    row = value.row
    whole = (True, True) if norm != "softmax" else (False, True)
    assert row.full == whole
    assert [axis.extent for axis in row.local] == [5, 5]
    assert [axis.stride for axis in row.local] == [2, 2]


def test_local_fields_are_those_of_the_network_without_its_norms():
    """A U-Net with group norms: every row, at every unit."""

    def block(wide, out, *, normed):
        norm = nn.GroupNorm(2, out) if normed else nn.Identity()
        return nn.Sequential(nn.Conv2d(wide, out, 3, padding=1), norm, nn.SiLU())

    class UNet(nn.Module):
        def __init__(self, *, normed):
            super().__init__()
            self.down = block(1, 4, normed=normed)
            self.deep = block(4, 8, normed=normed)
            self.up = block(12, 4, normed=normed)

        def forward(self, x):
            high = self.down(x)
            low = self.deep(nn.functional.max_pool2d(high, 2))
            return self.up(torch.cat([high, nn.functional.interpolate(low, scale_factor=2)], 1))

    shape = (1, 1, 16, 16)
    normed = receptive_fields(UNet(normed=True).eval(), shape, ignore_global=True)
    plain = receptive_fields(UNet(normed=False).eval(), shape)
    assert [axis.extent for axis in normed["up"].row.local] == list(plain["up"].row.extent)
    for unit in [(0, 0), (7, 8), (15, 3)]:
        assert normed.unbounded("up", unit, local=True) == plain["up"].unbounded(*unit)


def test_a_sum_over_positions_keeps_none():
    """What is summed up stands at no position."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)).eval()
    report = receptive_fields(net, (1, 1, 12, 14), ignore_global=True)
    assert report.unbounded("1", (0, 0)[: len(report.roles("1").unit)], local=True) == ()
