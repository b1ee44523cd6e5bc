"""What the outputs of every node test depend on, measured, against what the capture reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from fieldwise.capture.graphs import graph_of
from fieldwise.capture.onnx import OnnxModule, load_onnx
from fieldwise.capture.onnx.registry import find_translation
from fieldwise.errors import CaptureError, UsageError
from fieldwise.testing.fields import field_outcome
from fieldwise.testing.outcome import Outcome
from tests.capture.onnx.node_cases import HERE, given, node_cases, reasons

MOST = 8
"""Cases of an operator that are measured in full."""


class Subject:
    """A node test as a function of some of its inputs; the others are constants.

    names: of those inputs: what is real, and not learned; the first alone where another decides
           a shape
    """

    def __init__(self, case: Any, names: list[str]) -> None:
        self.case, self.names = case, names
        self.values = given(case, case.data_sets[0][0])

    def module(self) -> OnnxModule:
        fixed = {n: one for n, one in self.values.items() if n not in self.names}
        known = {n: one for n, one in fixed.items() if isinstance(one, torch.Tensor)}
        return load_onnx(HERE, known, model=self.case.model)

    def outcome(self) -> Outcome:
        """In double precision; in that of the file where bits are taken as other numbers."""
        bits = self.case.model.graph.node[0].op_type == "BitCast"
        dtype = self.values[self.names[0]].dtype if bits else torch.float64
        module = self.module().to(dtype)
        rest = [one.name for one in module.graph.inputs if one.name not in self.names]
        plain = Plain(module, self.names, {name: self.values[name] for name in rest})
        inputs = tuple(self.values[name].to(dtype) for name in self.names)
        if lost(plain, inputs):
            return Outcome("by data", "; ".join(plain.net.lost_values().values()))
        return field_outcome(plain, inputs, rows=24, columns=8)


class Plain(nn.Module):
    """A module that takes some of its inputs in order, and the others as they are."""

    def __init__(self, net: OnnxModule, names: list[str], rest: dict[str, Any]) -> None:
        super().__init__()
        self.net, self.names, self.rest = net, names, rest

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.net(**dict(zip(self.names, inputs, strict=True)), **self.rest)


def lost(plain: Plain, inputs: tuple[torch.Tensor, ...]) -> bool:
    """Whether an output cannot be told without data."""
    if plain.rest:
        return False
    try:
        graph = graph_of(plain.net, inputs)
    except UsageError as error:
        return "depends on the data" in str(error)
    except CaptureError:  # it depends on nothing, which is measured
        return False
    return any(name in graph.lost for name in plain.net.graph.outputs)


def real_inputs(case: Any) -> list[str]:
    """The inputs of a case that hold real numbers, those that are learned left out."""
    node = case.model.graph.node[-1]
    version = {one.domain: one.version for one in case.model.opset_import}
    found = find_translation(node.domain, node.op_type, version.get(node.domain, 1))
    learned = {node.input[n] for n in found.learned if n < len(node.input)} if found else set()
    values = given(case, case.data_sets[0][0])
    names = [n for n, one in values.items() if _is_real(one)]
    return [name for name in names if name not in learned] or names[:1]


def _is_real(value: Any) -> bool:
    kinds = (torch.float32, torch.float64)
    return isinstance(value, torch.Tensor) and value.dtype in kinds and value.numel() > 0


@cache
def subjects() -> list[Any]:
    """Up to eight cases of every operator."""
    seen: Counter[str] = Counter()
    refused, found = reasons("refused"), []
    for case in node_cases():
        op = case.model.graph.node[-1].op_type
        if case.name in refused or case.name.endswith("_expanded") or seen[op] >= MOST:
            continue
        if real_inputs(case):
            seen[op] += 1
            found.append(case)
    return found


def first_of_each() -> Iterator[Any]:
    seen = set()
    for case in subjects():
        op = case.model.graph.node[-1].op_type
        if op not in seen:
            seen.add(op)
            yield case


def measured(case: Any) -> Outcome:
    """With all real inputs; with the first alone, where that says less than it could."""
    names = real_inputs(case)
    found = Outcome("refused")
    for chosen in [names, names[:1]] if len(names) > 1 else [names]:
        try:
            found = Subject(case, chosen).outcome()
        except UsageError as error:
            found = Outcome("refused", str(error))
        if found.verdict == "exact":
            break
    return found


def wrong(cases: list[Any]) -> dict[str, str]:
    """The cases whose reads are not those measured, nor on a list."""
    expected = dict.fromkeys(reasons("extra"), "wrong")
    expected |= dict.fromkeys(reasons("bound"), "bound")
    expected |= dict.fromkeys(reasons("by data"), "by data")
    expected |= dict.fromkeys(reasons("nothing"), "nothing")
    found = {}
    for case in cases:
        outcome = measured(case)
        if outcome.verdict != expected.get(case.name, "exact") or "misses" in outcome.why:
            found[case.name] = f"{outcome.verdict}: {outcome.why}"
    return found


def test_the_reads_of_each_operator_are_what_its_outputs_depend_on():
    cases = list(first_of_each())
    assert not wrong(cases)
    assert len(cases) > 120


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_the_reads_of_up_to_eight_cases_of_each_operator_are_right(part):
    assert not wrong(subjects()[part::4])


def test_every_case_of_the_lists_is_there():
    names = {case.name for case in subjects()}
    for sort in ("extra", "bound", "by data", "nothing"):
        assert set(reasons(sort)) <= names, sort
