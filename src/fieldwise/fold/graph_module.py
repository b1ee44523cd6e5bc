"""A module that executes the calls of a graph: where folding cannot be done by changing modules.

The calls are those that were recorded at one input shape, with the sizes that they had there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor, nn

from fieldwise.capture.torch.tree import map_tensors, named_tensors
from fieldwise.fold.calls import arguments
from fieldwise.fold.layers import Layer
from fieldwise.fold.plan import Plan
from fieldwise.fold.weights import Changed, norm_parameters
from fieldwise.graph.ir import Graph, Node, Ref


class GraphModule(nn.Module):
    """The calls of a graph as a module; its constants are Parameters and buffers.

    graph: what was captured; calls: (target, args, kwargs) per node, None for one that is gone
    tree:  a nested output of the model, the like of which is returned
    names: of the model's Parameters, by identity, so that they are found again in the state_dict
    """

    def __init__(
        self,
        graph: Graph,
        calls: list[tuple[Any, tuple[Any, ...], Mapping[str, Any]] | None],
        tree: Any,
        names: Mapping[int, str],
    ) -> None:
        super().__init__()
        self._inputs = graph.inputs
        self._tree = map_tensors(lambda tensor: tensor.detach().clone(), tree)
        self._outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
        self._steps: list[tuple[Any, Any, Any, tuple[str, ...], tuple[str, ...]]] = []
        self._names = dict(names)
        self._held: dict[int, str] = {}
        self._taken: Counter[str] = Counter()
        for node, call in zip(graph.nodes, calls, strict=True):
            target, args, kwargs = (_first, (Ref(0),), {}) if call is None else call
            args, kwargs = map_arguments(lambda t: _Held(self._hold(t)), (args, dict(kwargs)))
            self._steps.append((target, args, kwargs, node.operands, node.results))
        self._last = _last_uses(graph)
        del self._names, self._held, self._taken
        self.eval()

    def _hold(self, tensor: Tensor) -> str:
        """Register a copy of a constant; the same one for the same tensor."""
        if id(tensor) in self._held:
            return self._held[id(tensor)]
        name = self._names.get(id(tensor), "constant").replace(".", "_")
        self._taken[name] += 1
        name = name if self._taken[name] == 1 else f"{name}_{self._taken[name]}"
        fresh = tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            self.register_parameter(name, nn.Parameter(fresh, requires_grad=tensor.requires_grad))
        else:
            self.register_buffer(name, fresh)
        self._held[id(tensor)] = name
        return name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Execute the calls; arguments are those of the captured model."""
        given: dict[int, Tensor] = {}
        for _, tensor in named_tensors((args, kwargs)):
            given.setdefault(id(tensor), tensor)
        values = dict(zip(self._inputs, given.values(), strict=True))
        for number, (target, call_args, call_kwargs, operands, results) in enumerate(self._steps):
            filled = _filled((call_args, call_kwargs), [values[name] for name in operands], self)
            out = target(*filled[0], **filled[1])
            made = (tensor for _, tensor in named_tensors(out))
            values.update(zip(results, made, strict=True))
            for name in self._last.get(number, ()):
                del values[name]
        leaves = iter([name for name, _ in named_tensors(self._tree)])
        return map_tensors(lambda kept: self._output(next(leaves), kept, values), self._tree)

    def _output(self, key: str, kept: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        return values[self._outputs[key]] if key in self._outputs else kept


class _Held(str):
    """Stands for a constant, by the name under which the module holds it."""

    __slots__ = ()


def graph_module(
    graph: Graph, made: Plan, changed: Iterable[Changed], tree: Any, names: Mapping[int, str]
) -> tuple[GraphModule, list[tuple[Changed, Tensor, Tensor | None]]]:
    """The folded graph as a module, and the rounded weights of every changed layer."""
    calls: list[Any] = [
        (node.source.target, node.source.args, node.source.kwargs)
        for node in graph.nodes
        if node.source is not None
    ]
    names = dict(names)
    rounded = []
    for one in changed:
        weight, bias = _rounded(one)
        rounded.append((one, weight, bias))
        names[id(weight)] = names.get(id(one.layer.weight), "weight")
        if bias is not None:
            known = names.get(id(one.layer.bias)) if one.layer.bias is not None else None
            names[id(bias)] = known or names[id(weight)].rpartition("weight")[0] + "bias"
        for number in one.numbers:
            calls[number] = _with_weights(one.layer, graph.nodes[number], weight, bias)
    for fold in made.folds:
        number, node = fold.candidate.number, fold.candidate.node
        if fold.candidate.forward_only:
            calls[number] = _call(node, {"weight": None, "bias": None})
        else:
            calls[number] = None
    return GraphModule(graph, calls, tree, names), rounded


def map_arguments(change: Any, tree: Any) -> Any:
    """Tensors among nested arguments changed; everything else kept."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_arguments(change, item) for item in tree)
    if isinstance(tree, dict):
        return {name: map_arguments(change, item) for name, item in tree.items()}
    return tree


def _filled(tree: Any, operands: list[Tensor], module: nn.Module) -> Any:
    if isinstance(tree, Ref):
        return operands[tree.operand]
    if isinstance(tree, _Held):
        return getattr(module, tree)
    if isinstance(tree, (list, tuple)):
        return type(tree)(_filled(item, operands, module) for item in tree)
    if isinstance(tree, dict):
        return {name: _filled(item, operands, module) for name, item in tree.items()}
    return tree


def _first(value: Tensor) -> Tensor:
    """An op that is gone."""
    return value


def _rounded(one: Changed) -> tuple[Tensor, Tensor | None]:
    layer = one.layer
    pair = norm_parameters(one) if layer.kind == "batch_norm" else (one.weight, one.bias)
    weight, bias = (
        None
        if array is None
        else nn.Parameter(
            torch.from_numpy(np.ascontiguousarray(array)).to(layer.weight.dtype),
            requires_grad=layer.weight.requires_grad,
        ).to(layer.weight.device)
        for array in pair
    )
    assert weight is not None
    return weight, bias


def _with_weights(layer: Layer, node: Node, weight: Tensor, bias: Tensor | None) -> Any:
    if layer.kind == "matmul":
        return F.linear, (Ref(0), nn.Parameter(weight.t().contiguous()), bias), {}
    return _call(node, {"weight": weight, "bias": bias})


def _call(node: Node, changes: Mapping[str, Any]) -> Any:
    """The node's call with some arguments changed."""
    assert node.source is not None
    given = arguments(node) | dict(changes)
    schema = node.source.target._schema.arguments
    args = tuple(given[a.name] for a in schema if not a.kwarg_only)
    kwargs = {a.name: given[a.name] for a in schema if a.kwarg_only and a.name in given}
    return node.source.target, args, kwargs


def _last_uses(graph: Graph) -> dict[int, tuple[str, ...]]:
    """Per node, the values that nobody needs after it."""
    last: dict[str, int] = {}
    for number, node in enumerate(graph.nodes):
        last.update(dict.fromkeys((*node.operands, *node.results), number))
    found: dict[int, list[str]] = {}
    for name, number in last.items():
        if name not in graph.outputs:
            found.setdefault(number, []).append(name)
    return {number: tuple(names) for number, names in found.items()}
