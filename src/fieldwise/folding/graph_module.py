"""A module that executes the calls of a graph: where folding cannot be done by changing modules.

The calls are those that were recorded at one input shape, with the sizes that they had there: a
module refuses other shapes where the model is found to make other calls at some of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)
from torch import Tensor, nn

from fieldwise.capture.torch.autocast import without_autocast
from fieldwise.capture.torch.tree import map_tensors, named_tensors, tensors_in
from fieldwise.errors import UsageError
from fieldwise.folding.elsewhere import shapes_text
from fieldwise.folding.layers import Layer
from fieldwise.folding.plan import Plan
from fieldwise.folding.replace import rounded
from fieldwise.folding.weights import Changed, norm_parameters
from fieldwise.folding.wiring import sign_of
from fieldwise.graph.calls import opened, rebind, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Ref


class ReplayStep(NamedTuple):
    """One call, its operands and results, and the constants that follow the operands, by name."""

    call: Call
    operands: tuple[str, ...]
    results: tuple[str, ...]
    constants: tuple[str, ...] = ()


class GraphModule(nn.Module):
    """The calls of a graph as a module; its constants are Parameters and buffers.

    graph: what was captured; steps: what is done instead, in execution order
    tree:  a nested output of the model, the like of which is returned
    names: of the model's Parameters, by identity, so that they are found again in the state_dict
    elsewhere: what the model does otherwise on inputs of other shapes, which are refused then
    """

    def __init__(
        self,
        graph: Graph,
        steps: Sequence[ReplayStep],
        tree: object,
        names: Mapping[int, str],
        elsewhere: str | None = None,
    ) -> None:
        super().__init__()
        self._inputs, self._elsewhere = graph.inputs, elsewhere
        self._shapes = tuple(graph.shape(name) for name in graph.inputs)
        self._tree = map_tensors(lambda tensor: tensor.detach().clone(), tree)
        self._outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
        self._names = dict(names)
        self._held: dict[int, str] = {}
        self._taken: Counter[str] = Counter()
        self._steps = [self._holding(step) for step in steps]
        self._last = _last_uses(self._steps, graph.outputs)
        del self._names, self._held, self._taken
        self.eval()

    def _holding(self, step: ReplayStep) -> ReplayStep:
        """The step with its constants as further operands, which the module holds."""
        call, constants = opened(step.call, len(step.operands))
        return step._replace(call=call, constants=tuple(map(self._hold, constants)))

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

    def forward(self, *args: object, **kwargs: object) -> object:
        """Execute the calls; arguments are those of the captured model.

        What autocast does to the model it did when that was captured.

        Raises UsageError for inputs of other shapes, where the model does something else there.
        """
        given: dict[int, Tensor] = {}
        for tensor in tensors_in((args, kwargs)):
            given.setdefault(id(tensor), tensor)
        self._check_shapes(given.values())
        values = dict(zip(self._inputs, given.values(), strict=True))
        with without_autocast():
            self._execute(values)
        leaves = iter([name for name, _ in named_tensors(self._tree)])
        return map_tensors(lambda kept: self._output(next(leaves), kept, values), self._tree)

    def _check_shapes(self, given: Iterable[Tensor]) -> None:
        if self._elsewhere is None:
            return
        shapes = tuple(tuple(tensor.shape) for tensor in given)
        if shapes != self._shapes:
            raise UsageError(
                f"This graph module repeats calls of the model on {shapes_text(self._shapes)}, and "
                f"{self._elsewhere}; for {shapes_text(shapes)} fold the model on an example of "
                f"that shape, or without allow_graph."
            )

    def _execute(self, values: dict[str, Tensor]) -> None:
        for number, step in enumerate(self._steps):
            operands = [values[name] for name in step.operands]
            operands += [getattr(self, name) for name in step.constants]
            values.update(zip(step.results, replay(step.call, operands), strict=True))
            for name in self._last.get(number, ()):
                del values[name]

    def _output(self, key: str, kept: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        return values[self._outputs[key]] if key in self._outputs else kept


def graph_module(
    graph: Graph,
    made: Plan,
    changed: Iterable[Changed],
    tree: object,
    names: Mapping[int, str],
    elsewhere: str | None = None,
) -> tuple[GraphModule, tuple[tuple[Changed, Tensor, Tensor | None], ...]]:
    """The folded graph as a module, and the rounded weights of every changed layer.

    elsewhere: see GraphModule
    """
    steps = [
        ReplayStep(node.source, node.operands, node.results)
        for node in graph.nodes
        if node.source is not None
    ]
    names = dict(names)
    made_layers = []
    for one in changed:
        weight, bias = _rounded(one)
        made_layers.append((one, weight, bias))
        names[id(weight)] = names.get(id(one.layer.weight), "weight")
        if bias is not None:
            known = names.get(id(one.layer.bias)) if one.layer.bias is not None else None
            names[id(bias)] = known or names[id(weight)].rpartition("weight")[0] + "bias"
        for number in one.numbers:
            steps[number] = _with_weights(one.layer, graph.nodes[number], weight, bias)
    for fold in made.folds:
        number, node = fold.candidate.number, fold.candidate.node
        if fold.candidate.forward_only:
            steps[number] = _call(node, {"weight": None, "bias": None})
        else:
            steps[number] = _hand_on(node, 0, _first)
    for merge in made.merges:
        for number, places in merge.sums.items():
            if len(places) == 1:
                node, place = graph.nodes[number], places[0]
                signed = _first if sign_of(node, place) == 1 else torch.neg
                steps[number] = _hand_on(node, place, signed)
    folded = GraphModule(graph, list(_needed(steps, graph.outputs)), tree, names, elsewhere)
    return folded, tuple(made_layers)


def _hand_on(node: Node, place: int, target: Callable[[Tensor], Tensor]) -> ReplayStep:
    """An op of which one operand is left."""
    return ReplayStep(Call(target, (Ref(0),)), (node.operands[place],), node.results)


def _needed(steps: Sequence[ReplayStep], outputs: Sequence[str]) -> Iterator[ReplayStep]:
    """The steps from whose results an output is made."""
    wanted, kept = set(outputs), []
    for step in reversed(steps):
        if wanted & set(step.results):
            wanted |= set(step.operands)
            kept.append(step)
    return reversed(kept)


def _first(value: Tensor) -> Tensor:
    """An op that is gone."""
    return value


def _rounded(one: Changed) -> tuple[Tensor, Tensor | None]:
    layer = one.layer
    pair = norm_parameters(one) if layer.kind == "batch_norm" else (one.weight, one.bias)
    wants = layer.weight.requires_grad
    weight, bias = (
        None if array is None else nn.Parameter(rounded(array, layer.weight), requires_grad=wants)
        for array in pair
    )
    assert weight is not None
    return weight, bias


def _with_weights(layer: Layer, node: Node, weight: Tensor, bias: Tensor | None) -> ReplayStep:
    if layer.kind == "matmul":
        call = Call(F.linear, (Ref(0), nn.Parameter(weight.t().contiguous()), bias))
        return ReplayStep(call, node.operands, node.results)
    return _call(node, {"weight": weight, "bias": bias})


def _call(node: Node, changes: Mapping[str, object]) -> ReplayStep:
    """The node's call with some arguments changed."""
    assert node.source is not None
    return ReplayStep(rebind(node.source, changes), node.operands, node.results)


def _last_uses(steps: Sequence[ReplayStep], outputs: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Per step, the values that nobody needs after it."""
    last: dict[str, int] = {}
    for number, step in enumerate(steps):
        last.update(dict.fromkeys((*step.operands, *step.results), number))
    found: dict[int, list[str]] = {}
    for name, number in last.items():
        if name not in outputs:
            found.setdefault(number, []).append(name)
    return {number: tuple(names) for number, names in found.items()}
