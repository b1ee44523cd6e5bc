"""An ONNX graph being changed: constants, nodes that go, values that are called otherwise.

Changes are noted first and made at the end: whoever notes one still sees the file as it was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from torch import Tensor

from fieldwise.capture.onnx.protos import all_graphs, inner_graphs

_WITH_INITIALISERS_AS_INPUTS = 4
"""Files before this version of the format list initialisers among their inputs too."""

_CODES = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
}


class GraphEdit:
    """The graph of a copy of a model, and what is to become of it."""

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.by_output = {out: node for node in self.graph.node for out in node.output if out}
        self._initialisers = {one.name: one for one in self.graph.initializer}
        self._reads = Counter(_reads(self.graph))
        self._taken = set(self._names())
        self._instead: dict[str, str] = {}
        self._behind: dict[str, list[NodeProto]] = defaultdict(list)

    # ---------------------------------------------------------------- noting changes

    def set_constant(self, node: NodeProto, place: int, tensor: Tensor, name: str) -> None:
        """Give a node another constant; one that others read too becomes two.

        name: what a constant is called where there was none
        """
        old = node.input[place] if place < len(node.input) else ""
        if old and self._reads[old] == 1 and old in self._initialisers and not self._is_output(old):
            kept = self._initialisers[old]
            notes = kept.doc_string
            kept.CopyFrom(tensor_proto(tensor, old))
            kept.doc_string = notes
            return
        fresh = self.add_constant(tensor, self.fresh(f"{old}_{name}" if old else name))
        while len(node.input) <= place:
            node.input.append("")
        node.input[place] = fresh

    def add_constant(self, tensor: Tensor, name: str) -> str:
        """A new initialiser; its name."""
        made = self.graph.initializer.add()
        made.CopyFrom(tensor_proto(tensor, name))
        if self.model.ir_version < _WITH_INITIALISERS_AS_INPUTS:
            kind = helper.make_tensor_type_proto(made.data_type, list(made.dims))
            self.graph.input.add(name=name).type.CopyFrom(kind)
        return name

    def fresh(self, name: str) -> str:
        """A name that nothing in the file has."""
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found

    def replace(self, value: str, by: str) -> None:
        """Whatever reads a value reads another one instead."""
        self._instead[value] = by

    def append_after(self, node: NodeProto, op: str, *constants: str) -> None:
        """Let another op of the node's only output, and of constants, make that output."""
        made = node.output[0]
        inner = node.output[0] = self.fresh(f"{made}_before_{op}")
        added = helper.make_node(op, [inner, *constants], [made], self.fresh(f"{node.name}_{op}"))
        self.by_output[made], self.by_output[inner] = added, node
        self._behind[inner].append(added)

    def negated(self, value: str, as_value: str) -> str:
        """The name of the negative of a value."""
        name = self.fresh(f"{as_value}_negated")
        added = helper.make_node("Neg", [value], [name], name)
        self._behind[value].append(added)
        return name

    # ---------------------------------------------------------------- making them

    def finished(self) -> ModelProto:
        """The changed model: what nothing reads any more is dropped, outputs keep their names."""
        used_before = set(self._reads) | {one.name for one in self.graph.output}
        nodes = [node for node in self._in_order() if not self._is_gone(node)]
        renamed = self._names_of_outputs(nodes)
        for node in nodes:
            _rename(node, lambda name: renamed.get(self._final(name), self._final(name)))
            node.output[:] = [renamed.get(name, name) for name in node.output]
        nodes += self._copies_to_outputs(renamed)
        kept = _needed(nodes, self.graph, used_before)
        del self.graph.node[:]
        self.graph.node.extend(kept)
        self._drop_unread(used_before)
        return self.model

    def _is_output(self, value: str) -> bool:
        return any(one.name == value for one in self.graph.output)

    def _is_gone(self, node: NodeProto) -> bool:
        """Whether everything that read a node reads something else."""
        return any(out in self._instead for out in node.output)

    def _final(self, name: str) -> str:
        while name in self._instead:
            name = self._instead[name]
        return name

    def _in_order(self) -> Iterator[NodeProto]:
        """All nodes, with those that were added behind what they read."""
        for one in self.graph.input:
            yield from self._added(one.name)
        for node in self.graph.node:
            yield node
            for out in node.output:
                yield from self._added(out)

    def _added(self, value: str) -> Iterator[NodeProto]:
        for node in self._behind.get(value, ()):
            yield node
            for out in node.output:
                yield from self._added(out)

    def _names_of_outputs(self, nodes: Iterable[NodeProto]) -> dict[str, str]:
        """Values that take over the name of an output of the model, which is a copy of them."""
        outputs = [one.name for one in self.graph.output]
        made = {name for node in nodes for name in node.output}
        found: dict[str, str] = {}
        for name in outputs:
            source = self._final(name)
            if source != name and source in made and source not in outputs:
                found.setdefault(source, name)
        return found

    def _copies_to_outputs(self, renamed: dict[str, str]) -> Iterator[NodeProto]:
        """Outputs that are another output, or an input, are copied."""
        for one in self.graph.output:
            source = self._final(one.name)
            given = renamed.get(source, source)
            if given != one.name:
                name = self.fresh(f"{one.name}_copy")
                yield helper.make_node("Identity", [given], [one.name], name)

    def _drop_unread(self, used_before: set[str]) -> None:
        graph = self.graph
        used = set(_reads(graph)) | {one.name for one in graph.output}

        def is_gone(name: str) -> bool:
            return name not in used and name in used_before

        constants = {one.name for one in graph.initializer}
        constants |= {one.values.name for one in graph.sparse_initializer}
        _keep(graph.input, lambda one: one.name not in constants or not is_gone(one.name))
        _keep(graph.initializer, lambda one: not is_gone(one.name))
        _keep(graph.sparse_initializer, lambda one: not is_gone(one.values.name))
        known = {out for node in graph.node for out in node.output}
        known |= {one.name for one in graph.input} | {one.name for one in graph.initializer}
        _keep(graph.value_info, lambda one: one.name in known)
        _keep(graph.quantization_annotation, lambda one: one.tensor_name in known)

    def _names(self) -> Iterator[str]:
        for graph in all_graphs(self.graph):
            for named in (graph.input, graph.output, graph.initializer, graph.value_info):
                yield from (one.name for one in named)
            for node in graph.node:
                yield node.name
                yield from (*node.input, *node.output)


