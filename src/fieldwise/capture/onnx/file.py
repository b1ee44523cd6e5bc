"""An ONNX file as plain data: read, its functions inlined, its nodes named and checked.

Nothing of a file is believed: it is parsed by ``onnx``, its names are looked up here, and no code
lies in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from torch import Tensor

from fieldwise.capture.onnx.functions import inlined
from fieldwise.capture.onnx.graph import OnnxGraph, OnnxInput, OnnxNode, OnnxSize
from fieldwise.capture.onnx.protos import plain_domain, versions_of
from fieldwise.capture.onnx.refusal import UnreadableOnnxError, malformed
from fieldwise.capture.onnx.tensors import dense_of, dtype_of, tensor_of
from fieldwise.errors import UsageError
from fieldwise.graph.names import distinct

OLDEST = 7
"""Files of an older operator set are brought to this one by onnx's own converter."""

_DEEPEST = 32  # subgraphs within subgraphs
_MOST_NODES = 100_000
_PLAIN_VALUES = {
    "value_float": torch.float32,
    "value_floats": torch.float32,
    "value_int": torch.int64,
    "value_ints": torch.int64,
}
"""The attributes of a Constant that hold numbers as they are, and what these become."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A file that was read: its graph, its operator sets, and the file as it is.

    proto: without the data of its tensors that lie beside it
    """

    path: Path
    graph: OnnxGraph
    versions: Mapping[str, int]
    proto: ModelProto

    def __deepcopy__(self, memo: dict[int, object]) -> OnnxFile:
        return self

    def for_runtime(self) -> str | bytes:
        """What ONNX Runtime makes a session of: the model, or its path where tensors lie beside it.

        Raises UsageError where they do, and the model is not the one at that path any more.
        """
        if not any(one.external_data for one in self.proto.graph.initializer):
            return self.proto.SerializeToString()
        if _parsed(self.path) != self.proto:
            raise UsageError(
                f"The model is not that of {str(self.path)!r} any more; write it, and load that."
            )
        return str(self.path)


def read_file(path: Path) -> OnnxFile:
    """The model in a file.

    Raises UnreadableOnnxError for a file that is no ONNX model, or no valid one.
    """
    return read_model(_parsed(path), path)


def read_model(model: ModelProto, path: Path) -> OnnxFile:
    """The same for a model in memory; what lies beside it is looked for beside this path."""
    if 0 < versions_of(model).get("", OLDEST) < OLDEST:
        model = _converted(model)
    model = inlined(model)
    versions = versions_of(model)
    graph = _Reader(versions, path.parent).graph(model.graph, frozenset(), 0)
    if not graph.outputs:
        raise malformed("it has no output")
    return OnnxFile(path, graph, versions, model)


def _parsed(path: Path) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:
        raise UnreadableOnnxError("is no ONNX file, or not all of one.") from error
    if not model.HasField("graph"):
        raise UnreadableOnnxError("is no ONNX file, or not all of one.")
    return model


def _converted(model: ModelProto) -> ModelProto:
    from onnx import version_converter

    try:
        return version_converter.convert_version(model, OLDEST)
    except Exception as error:
        raise UnreadableOnnxError(
            f"is of operator set {versions_of(model).get('', 1)}, which onnx cannot bring to "
            f"{OLDEST}; export it again."
        ) from error


# -------------------------------------------------------------------- graphs


