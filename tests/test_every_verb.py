"""What holds of every verb: random states stay as they were, and depth is no limit."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.field import receptive_fields
from fieldwise.field.probes import GradientProbe, nan_field
from fieldwise.field.unit_connections import connections
from fieldwise.folding import fold
from fieldwise.shift import certify, measure
from fieldwise.shift.repair import antialias, circular, polyphase
from fieldwise.tile import streamed, tiled

X = torch.linspace(-1, 1, 24).reshape(1, 1, 24)


def probed(model: nn.Module) -> object:
    graph = capture(model, X)
    return GradientProbe.of_graph(graph).field(graph.outputs[0], (3,))


VERBS = {
    "capture": lambda model: str(capture(model, X)),
    "field": lambda model: receptive_fields(model, X)["output"].at(3),
    "connections": lambda model: connections(model, X),
    "gradient probe": probed,
    "nan probe": lambda model: nan_field(model, X, None, (3,)),
    "fold": lambda model: fold(model, X),
    "fold in a graph": lambda model: fold(model, X, allow_graph=True),
    "certify": lambda model: certify(model, X),
    "measure": lambda model: measure(model, X),
    "circular": lambda model: circular(model, X),
    "antialias": lambda model: antialias(model, X),
    "polyphase": lambda model: polyphase(model, X),
    "streamed": lambda model: streamed(model, X, axis=2, band=4)(X),
    "tiled": lambda model: tiled(model, X, tile=8)(X),
    "streamed, verified": lambda model: streamed(model, X, axis=2, band=4, verify=True)(X),
    "tiled, verified": lambda model: tiled(model, X, tile=8, verify=True)(X),
}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


class Seeding(nn.Module):
    """A convolution that sets every generator that there is, and draws from each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv1d(1, 2, 3, padding=1), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
        torch.rand(3), np.random.rand(3), random.random()
        return self.norm(self.conv(x))


@every_verb
def test_generators_are_afterwards_as_they_were(verb):
    model = Seeding().eval()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    verb(model)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1][1])
    assert random.getstate() == states[2]


class Deep(nn.Module):
    """A convolution, two thousand residual adds of its result, and a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv1d(1, 2, 3, padding=1), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        first = y = self.conv(x)
        for _ in range(2000):
            y = y + first
        return self.norm(y)


@pytest.mark.slow
@every_verb
def test_two_thousand_residual_adds_are_not_too_deep(verb):
    assert verb(Deep().eval()) is not None
