"""Every case of the micro-suite: the same function, the expected verdicts, nothing touched."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.fold_subjects import difference, randomise
from fieldwise import FieldwiseError
from fieldwise.capture.torch import capture
from fieldwise.capture.torch.capture import named_tensors
from fieldwise.folding import Folded as FoldedModel
from fieldwise.folding import fold
from fieldwise.folding.report import Item
from tests.folding.cases import CASES, Absent, Case, Either, Folded, Refused, Verdict

RUNNING = [case for case in CASES if not case.error]
FAILING = [case for case in CASES if case.error]
every_case = pytest.mark.parametrize("case", RUNNING, ids=lambda case: case.name)
either_way = pytest.mark.parametrize("allow_graph", [False, True], ids=["modules", "graph"])


@dataclass(frozen=True)
class Outcome:
    """A folded case and what it is compared with."""

    model: nn.Module
    before: dict[str, Any]
    expected: list[Tensor]
    found: list[Tensor]
    result: FoldedModel


@cache
def outcome(case: Case, allow_graph: bool) -> Outcome:
    model, example = built(case)
    before, expected = snapshot(model), outputs(model, example)
    result = fold(model, example, allow_graph=allow_graph)
    return Outcome(model, before, expected, outputs(result.model, example), result)


def built(case: Case) -> tuple[nn.Module, Any]:
    """The case with generic weights and statistics, and inputs for it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.build()
        if not case.error:
            model.eval()
        if not case.as_built:
            randomise(model)
        if case.low is None:
            model.double()
        dtype = case.low or torch.float64
        if isinstance(case.shapes, dict):
            return model, {name: torch.randn(s, dtype=dtype) for name, s in case.shapes.items()}
        return model, tuple(torch.randn(s, dtype=dtype) for s in case.shapes)


def outputs(model: nn.Module, example: Any) -> list[Tensor]:
    with torch.no_grad():
        output = model(**example) if isinstance(example, dict) else model(*example)
    return [tensor.clone() for _, tensor in named_tensors(output)]


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that folding could disturb; tensors by identity and by content."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "tensors": [(name, id(tensor), tensor.detach().clone()) for name, tensor in tensors],
        "gradients": [parameter.requires_grad for parameter in model.parameters()],
        "modules": [
            (name, id(module), type(module), module.training, sorted(vars(module)), hooks(module))
            for name, module in model.named_modules()
        ],
    }


def hooks(module: nn.Module) -> list[int]:
    held = [value for name, value in vars(module).items() if name.endswith("hooks")]
    return [id(hook) for by_number in held for hook in by_number.values()]


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    tensors = zip(one["tensors"], two["tensors"], strict=True)
    return (
        one["modules"] == two["modules"]
        and one["gradients"] == two["gradients"]
        and all(a[:2] == b[:2] and bitwise_equal(a[2], b[2]) for a, b in tensors)
    )


def bitwise_equal(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), two.reshape(-1).view(torch.uint8))


# --------------------------------------------------------------------------------- the tests


@either_way
@every_case
def test_the_folded_model_computes_the_same(case, allow_graph):
    seen = outcome(case, allow_graph)
    tolerance = case.tolerance if case.low is None else 4 * torch.finfo(case.low).eps
    wide = [tensor.double() for tensor in seen.found]
    assert difference(wide, [tensor.double() for tensor in seen.expected]) <= tolerance
    assert [t.dtype for t in seen.found] == [t.dtype for t in seen.expected]
    assert seen.result.report.verify is not None
    assert seen.result.report.verify.passed


@either_way
@every_case
def test_the_verdicts_are_as_expected(case, allow_graph):
    seen = outcome(case, allow_graph)
    verdicts = {**case.verdicts, **(case.with_graph if allow_graph else {})}
    for item in seen.result.report.items:
        if (path := judged_path(item, seen.model, verdicts)) is not None:
            check(item, verdicts[path])
    judged = {judged_path(item, seen.model, verdicts) for item in seen.result.report.items}
    missing = {path for path in verdicts if path not in judged}
    assert all(isinstance(verdicts[path], Absent | Either) for path in missing), missing


@either_way
@every_case
def test_the_original_is_bitwise_unchanged(case, allow_graph):
    seen = outcome(case, allow_graph)
    assert same(seen.before, snapshot(seen.model))


@either_way
@every_case
def test_the_folded_model_shares_no_memory_with_the_original(case, allow_graph):
    seen = outcome(case, allow_graph)
    original = {tensor.data_ptr() for tensor in tensors_of(seen.model)}
    assert not original & {tensor.data_ptr() for tensor in tensors_of(seen.result.model)}


@either_way
@every_case
def test_as_many_batchnorms_run_as_the_report_says(case, allow_graph):
    seen = outcome(case, allow_graph)
    _, example = built(case)
    running = sum(node.op == "batch_norm" for node in capture(seen.result.model, example).nodes)
    stay = [item for item in seen.result.report.items if not item.folded]
    assert running == sum(item.op == "batch_norm" for item in stay)


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.name)
def test_what_cannot_be_captured_is_refused_in_a_sentence(case):
    model, example = built(case)
    with pytest.raises(FieldwiseError, match=case.error):
        fold(model, example)


@pytest.mark.parametrize(
    "case", [c for c in RUNNING if c.low in (None, torch.float32)], ids=lambda case: case.name
)
def test_folding_a_folded_model_finds_nothing_more(case):
    seen = outcome(case, False)
    _, example = built(case)
    again = fold(seen.result.model, example).report
    assert again.folded == 0, [item for item in again.items if item.folded]


def tensors_of(model: nn.Module) -> list[Tensor]:
    found = [*model.parameters(), *model.buffers()]
    return [tensor for tensor in found if tensor.numel()]


def judged_path(item: Item, model: nn.Module, verdicts: dict[str, Verdict]) -> str | None:
    """The path that the verdict on an item stands under; '' for arithmetic of the root."""
    known = {name for name, _ in model.named_modules(remove_duplicate=False)}
    path = item.module if item.module in known else ""
    return path if path in verdicts else None


def check(item: Item, verdict: Verdict) -> None:
    match verdict:
        case Folded(into, direction):
            assert item.folded, item.because
            assert item.because is None
            assert into in (item.into or "").split(", ") or not into, item
            assert direction in (item.direction, ""), item
        case Refused(words):
            assert not item.folded, item
            assert item.because
            assert all(word in item.because for word in words), item.because
        case Absent():
            assert not item.folded, item
