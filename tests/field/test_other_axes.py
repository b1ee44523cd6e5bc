"""Which axes are worth asking about, where the first layer reads all of those that are usual."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.capture.torch import capture
from fieldwise.field import receptive_fields
from fieldwise.field.other_axes import better_axes


class Tagger(nn.Module):
    """(batch, time, features)."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Linear(6, 4), nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        return self.lstm(self.embed(x))[0]


class ChannelsLast(nn.Module):
    """(batch, height, width, channels)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("model", "shape", "axes"),
    [
        (Tagger(), (1, 20, 6), (1,)),
        (nn.Conv1d(2, 2, 3), (1, 2, 20), None),
        (nn.Conv2d(3, 4, 3), (1, 3, 8, 8), None),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (1, 3, 4), None),
        (nn.Linear(6, 2), (1, 6), None),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1)), (1, 3, 8, 8), None),
        (nn.ReLU(), (1, 3, 8, 8), None),
    ],
    ids=["time", "signal", "image", "flattened", "features alone", "pooled", "copied"],
)
def test_axes_with_positions_are_named_where_the_usual_ones_have_none(model, shape, axes):
    graph = capture(model.eval(), torch.zeros(shape))
    assert better_axes(graph, receptive_fields(graph)) == axes


def test_channels_behind_the_positions_are_told_from_them():
    graph = capture(ChannelsLast().eval(), torch.zeros(1, 8, 9, 3))
    found = better_axes(graph, receptive_fields(graph))
    assert found == (1, 2)
    assert [one.extent for one in receptive_fields(graph, axes=found).rows[-1].axes] == [3, 3]
