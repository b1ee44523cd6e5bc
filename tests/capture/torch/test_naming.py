"""Values are called after the modules that made them; names are unique, stable and findable."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.graph.graph import Graph
from fieldwise.graph.names import resolve
from tests.capture.torch.replay import Net, is_replayed


def names(graph: Graph) -> list[str]:
    return [result for node in graph.nodes for result in node.results]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv1d(2, 2, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.conv(x))
        return self.relu(y + x * 2)


def test_a_module_names_what_it_returns_and_its_container_the_rest():
    graph = capture(nn.Sequential(Block(), Block()), torch.randn(1, 2, 8))
    assert names(graph) == [
        "0.conv", "0.relu#1", "0/mul", "0/add", "0.relu#2",
        "1.conv", "1.relu#1", "1/mul", "1/add", "1.relu#2",
    ]  # fmt: skip
    assert graph.scopes["0"] == (("0.relu#2",),)
    assert graph.scopes["1.relu"] == (("1.relu#1",), ("1.relu#2",))
    assert resolve(graph, "1") == "1.relu#2"


def test_runs_of_a_shared_module_are_numbered():
    conv = nn.Conv1d(2, 2, 1)
    graph = capture(Net(lambda self, x: self.conv(self.conv(x)), conv=conv), torch.randn(1, 2, 8))
    assert names(graph) == ["conv#1", "conv#2"]
    assert [(node.module, node.call) for node in graph.nodes] == [("conv", 1), ("conv", 2)]


def test_a_module_under_two_paths_bears_the_first():
    conv = nn.Conv1d(2, 2, 1)
    graph = capture(nn.Sequential(conv, nn.ReLU(), conv), torch.randn(1, 2, 8))
    assert names(graph) == ["0#1", "1", "0#2"]


def test_modules_that_never_run_have_no_scope():
    parts = {"used": nn.Conv1d(2, 2, 1), "unused": nn.Conv1d(2, 2, 1)}
    graph = capture(Net(lambda self, x: self.used(x), **parts), torch.randn(1, 2, 8))
    assert set(graph.scopes) == {"used"}


def test_lists_and_dicts_of_modules_give_their_paths():
    def run(self: Any, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.heads["a"](x) + self.heads["b"](x)

    layers = nn.ModuleList([nn.Conv1d(2, 2, 1), nn.ReLU()])
    heads = nn.ModuleDict({"a": nn.Conv1d(2, 2, 1), "b": nn.Conv1d(2, 2, 1)})
    graph = capture(Net(run, layers=layers, heads=heads), torch.randn(1, 2, 8))
    assert names(graph) == ["layers.0", "layers.1", "heads.a", "heads.b", "add"]


def test_modules_that_are_not_registered_count_as_their_surroundings():
    hidden = [nn.Sequential(nn.Conv1d(2, 2, 1), nn.ReLU())]
    block = Net(lambda self, x: self.hidden[0](x) + 1, hidden=hidden)
    graph = is_replayed(nn.Sequential(block), torch.randn(1, 2, 8))
    assert names(graph) == ["0/conv", "0/relu", "0"]
    assert set(graph.scopes) == {"0"}


class Countdown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor, times: int = 2) -> Tensor:
        return self(self.linear(x), times - 1) + 1 if times else x * 2


def test_a_module_that_calls_itself_numbers_its_runs():
    graph = is_replayed(nn.Sequential(Countdown()), torch.randn(2, 3))
    assert names(graph) == ["0.linear#1", "0.linear#2", "0#3", "0#2", "0#1"]
    assert graph.scopes["0"] == (("0#1",), ("0#2",), ("0#3",))


def test_several_results_are_numbered_and_stand_for_their_module():
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
            return x.relu(), {"more": x * 2, "none": None}

    graph = capture(
        nn.Sequential(Two(), Net(lambda pair: pair[0] + pair[1]["more"])), torch.ones(3)
    )
    assert names(graph) == ["0/relu", "0/mul", "1"]
    assert graph.scopes["0"] == (("0/relu", "0/mul"),)
    assert resolve(graph, "0[1]") == "0/mul"


def test_parts_of_one_op_are_numbered():
    graph = capture(Net(lambda x: sum(x.split(1))), torch.ones(3))
    assert names(graph)[:3] == ["split[0]", "split[1]", "split[2]"]


def test_an_op_never_takes_the_name_of_a_module():
    def run(self: Any, x: Tensor) -> Tensor:
        x = F.relu(F.relu(x) + 1)
        return self.relu(self.relu(x * 2)) + self.add(x)

    graph = is_replayed(
        Net(run, relu=nn.ReLU(), add=Net(lambda x: x.sin() + x.cos())), torch.ones(3)
    )
    assert len(set(names(graph))) == len(names(graph))
    assert [node.module for node in graph.nodes if node.results[0].startswith("relu")] == [
        "relu"
    ] * 2
    assert resolve(graph, "add") in graph.scopes["add"][0]
    assert graph.nodes[0].results == ("/relu",)


def test_an_input_never_takes_the_name_of_a_module():
    graph = capture(Net(lambda self, x: self.input(x), input=nn.ReLU()), torch.ones(3))
    assert len(graph.values) == 2
    assert graph.scopes["input"][0][0] != graph.inputs[0]


def test_names_are_the_same_every_time():
    model, x = nn.Sequential(Block(), Countdown(), nn.Linear(3, 3)), torch.randn(1, 2, 3)
    model[1].linear = model[2]
    assert capture(model, x) == capture(model, x)
