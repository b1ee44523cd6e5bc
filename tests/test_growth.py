"""How much work analyses do as networks grow: calls of functions are counted, no time is taken."""

from __future__ import annotations

from cProfile import Profile
from pstats import Stats

import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.field import receptive_fields
from fieldwise.graph.ir import Graph
from fieldwise.shift import certify


class DenseList(nn.Module):
    """Each layer reads the concatenation of all before: reads grow as the square of layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(2 * (number + 1), 2, 3, padding=1) for number in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return found[-1]


def one_unit(graph: Graph) -> None:
    receptive_fields(graph)["output"].at(100, 100)


@pytest.mark.parametrize("analysis", [certify, receptive_fields, one_unit])
def test_a_dense_list_costs_as_many_calls_as_it_has_reads(analysis: object) -> None:
    assert callable(analysis)
    graphs = [capture(DenseList(n), torch.empty(1, 2, 200, 200)) for n in (16, 32, 64)]
    analysis(graphs[0])  # what is looked up once is looked up now
    calls = []
    for graph in graphs[1:]:
        profile = Profile()
        profile.runcall(analysis, graph)
        calls.append(Stats(profile).total_calls)
    assert calls[1] <= 4 * calls[0]
