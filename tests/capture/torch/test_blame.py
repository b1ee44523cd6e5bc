"""An error is told as the model's only where the model made it, and with its line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fieldwise
from fieldwise.capture.torch import capture, naming
from fieldwise.capture.torch.recorder import Recorder
from fieldwise.capture.torch.registry import _RULES, OpCall, Reads
from fieldwise.capture.torch.trace import Trace
from fieldwise.errors import OUR_FAULT, CaptureError
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Reshape, Separable, Unknown, identity
from tests.capture.torch.replay import Net


def said(model: Callable[..., Any], *shape: int) -> str:
    """The error of a capture."""
    with pytest.raises(CaptureError) as caught:
        capture(Net(model), torch.ones(shape))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -------------------------------------------------------------------- rules


def _raises(call: OpCall) -> Reads:
    raise KeyError("dim")


def _forgets_a_result(call: OpCall) -> Reads:
    return ()


def _counts_dimensions_wrongly(call: OpCall) -> Reads:
    return ((identity(0, 7),),)


@pytest.fixture(params=[_raises, _forgets_a_result, _counts_dimensions_wrongly])
def broken(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_RULES, "aten::cumsum", ("cumsum", request.param))


def _reasons(graph: Graph) -> list[str]:
    reads = (read for node in graph.nodes for reads in node.reads for read in reads)
    steps = (step for read in reads for step in read.steps if not isinstance(step, Reshape))
    coords = (coord for step in steps if isinstance(step, Separable) for coord in step.coords)
    return [coord.why for coord in coords if isinstance(coord, Unknown)]


@pytest.mark.usefixtures("broken")
def test_what_a_broken_rule_says_is_unknown_and_please_report():
    graph = capture(Net(lambda x: torch.cumsum(x * 2, 1)), torch.ones(2, 5))
    assert len(_reasons(graph)) == 2
    assert all(OUR_FAULT in why and "cumsum" in why for why in _reasons(graph))


@pytest.mark.parametrize("rule", [_raises, _forgets_a_result])
def test_a_broken_rule_of_a_scalar_is_marked_as_well(rule, monkeypatch):
    monkeypatch.setitem(_RULES, "aten::cumsum", ("cumsum", rule))
    graph = capture(Net(lambda x: x * torch.cumsum(x.sum(), 0)), torch.ones(2, 5))
    assert len(_reasons(graph)) == 1
    report = fieldwise.receptive_fields(graph)
    assert not report[graph.outputs[0]].at(0).exact


# -------------------------------------------------------------------- the recorder


def test_a_fault_of_the_recorder_is_not_blamed_on_the_model(monkeypatch):
    monkeypatch.setattr(Trace, "emit", None)
    text = said(lambda x: x + 1, 3)
    assert text.startswith("fieldwise failed (in the model's own forward) with TypeError: 'None")
    assert re.search(r" \(recording\.py:\d+\): ", text)
    assert text.endswith(f": {OUR_FAULT}.")


def test_a_model_that_catches_a_fault_of_the_recorder_is_not_recorded(
    monkeypatch,
):
    def careless(x: Tensor) -> Tensor:
        try:
            return torch.cumsum(x, 0)
        except Exception:  # noqa: BLE001  as careless models do
            return x

    monkeypatch.setattr(Recorder, "_reads", None)
    assert OUR_FAULT in said(careless, 3)


def test_a_fault_behind_the_forward_is_not_blamed_on_the_model(monkeypatch):
    monkeypatch.setattr(naming, "_names", None)
    text = said(lambda x: x + 1, 3)
    assert text.startswith("fieldwise failed (after the model ran) with TypeError")
    assert OUR_FAULT in text


def test_a_record_that_differs_from_what_torch_gives_is_a_fault(monkeypatch):
    whole = Recorder._recorded

    def shorter(self: Recorder, *args: Any) -> Any:
        self.trace.shapes[0] = (2,)
        return whole(self, *args)

    monkeypatch.setattr(Recorder, "_recorded", shorter)
    text = said(lambda x: x + 1, 3)
    assert "was recorded as float32 of shape (2,), and is float32 of shape (3,)" in text
    assert OUR_FAULT in text


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float64", (3,)), ("float32", (2,)), ("float32", (3, 1))]
)
def test_every_result_is_compared_with_what_torch_gives(dtype, shape, monkeypatch):
    emit = Trace.emit

    def wrong(self: Trace, op: Any, operands: Any, reads: Any, types: Any, *rest: Any) -> Any:
        return emit(self, op, operands, reads, ((shape, dtype),), *rest)

    monkeypatch.setattr(Trace, "emit", wrong)
    text = said(lambda x: x + 1, 3)
    assert f"was recorded as {dtype} of shape {shape}, and is float32 of shape (3,)" in text
    assert OUR_FAULT in text


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x.view(5, 5),
        lambda x: F.conv2d(x, torch.ones(3, 3)),
        lambda x: x @ torch.ones(7, 7),
        lambda x: x.nothing,
        lambda x: x[5],
        lambda x: {}["key"],
        lambda x: torch.ones(3).view(7) + x,
        lambda x: x.clone().t_().squeeze_(9),
    ],
)
def test_a_fault_of_the_model_is_told_as_its_own(model):
    assert said(model, 3, 4).startswith("The model failed on input 3x4, at ")


# -------------------------------------------------------------------- lines


def _branches(x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x
    return -x


def _asserts(x: Tensor) -> Tensor:
    assert x.sum() > 0
    return x


def _asserts_in_torch(x: Tensor) -> Tensor:
    torch._assert(x.sum() > 0, "negative")
    return x


def _loops(x: Tensor) -> Tensor:
    for _ in range(int(x.sum())):
        x = x + 1
    return x


def _selects(x: Tensor) -> Tensor:
    return x[x > 0]


def _to_numpy(x: Tensor) -> Any:
    return x.detach().numpy()


@pytest.mark.parametrize(
    "model", [_branches, _asserts, _asserts_in_torch, _loops, _selects, _to_numpy]
)
def test_a_look_at_values_is_told_with_file_and_line(model):
    text = said(model, 3)
    line = inspect.getsourcelines(model)[1] + 1
    assert f", in the model's own forward, {__file__}:{line});" in text


def test_torch_that_takes_no_tensor_without_data_is_not_told_as_a_model_that_fails():
    """Derivatives within forward: the seed of the backward pass is a constant of the CPU."""
    told = said(lambda x: torch.func.grad(lambda t: (t**3).sum())(x), 2, 3)
    assert "cannot be recorded" in told
    assert "expected device meta" in told
    assert "Check the input shape" not in told
    assert f"{__file__}:" in told


def test_an_op_that_torch_refuses_without_data_alone_is_not_told_as_a_model_that_fails():
    """addbmm_ gives a tensor of any shape that of its result, but not on the meta device."""
    a, b = torch.ones(2, 3, 4), torch.ones(2, 4, 5)
    grows, never = torch.ones(1), torch.ones(2, 3, 5)
    assert grows.clone().addbmm_(a, b).shape == (3, 5)
    told = said(lambda x: x.clone().addbmm_(a, b), 1)
    assert "cannot be recorded: it runs, but torch refuses such operands" in told
    assert "Check the input shape" not in told
    assert "Check the input shape" in said(lambda x: x.clone().addbmm_(a, never), 1)


def test_what_is_tried_on_zeros_leaves_constants_as_they_are():
    kept = torch.ones(1)
    told = said(lambda x: kept.addbmm_(x, torch.ones(2, 4, 5)), 2, 3, 4)
    assert "it runs, but torch refuses such operands" in told
    assert kept.tolist() == [1.0]
