"""Numbers are asked before a value is called broken, where that costs little."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.shift import certify
from fieldwise.shift.proof.effort import effort
from fieldwise.shift.proof.replays import Replays
from fieldwise.shift.proof.witness import least_shifts, refuted
from tests.shift.proof.single import Op

RAMP = torch.arange(8.0)


def test_every_shift_has_a_least_one_among_its_multiples():
    """So that one answer to any shift would be seen."""
    for size in range(2, 61):
        least = {by for by, _ in least_shifts(size)}
        for shift in range(1, size):
            assert least & {times * shift % size for times in range(1, size)}, (size, shift)


def _claimed(function, *, axis: int = 2, whole: bool = True, shape=(1, 2, 8)) -> bool:
    graph = capture(Op(function), torch.zeros(shape))
    (name,) = graph.outputs
    return (name, axis) in refuted(graph, graph.inputs[0], {name: {axis: whole}})


ANSWERED = {
    "the same": lambda x: x.sum(2),
    "a scalar": lambda x: x.sum(),
    "a roll": lambda x: x.tanh(),
    "a roll the other way": lambda x: x.flip(2),
    "a roll of another dimension": lambda x: x.transpose(1, 2),
    "a roll of rows in one line": lambda x: x.transpose(1, 2).flatten(1),
    "a roll along two dimensions": lambda x: x.transpose(1, 2) @ x,
    "a roll of complex numbers": lambda x: torch.polar(x.abs(), x),
    "a roll of what is undefined": lambda x: x.log(),
    "a roll by every second sample": lambda x: x[..., ::2],
    "half a turn of rows that move apart": lambda x: torch.stack([x[:, 0], x[:, 1].flip(1)], 1),
}
REFUSED = {
    "positions": lambda x: x + RAMP,
    "a crop": lambda x: x[..., 1:],
    "one row of two": lambda x: torch.stack([x[:, 0], x[:, 1] * RAMP], 1),
    "an order of its own": lambda x: x[..., torch.tensor([0, 2, 1, 3, 4, 5, 7, 6])],
    "places": lambda x: x.argsort(2),
    "phases": lambda x: torch.fft.fft(x),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_roll_of_whatever_kind_refutes_a_claim(name):
    assert _claimed(ANSWERED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_roll_refutes_nothing(name):
    assert not _claimed(REFUSED[name], whole=False)


def test_only_where_some_positions_may_stay_is_padding_passed_over():
    """A window with zeros beside it does not move; a line behind a class token does."""
    assert _claimed(lambda x: F.pad(x, (1, 2)), whole=False)
    assert not _claimed(lambda x: F.pad(x, (1, 2)))


def test_a_roll_of_one_of_two_axes_says_nothing_of_the_other():
    graph = capture(Op(lambda x: x + RAMP), torch.zeros(1, 1, 8, 8))
    (name,) = graph.outputs
    found = refuted(graph, graph.inputs[0], {name: {2: True, 3: True}})
    assert found == {(name, 2)}


def test_what_would_cost_too_much_is_not_executed():
    graph = capture(nn.Sequential(nn.ReLU(), nn.Conv1d(2, 2, 3)), torch.zeros(1, 2, 8))
    relu, conv = graph.nodes
    runs = 3 * 2 * (effort(graph, relu))

    def executed(most: int) -> list[str]:
        replays = Replays(graph, graph.inputs[0], [(2, 4)], [])
        return [node.op for node in replays.executed(graph.nodes, most)]

    assert effort(graph, conv) == 2 * 8 + (2 * 2 * 3 + 2) + 2 * 6 * (2 * 3)
    assert (executed(runs - 1), executed(runs)) == ([], ["relu"])
    assert executed(1 << 20) == ["relu", "conv"]


def test_a_call_that_does_not_run_on_such_numbers_leaves_the_claim():
    """Random numbers make no definite matrix; what does not depend on it is asked all the same."""
    graph = capture(
        Op(lambda x: (torch.linalg.cholesky(x), x.mean(2) + torch.zeros(8))),
        torch.eye(8).expand(1, 8, 8),
    )
    claims = {name: {2: True} for name in graph.outputs}
    assert refuted(graph, graph.inputs[0], claims) == {(graph.outputs[1], 2)}


def test_integers_are_those_of_the_example():
    """They may be indices into a table, and two of a kind are not enough."""
    table = torch.arange(100.0, dtype=torch.float64)
    ids = torch.arange(90, 98).view(1, 8)
    found = certify(Op(lambda i: table[i] + RAMP - RAMP), ids, axes=[1]).outputs[0].axes[0]
    assert found.undecided


def test_parameters_are_generic_and_constants_are_as_they_are():
    """A fresh norm weighs all channels alike, which says nothing of the network."""

    class Scaled(nn.Module):
        def __init__(self, scale: Tensor) -> None:
            super().__init__()
            self.register_parameter("learnt", nn.Parameter(scale))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.learnt

    learnt = certify(Scaled(torch.ones(8)), (1, 2, 8)).outputs[0].axes[0]
    assert not learnt.undecided
    assert certify(Op(lambda x: x * torch.ones(8)), (1, 2, 8)).outputs[0].axes[0].circular.holds


def test_to_ask_numbers_changes_neither_the_model_nor_the_random_state():
    model = nn.Sequential(nn.Conv1d(2, 2, 3, padding=1), nn.BatchNorm1d(2), nn.Dropout()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    certify(model.eval(), (1, 2, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Weighted(nn.Module):
    """Positions weighed by entries of a table that a second input picks."""

    def forward(self, x: Tensor, picks: Tensor) -> Tensor:
        return x * RAMP[picks]


def test_numbers_of_integer_inputs_are_those_of_the_example():
    """Shuffled, for an index may be anything of the kind: a table of one entry weighs all alike."""
    for picks, is_undecided in ((torch.full((8,), 5), True), (torch.arange(8), False)):
        (found,) = certify(Weighted(), (torch.zeros(1, 1, 8), picks))["output"].axes
        assert found.undecided is is_undecided
