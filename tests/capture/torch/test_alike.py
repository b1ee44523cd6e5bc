"""Calls that are alike are worked out once; whatever may differ is asked about again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmarks.ops_cases import sources
from fieldwise.axes import IndexSet
from fieldwise.capture.torch import capture, recording, registry
from fieldwise.capture.torch.alike import CALLS
from fieldwise.capture.torch.registry import looks, one
from fieldwise.errors import FieldwiseError
from fieldwise.graph.calls import change_arguments
from fieldwise.graph.ir import WHOLE, Fixed, separable


@pytest.fixture
def asked(monkeypatch):
    """The calls about which a rule is asked, from an empty memory on: (op, operand shapes)."""
    found, reads_of = [], recording.reads_of

    def noted(op, call):
        found.append((op.name, call.operands))
        return reads_of(op, call)

    CALLS.clear()
    monkeypatch.setattr(recording, "reads_of", noted)
    return found


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def network():
    """Two blocks that are alike, and a head behind a global pool."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10), nn.Softmax(1),
    ).eval()  # fmt: skip


def test_a_second_analysis_of_a_model_asks_no_rule(asked):
    model, x = network(), torch.empty(1, 3, 32, 32)
    first = capture(model, x)
    assert len(asked) > 5
    asked.clear()
    assert capture(model, x) == first
    assert asked == []


def test_layers_that_are_alike_share_their_reads():
    nodes = [n for n in capture(network(), torch.empty(1, 3, 32, 32)).nodes if n.op == "batch_norm"]
    assert len(nodes) == 2
    assert nodes[0].reads is nodes[1].reads


def test_at_another_size_only_what_has_other_inputs_is_asked_about(asked):
    model = network()
    capture(model, torch.empty(1, 3, 32, 32))
    before = set(asked)
    asked.clear()
    capture(model, torch.empty(1, 3, 48, 64))
    assert {op for op, _ in before - set(asked)} >= {"aten::linear", "aten::softmax"}
    assert asked
    assert before.isdisjoint(asked)


def test_a_rule_that_looks_at_a_constant_is_asked_about_each(asked):
    for index in ([0, 2], [3, 1]):
        places = torch.tensor(index)
        graph = capture(Of(lambda x, at=places: x.index_select(1, at)), torch.empty(2, 4))
        (node,) = graph.nodes
        assert [node.reads[0][0].steps[0].coords[1].map(i) for i in (0, 1)] == [
            IndexSet(place, 1) for place in index
        ]
    assert [op for op, _ in asked] == ["aten::index_select"] * 2


def test_numbers_of_other_types_are_other_calls(asked):
    x = torch.empty(3, dtype=torch.int64)
    dtypes = [
        capture(Of(lambda x, by=by: x * by), x).values["mul"].dtype for by in (2, 2.0, True, 2)
    ]
    assert dtypes == ["int64", "float32", "int64", "int64"]
    assert len(asked) == 3


def test_the_default_dtype_is_part_of_a_call():
    x, model = torch.empty(3, dtype=torch.int64), Of(lambda x: x / 2)
    assert capture(model, x).values["div"].dtype == "float32"
    try:
        torch.set_default_dtype(torch.float64)
        assert capture(model, x).values["div"].dtype == "float64"
    finally:
        torch.set_default_dtype(torch.float32)


def test_results_lie_in_memory_as_those_of_the_first_call():
    def strides(x: Tensor) -> Tensor:
        found.append(torch.nn.functional.conv2d(x, weight).stride())
        return x + 1

    weight, found = torch.ones(4, 3, 1, 1), list[tuple[int, ...]]()
    for order in (torch.contiguous_format, torch.channels_last) * 2:
        capture(Of(strides), torch.empty(2, 3, 5, 5).to(memory_format=order))
    assert found == [(100, 25, 5, 1), (100, 1, 20, 4)] * 2


def test_a_rule_of_somebody_else_may_look_at_constants_as_it_likes(monkeypatch, asked):
    def ends_at(call):
        return one(separable(0, Fixed(IndexSet(int(call["weight"].sum()), 1)), WHOLE))

    monkeypatch.setitem(registry._RULES, "aten::prelu", ("prelu", ends_at))
    for place in (1.0, 2.0):
        slope = torch.tensor([place])
        graph = capture(Of(lambda x, w=slope: torch.prelu(x, w)), torch.empty(4, 3))
        assert graph.nodes[0].reads[0][0].steps[0].coords[0] == Fixed(IndexSet(int(place), 1))
    assert len(asked) == 2


# -------------------------------------------------------------------- all rules


def without_values(call):
    """The call with constants of which nobody can see the values; None where it has none."""
    constants = []

    def hidden(tensor):
        constants.append(tensor)
        return torch.empty_like(tensor, device="meta")

    args = {
        name: change_arguments(Tensor, hidden, (arg,), {})[0][0] for name, arg in call.args.items()
    }
    return replace(call, args=args) if constants else None


def with_kinds(reads):
    return [[(read, read.kind) for read in some] for some in reads]


def check_rules(names, monkeypatch):
    """Of torch's own samples: the ops whose rules did not look, and those that see nevertheless."""
    blind, seeing, reads_of = [], [], recording.reads_of

    def compared(op, call):
        before, reads = looks(), reads_of(op, call)
        if looks() == before and (hidden := without_values(call)) is not None:
            same = with_kinds(reads_of(op, hidden)) == with_kinds(reads)
            (blind if same else seeing).append(op.name)
        return reads

    monkeypatch.setattr(recording, "reads_of", compared)
    for name in names:
        for case in sources()[name](2):
            CALLS.clear()
            try:
                first = capture(case.model, case.inputs)
            except FieldwiseError:
                continue
            assert capture(case.model, case.inputs) == first, case.name
    return blind, seeing


def test_a_rule_that_sees_values_without_looking_is_found(monkeypatch):
    def sees(call):
        place = 0 if call["weight"].is_meta else int(call["weight"].sum())
        return one(separable(0, Fixed(IndexSet(place, 1)), WHOLE))

    monkeypatch.setitem(registry._RULES, "aten::prelu", ("prelu", sees))
    assert "aten::prelu" in check_rules(["nn.functional.prelu"], monkeypatch)[1]


@pytest.mark.filterwarnings("ignore")
def test_rules_that_do_not_look_at_values_do_not_depend_on_them(monkeypatch):
    blind, seeing = check_rules(sorted(sources())[::12], monkeypatch)
    assert len(blind) > 20
    assert seeing == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_rule_depends_on_values_at_which_it_does_not_look(monkeypatch):
    blind, seeing = check_rules(sorted(sources()), monkeypatch)
    assert len(blind) > 400
    assert seeing == []