def tensor_proto(tensor: Tensor, name: str) -> TensorProto:
    """A tensor of real numbers as ONNX writes it."""
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    made = TensorProto(name=name, data_type=_CODES[tensor.dtype], raw_data=raw)
    made.dims.extend(tensor.shape)
    return made


def _reads(graph: GraphProto) -> Iterator[str]:
    """The values that nodes read, those in subgraphs too, and that subgraphs hand out."""
    for node in graph.node:
        yield from _node_reads(node)


def _node_reads(node: NodeProto) -> Iterator[str]:
    yield from (name for name in node.input if name)
    for inner in inner_graphs(node):
        yield from _reads(inner)
        yield from (one.name for one in inner.output)


def _rename(node: NodeProto, final: object) -> None:
    """Let a node, and the graphs in it, read values by other names."""
    assert callable(final)
    for place, name in enumerate(node.input):
        if name and final(name) != name:
            node.input[place] = final(name)
    for inner in inner_graphs(node):
        for one in inner.output:
            if final(one.name) != one.name:
                one.name = final(one.name)
        for deeper in inner.node:
            _rename(deeper, final)


def _needed(
    nodes: Iterable[NodeProto], graph: GraphProto, used_before: set[str]
) -> list[NodeProto]:
    """The nodes without those that have lost all their readers."""
    used = {one.name for one in graph.output}
    kept = []
    for node in reversed(list(nodes)):
        outputs = [name for name in node.output if name]
        if not used.intersection(outputs) and used_before.intersection(outputs):
            continue
        used.update(_node_reads(node))
        kept.append(node)
    return kept[::-1]


def _keep(items: object, wanted: object) -> None:
    """Drop from a repeated field what is not wanted."""
    assert callable(wanted)
    field: list = items  # type: ignore[assignment, type-arg]
    for place in reversed(range(len(field))):
        if not wanted(field[place]):
            del field[place]
