"""Beside the fields a page says where affine ops fold and what breaks equivariance."""

from __future__ import annotations

import torch
from torch import nn

from fieldwise import receptive_fields
from fieldwise.capture.layers import layers_graph
from fieldwise.see import notes_of, view


def made(report):
    return view(report, notes=[notes_of(report)]).data["networks"][0]


def test_an_affine_op_folds_or_stays_with_its_reason():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), nn.Sigmoid()
    )
    folds = made(receptive_fields(net.eval(), (1, 3, 8, 8)))["folds"]
    assert folds["1"] == [1, "batch_norm folds into 0, exactly."]
    assert folds["3"][0] == 0
    assert folds["3"][1].startswith("batch_norm stays: ")


def test_parallel_convolutions_become_one():
    class Parallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 1)

        def forward(self, x):
            return torch.relu(self.one(x) + self.two(x))

    folds = made(receptive_fields(Parallel().eval(), (1, 1, 8, 8)))["folds"]
    assert folds["two"] == [1, "It goes into the parallel convolution one, exactly."]


def test_a_breaker_stands_once_with_all_its_axes():
    shift = made(receptive_fields(layers_graph("conv3p1 conv3p1"), axes=None))["shift"]
    (breaker,) = shift["breakers"]
    assert (breaker["why"], breaker["known"], breaker["value"]) == ("zero padding", 1, 1)
    assert shift["outputs"][0]["axes"][0]["circular"]["holds"] == 0


def test_a_periodic_network_is_proven():
    net = nn.Sequential(nn.Conv1d(1, 1, 3, stride=2, padding=1, padding_mode="circular"))
    shift = made(receptive_fields(net, (1, 1, 16)))["shift"]
    assert shift["breakers"] == []
    circular = shift["outputs"][0]["axes"][0]["circular"]
    assert (circular["holds"], circular["period"], circular["step"]) == (1, 2, 1)
