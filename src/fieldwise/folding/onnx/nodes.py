"""The nodes of an ONNX file: which calls each made, and what of a plan the file can take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fieldwise.capture.onnx import OnnxModule
from fieldwise.capture.onnx.graph import OnnxGraph, OnnxNode, reads_of
from fieldwise.errors import UsageError
from fieldwise.folding.candidates import Candidate, candidates
from fieldwise.folding.layers import Layer
from fieldwise.folding.modules import Impossible
from fieldwise.folding.passing import is_copy
from fieldwise.folding.plan import Ban, Fold, Merge, Plan
from fieldwise.folding.refusal import Stays, listed
from fieldwise.folding.report import Direction
from fieldwise.graph.graph import Graph
from fieldwise.graph.tensors import dtype_name


@dataclass(frozen=True, slots=True)
class WeightPlaces:
    """Which inputs of a node are its weight and its bias; None where it has no bias."""

    weight: int
    bias: int | None


WEIGHTS: Mapping[str, WeightPlaces] = {
    "Conv": WeightPlaces(1, 2),
    "ConvTranspose": WeightPlaces(1, 2),
    "com.microsoft.FusedConv": WeightPlaces(1, 2),
    "Gemm": WeightPlaces(1, 2),
    "MatMul": WeightPlaces(1, None),
    "BatchNormalization": WeightPlaces(1, 2),
}
"""The operators that can be given other weights."""

_SIZES = {"Shape", "Size"}
_FIRST_ALONE = {"CastLike"}  # the second operand gives a type
_QUANTISED = {"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"}
_ANYWAY: tuple[Direction, ...] = ("backward", "forward", "merge")


class FileNodes:
    """The nodes of a file, beside the graph that was recorded of it.

    constants: the values that are the same whatever the size of the input
    held:   values that fold must leave as they are, and why
    hidden: what fold would call an affine op and is a part of what a node computes
    """

    def __init__(self, module: OnnxModule, graph: Graph) -> None:
        self.module, self.graph = module, graph
        self.by_name = {node.name: node for node in module.graph.nodes}
        self.makers = {made: node for node in module.graph.nodes for made in node.outputs}
        self.calls: dict[str, list[int]] = defaultdict(list)
        for number, node in enumerate(graph.nodes):
            self.calls[node.module].append(number)
        self.constants = _constants(module.graph)
        self.held = {
            name: f"'{name}' is also read in a subgraph of {node}"
            for node in module.graph.nodes
            for name in node.captures
        }
        self.hidden = frozenset(self._parts())

    @classmethod
    def of(cls, module: object, graph: Graph) -> FileNodes:
        """Those of a module that was read from an ONNX file.

        Raises UsageError for one that works in another precision than the file, to which it is
        written.
        """
        assert isinstance(module, OnnxModule)
        for name, now in module.constants().items():
            then = module.graph.constants[name].dtype
            if isinstance(now, Tensor) and now.dtype != then:
                file, here = map(dtype_name, (then, now.dtype))
                raise UsageError(
                    f"The file holds '{name}' as {file} and the module as {here}; fold the module "
                    "as it is loaded, in the precision of the file."
                )
        return cls(module, graph)

    @property
    def bans(self) -> dict[Ban, str]:
        """What keeps a plan from what is hidden."""
        return {
            (number, direction): "it is a part of what its node computes"
            for number in self.hidden
            for direction in _ANYWAY
        }

    def fixed(self, example: object) -> tuple[tuple[int, int], ...]:
        """The axes of its inputs of which the file says the size: which input, which dimension."""
        inputs = {one.name: one for one in self.module.graph.inputs}
        names = example if isinstance(example, Mapping) else inputs
        return tuple(
            (number, dim)
            for number, name in enumerate(names)
            for dim, size in enumerate(inputs[name].dims or ())
            if isinstance(size, int)
        )

    def node_of(self, number: int) -> OnnxNode:
        """The node that made a call.  Raises Stays for one in a subgraph."""
        path = self.graph.nodes[number].module
        if path in self.by_name:
            return self.by_name[path]
        outer = next((one for name, one in self.by_name.items() if path.startswith(f"{name}.")), "")
        raise Stays(f"it is in a subgraph of {outer}")

    def data_of(self, node: OnnxNode) -> str:
        """The one input of a node that is no constant.  Raises Stays where there are more."""
        found = [name for name in reads_of(node) if name not in self.constants]
        if len(found) != 1:
            raise Stays(f"a constant of {node} depends on the size of the input")
        return found[0]

    def _parts(self) -> Iterator[int]:
        """What fold would take for an affine op, in nodes that compute more than such."""
        found = {one.number: one for one in candidates(self.graph)}
        for numbers in self.calls.values():
            inside = [number for number in numbers if number in found]
            whole = all(n in found or is_copy(self.graph, self.graph.nodes[n]) for n in numbers)
            if not whole:
                yield from inside

    # ---------------------------------------------------------------- what the file can take

    def impossible(self, made: Plan) -> list[Impossible]:
        """What of a plan cannot be done to the file, and why."""
        gone = {fold.candidate.number for fold in made.folds}
        found = []
        for fold in made.folds:
            try:
                self._check_removal(fold.candidate, gone)
                self._check_worth(fold, made)
                for taken in fold.absorptions:
                    self._check_layer(taken.layer, gone)
            except Stays as answer:
                ban = fold.candidate.number, fold.direction
                found.append(Impossible(ban, answer.because))
        return found or [one for merge in made.merges for one in self._of_merge(merge, gone)]

    def _of_merge(self, merge: Merge, gone: set[int]) -> Iterator[Impossible]:
        try:
            self._check_layer(merge.host, gone)
            for branch in merge.branches:
                if branch.layer is not None:
                    self._check_layer(branch.layer, gone)
            for number in merge.sums:
                self._check_sum(number)
        except Stays as answer:
            for ban in merge.bans:
                yield Impossible(ban, answer.because)

    def _check_removal(self, candidate: Candidate, gone: set[int]) -> None:
        node = self.node_of(candidate.number)
        if candidate.forward_only:
            if node.op != "LayerNormalization":
                raise Stays(f"{node} has to have a scale and a shift")
            return
        graph = self.graph
        rest = [n for n in self.calls[node.name] if n not in gone]
        others = [graph.nodes[n].op for n in rest if not is_copy(graph, graph.nodes[n])]
        if others:
            raise Stays(f"{node} also runs {listed(sorted(set(others)))}")
        self.data_of(node)

    def _check_worth(self, fold: Fold, made: Plan) -> None:
        """Of a MatMul, which has no bias, a shift alone would only become an Add again."""
        for taken in fold.absorptions:
            layer = taken.layer
            if self.node_of(layer.number).op != "MatMul" or taken.shift == 0:
                continue
            others = (one.candidate for one in made.folds if _goes_into(one, layer))
            if all(bool((one.coefficients()[0] == 1).all()) for one in others):
                raise Stays(f"'{layer.name}' is a MatMul, which has no bias")

    def _check_layer(self, layer: Layer, gone: set[int]) -> None:
        node = self.node_of(layer.number)
        places = WEIGHTS.get(node.kind)
        if places is None:
            raise Stays(f"{node} cannot be given other weights")
        given = [name for name in node.inputs[1:] if name]
        if not self.constants.issuperset(given):
            raise Stays(f"a weight of {node} depends on the size of the input")
        for name in given:
            self._check_plain(name, node)
        has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
        left = (n for n in self.calls[node.name] if n not in gone)
        apart = any(self.graph.nodes[number].op == "add" for number in left)
        if places.bias is not None and has_bias and layer.bias is None and apart:
            raise Stays(f"{node} adds its bias after it pads")

    def _check_plain(self, name: str, reader: OnnxNode) -> None:
        """Raise Stays for a weight that is kept in few bits."""
        waiting = [name]
        while waiting:
            node = self.makers.get(waiting.pop())
            if node is not None and node.op in _QUANTISED:
                raise Stays(f"a weight of {reader} is quantised ({node})")
            waiting += [] if node is None else reads_of(node)

    def _check_sum(self, number: int) -> None:
        node = self.node_of(number)
        if len(self.calls[node.name]) != 1:
            raise Stays(f"{node} adds several values")


def _goes_into(fold: Fold, layer: Layer) -> bool:
    return any(taken.layer.number == layer.number for taken in fold.absorptions)


def _constants(graph: OnnxGraph) -> frozenset[str]:
    """The values that follow from the file alone, whatever the size of the input."""
    found = set(graph.constants)
    fixed = all(
        one.dims is not None and all(isinstance(dim, int) for dim in one.dims)
        for one in graph.inputs
    )
    for node in graph.nodes:
        read = node.inputs[:1] if node.op in _FIRST_ALONE else reads_of(node)
        if found.issuperset(read) or (fixed and node.op in _SIZES):
            found.update(name for name in node.outputs if name)
    return frozenset(found)


def working_nodes(graph: OnnxGraph) -> int:
    """How many nodes compute something of the input."""
    known = _constants(graph)
    return sum(not known.issuperset(filter(None, node.outputs)) for node in graph.nodes)


def weights_differ(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether any number of two arrays differs."""
    return one.shape != two.shape or not np.array_equal(one, two)
