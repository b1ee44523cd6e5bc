"""How much work analyses do as networks grow: calls of functions are counted, no time is taken."""

from __future__ import annotations

from collections.abc import Callable
from cProfile import Profile
from pstats import Stats

import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.field import receptive_fields
from fieldwise.folding.planner import plan
from fieldwise.graph.graph import Graph
from fieldwise.shift import certify
from fieldwise.tile.bands.compile import compile_program
from fieldwise.tile.bands.plan import plan_of
from fieldwise.tile.crops.compare import compare


class DenseList(nn.Module):
    """Each layer reads the concatenation of all before: reads grow as the square of layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * (number + 1), 2, 3, padding=1), nn.BatchNorm2d(2))
            for number in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return found[-1]


class Chain(nn.Module):
    """Pointwise ops, one after the other."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.length):
            x = torch.relu(x)
        return x


EXAMPLE = (1, 2, 200, 200)


def one_unit(model: nn.Module, graph: Graph) -> None:
    receptive_fields(graph)["output"].at(100, 100)


def row(model: nn.Module, graph: Graph) -> None:
    assert receptive_fields(graph)["output"].row.extent


def certificate(model: nn.Module, graph: Graph) -> None:
    certify(graph)


def tiles(model: nn.Module, graph: Graph) -> None:
    """The proof of a crop; what else a plan takes, the rows and the unit take too."""
    crop = capture(model, torch.empty(1, 2, 200, 150))
    assert not compare(crop, graph, {3: ((0, 150),)}).losses


def bands(model: nn.Module, graph: Graph) -> None:
    assert plan_of(compile_program(graph, -2), 100).steps


def folds(model: nn.Module, graph: Graph) -> None:
    assert plan(graph).folds


def counted(analysis: Callable[[nn.Module, Graph], None], model: nn.Module) -> int:
    """How many calls an analysis of a network makes."""
    profile = Profile()
    profile.runcall(analysis, model, capture(model, torch.empty(EXAMPLE)))
    return int(Stats(profile).total_calls)


@pytest.mark.parametrize("analysis", [certificate, row, one_unit, tiles, bands, folds])
def test_a_dense_list_costs_as_many_calls_as_it_has_reads(
    analysis,
):
    """The part of the count that grows with the third power, from its third difference."""
    sizes = (12, 24, 36, 48)
    for layers in sizes:  # what is looked up once, and worked out once for calls alike, is so now
        counted(analysis, DenseList(layers).eval())
    calls = [counted(analysis, DenseList(layers).eval()) for layers in sizes]
    third_difference = calls[3] - 3 * calls[2] + 3 * calls[1] - calls[0]
    cubic = third_difference / 6 * 4**3
    assert cubic <= calls[3] / 20


@pytest.mark.parametrize("analysis", [certificate, row, one_unit, tiles, bands])
def test_a_chain_costs_as_many_calls_as_it_has_ops(
    analysis,
):
    """The part of the count that grows with the square, from its second difference."""
    counted(analysis, Chain(6))
    calls = [counted(analysis, Chain(length)) for length in (30, 60, 90)]
    quadratic = (calls[2] - 2 * calls[1] + calls[0]) / 2 * 3**2
    assert quadratic <= calls[2] / 50
