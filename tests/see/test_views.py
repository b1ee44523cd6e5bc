"""Every view opens without an error on networks of every kind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise import receptive_fields
from fieldwise.capture.layers import layers_graph
from fieldwise.see import notes_of, view
from tests.field import networks as zoo
from tests.field.networks import CATALOGUE

VIEWS = ("layers", "sees", "who", "tiles", "streams", "shift")


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return torch.relu(x) + y.mean(), y.sum()


NETWORKS = {
    **{
        kind.__name__: (kind(), CATALOGUE[kind])
        for kind in (zoo.Attention, zoo.Volume, zoo.Signal, zoo.SqueezeExcitation, zoo.PixelShuffle,
                     zoo.ShiftedWindows, zoo.BidirectionalLstm)
    },
    "a linear layer": (nn.Linear(8, 3), (2, 8)),
    "two inputs": (TwoInputs(), (torch.zeros(1, 1, 6), torch.zeros(1, 1, 4))),
    "nothing seen": (nn.ConvTranspose1d(1, 1, 1, stride=3), (1, 1, 5)),
    "a scalar": (nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0)), (1, 1, 3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_view_opens(opened, name):
    model, example = NETWORKS[name]
    check(opened, receptive_fields(model.eval(), example))


def test_every_view_of_a_list_of_layers_opens(opened):
    check(opened, receptive_fields(layers_graph("conv3/2 relu tconv4/2 globalpool")))


def check(opened, report):
    made = view(report, notes=[notes_of(report)])
    tab = opened(made)
    for shown in VIEWS:
        for row in (report.rows[len(report.rows) // 2], report.rows[-1]):
            tab.evaluate("(state) => fieldwise.change(state, { kept: true })",
                         {"view": shown, "layer": row.name})  # fmt: skip
            assert tab.locator("main h2").count() > 0
            assert "undefined" not in tab.locator("main").inner_text()
            assert "NaN" not in tab.locator("main").inner_text()