class _Reader:
    """Reads the graphs of one model."""

    def __init__(self, versions: Mapping[str, int], folder: Path) -> None:
        self.versions = versions
        self.folder = folder
        self.types: dict[str, int] = {}
        self.count = 0

    def graph(self, proto: GraphProto, around: frozenset[str], depth: int) -> OnnxGraph:
        """A graph; ``around`` are the values that it may read of the graphs around it."""
        if depth > _DEEPEST:
            raise malformed(f"its graphs lie more than {_DEEPEST} deep within each other")
        self.count += len(proto.node)
        if self.count > _MOST_NODES:
            raise UnreadableOnnxError(
                f"has more than {_MOST_NODES:,} nodes; cut it with onnx.utils.extract_model."
            )
        constants = dict(self._constants(proto))
        inputs = tuple(_input(one) for one in proto.input if one.name not in constants)
        self.types.update(_types(proto))
        known = set(around) | set(constants) | {one.name for one in inputs}
        nodes: list[OnnxNode] = []
        names = distinct(_node_names(proto.node))
        for one in proto.node:
            name = next(names)
            _check_reads(one, name, known)
            if _is_constant(one):
                constants[one.output[0]] = self._constant(one, name)
                self.types[one.output[0]] = one.attribute[0].t.data_type
            else:
                nodes.append(self._node(one, name, frozenset(known), depth))
            known.update(output for output in one.output if output)
        for one in proto.output:
            if one.name not in known:
                raise malformed(f"nothing makes the output {one.name[:60]!r}")
        outputs = tuple(one.name for one in proto.output)
        return OnnxGraph(proto.name, inputs, constants, tuple(nodes), outputs)

    def _constants(self, proto: GraphProto) -> Iterator[tuple[str, Tensor]]:
        for one in proto.initializer:
            yield one.name, tensor_of(one, self.folder)
        for sparse in proto.sparse_initializer:
            yield sparse.values.name, dense_of(sparse, self.folder)

    def _constant(self, proto: NodeProto, name: str) -> Tensor:
        """The tensor of a Constant node."""
        if len(proto.attribute) != 1:
            raise malformed(f"the Constant {name!r} has {len(proto.attribute)} values")
        [one] = proto.attribute
        value = self._attribute(one, frozenset(), 0)
        if isinstance(value, Tensor):
            return value
        if isinstance(value, (int, float, tuple)) and one.name in _PLAIN_VALUES:
            with suppress(TypeError, ValueError, RuntimeError):
                return torch.tensor(value, dtype=_PLAIN_VALUES[one.name])
        raise UnreadableOnnxError(
            f"has no number in the Constant {name[:60]!r}, but something else."
        )

    def _node(self, proto: NodeProto, name: str, around: frozenset[str], depth: int) -> OnnxNode:
        domain = plain_domain(proto.domain)
        attributes = {one.name: self._attribute(one, around, depth) for one in proto.attribute}
        inner = [value for value in attributes.values() if isinstance(value, OnnxGraph)]
        captures = dict.fromkeys(name for graph in inner for name in graph.captures)
        return OnnxNode(
            name=name,
            op=proto.op_type,
            domain=domain,
            version=self.versions.get(domain, 1),
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes=attributes,
            types=tuple(self.types.get(name, 0) for name in (*proto.input, *proto.output)),
            captures=tuple(captures),
        )

    def _attribute(self, proto: AttributeProto, around: frozenset[str], depth: int) -> object:
        kind = AttributeProto.AttributeType
        if proto.ref_attr_name:
            raise malformed(f"the attribute {proto.name!r} belongs to a function that is not there")
        if proto.type == kind.GRAPH:
            return self.graph(proto.g, around, depth + 1)
        if proto.type == kind.TENSOR:
            return tensor_of(proto.t, self.folder)
        if proto.type == kind.SPARSE_TENSOR:
            return dense_of(proto.sparse_tensor, self.folder)
        if proto.type == kind.STRING:
            return proto.s.decode("utf-8", "replace")
        if proto.type == kind.STRINGS:
            return tuple(one.decode("utf-8", "replace") for one in proto.strings)
        plain: Any = {
            kind.FLOAT: lambda: proto.f,
            kind.INT: lambda: proto.i,
            kind.FLOATS: lambda: tuple(proto.floats),
            kind.INTS: lambda: tuple(proto.ints),
        }.get(proto.type)
        return None if plain is None else plain()


def _types(proto: GraphProto) -> Iterator[tuple[str, int]]:
    """The element types that a graph states, by value."""
    for one in (*proto.input, *proto.value_info, *proto.output):
        yield one.name, one.type.tensor_type.elem_type
    for tensor in proto.initializer:
        yield tensor.name, tensor.data_type


def _is_constant(proto: NodeProto) -> bool:
    standard = plain_domain(proto.domain) == ""
    return standard and proto.op_type == "Constant" and len(proto.output) == 1


def _node_names(protos: Iterable[NodeProto]) -> Iterator[str]:
    """What nodes are called: as the file says, else like their first output."""
    for one in protos:
        first = next((output for output in one.output if output), "")
        if not (one.name or first):
            raise malformed(f"a node ({one.op_type[:60]}) has neither a name nor an output")
        yield one.name or first


def _check_reads(proto: NodeProto, name: str, known: set[str]) -> None:
    for one in proto.input:
        if one and one not in known:
            raise malformed(f"node {name[:60]!r} reads {one[:60]!r}, which nothing makes before it")
    for one in proto.output:
        if one and one in known:
            raise malformed(f"node {name[:60]!r} makes {one[:60]!r}, which is there already")


def _input(proto: ValueInfoProto) -> OnnxInput:
    if proto.type.WhichOneof("value") != "tensor_type":
        return OnnxInput(proto.name, torch.float32, None)
    kind = proto.type.tensor_type
    dtype = dtype_of(kind.elem_type)
    if dtype is None:
        name = "?"
        if kind.elem_type in TensorProto.DataType.values():
            name = TensorProto.DataType.Name(kind.elem_type)
        raise UnreadableOnnxError(f"takes {proto.name!r} of type {name}, which is not supported.")
    if not kind.HasField("shape"):
        return OnnxInput(proto.name, dtype, None)
    return OnnxInput(proto.name, dtype, tuple(_dim(one) for one in kind.shape.dim))


def _dim(proto: Any) -> OnnxSize:
    if proto.WhichOneof("value") == "dim_value":
        return int(proto.dim_value) if proto.dim_value > 0 else None
    return proto.dim_param or None
