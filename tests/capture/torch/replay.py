"""The oracle of the recorder: the recorded calls, executed one by one, are the model.

Every value must have the shape and dtype that the graph says, and the outputs must be those of
the eager model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.capture.torch.tree import named_tensors
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Ref


class Net(nn.Module):
    """A function of tensors as a model; ``parts`` become attributes that the function is given."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.takes_self = bool(parts)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(self, *inputs, **named) if self.takes_self else self.function(*inputs)


def replayed(graph: Graph, *inputs: Tensor) -> dict[str, Tensor]:
    """Every value of the graph, computed node by node from the recorded calls."""
    values = dict(zip(graph.inputs, inputs, strict=True))
    with torch.no_grad():
        for node in graph.nodes:
            for name, result in zip(node.results, _executed(node, values), strict=True):
                declared = graph.values[name]
                assert tuple(result.shape) == declared.shape, (name, result.shape)
                assert str(result.dtype) == f"torch.{declared.dtype}", (name, result.dtype)
                assert result.device == inputs[0].device, (name, result.device)
                values[name] = result
    return values


def _executed(node: Node, values: Mapping[str, Tensor]) -> list[Tensor]:
    assert node.source is not None
    operands = [values[name] for name in node.operands]

    def fill(value: Any) -> Any:
        if isinstance(value, Ref):
            return operands[value.operand]
        return [fill(item) for item in value] if isinstance(value, (list, tuple)) else value

    args = [fill(arg) for arg in node.source.args]
    kwargs = {key: fill(value) for key, value in node.source.kwargs.items()}
    out = node.source.target(*args, **kwargs)
    return [out] if isinstance(out, Tensor) else [item for item in out if isinstance(item, Tensor)]


def is_replayed(model: Any, example: Any, *, tolerance: float = 1e-6, dead: int = 0) -> Graph:
    """Assert that the graph of ``model`` computes what the model does; return the graph.

    ``dead`` is the number of outputs that do not depend on the input.
    """
    if not isinstance(model, nn.Module):
        model = Net(model)
    graph = capture(model, example)
    inputs = list({id(t): t for _, t in named_tensors(example)}.values())
    values = replayed(graph, *(tensor.clone() for tensor in inputs))
    wanted = dict(named_tensors(_eager(model, example)))
    assert len(wanted) == len(graph.outputs) + dead
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        _assert_equal(values[value], wanted[name], tolerance, name)
    return graph


def _eager(model: nn.Module, example: Any) -> Any:
    model, example = copy.deepcopy(model), copy.deepcopy(example)
    with torch.no_grad():
        if isinstance(example, Mapping):
            return model(**example)
        return model(*example) if type(example) is tuple else model(example)


def _assert_equal(found: Tensor, wanted: Tensor, tolerance: float, name: str) -> None:
    assert found.dtype == wanted.dtype, (name, found.dtype, wanted.dtype)
    assert found.shape == wanted.shape, (name, found.shape, wanted.shape)
    if wanted.is_complex():
        found, wanted = torch.view_as_real(found), torch.view_as_real(wanted)
    scale = max(wanted.double().abs().max().item(), 1.0) if wanted.numel() else 1.0
    far = (found.double() - wanted.double()).abs() > tolerance * scale
    assert not (far & ~(found.isnan() & wanted.isnan())).any(), name
