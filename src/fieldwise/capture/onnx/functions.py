"""Functions: those that a file defines, and operators whose own definition is enough for them.

An operator of the standard that has no translation here, but whose schema says in other operators
what it computes, becomes a function of the file; then all functions are inlined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto, defs, inliner
from onnx.shape_inference import infer_shapes

from fieldwise.capture.onnx import translate as _translate  # noqa: F401  (fills the registry)
from fieldwise.capture.onnx.protos import all_graphs, plain_domain, versions_of
from fieldwise.capture.onnx.refusal import malformed
from fieldwise.capture.onnx.registry import find_refusal, find_translation

_DEEPEST = 8  # definitions within definitions
_DOMAIN = "fieldwise.definitions"


def inlined(model: ModelProto) -> ModelProto:
    """The model without calls of functions.

    Raises UnreadableOnnxError where a function cannot be inlined.
    """
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        for _ in range(_DEEPEST):
            if not any(_defined(node, versions_of(model)) for node in _nodes(model.graph)):
                break
            model = inliner.inline_local_functions(_with_definitions(model))
    except Exception as error:
        raise malformed("a function in it cannot be inlined") from error
    return model


def _with_definitions(model: ModelProto) -> ModelProto:
    """The model with a function for every node that only its definition can be computed by."""
    found = ModelProto()
    found.CopyFrom(model)
    versions = versions_of(model)
    types = dict(_types(infer_shapes(model).graph))
    for number, node in enumerate(_nodes(found.graph)):
        schema = _defined(node, versions)
        if schema is not None:
            _set_defaults(node, schema)
            body = _body(node, schema, types)
            body.domain, body.name = _DOMAIN, f"{node.op_type}{number}"
            node.domain, node.op_type = body.domain, body.name
            found.functions.append(body)
    found.opset_import.add(domain=_DOMAIN, version=1)
    return found


def _defined(node: NodeProto, versions: Mapping[str, int]) -> Any:
    """The schema of a node, if it has a definition there, and nothing here."""
    domain, version = plain_domain(node.domain), versions.get(plain_domain(node.domain), 1)
    if find_translation(domain, node.op_type, version) or find_refusal(domain, node.op_type):
        return None
    if not defs.has(node.op_type, version, domain):
        return None
    schema: Any = defs.get_schema(node.op_type, version, domain)  # its stubs lack what is asked
    return schema if schema.has_function or schema.has_context_dependent_function else None


def _set_defaults(node: NodeProto, schema: Any) -> None:
    """Write out the attributes that are left out: a function would have nothing in their place."""
    given = {one.name for one in node.attribute}
    node.attribute.extend(
        one.default_value
        for name, one in schema.attributes.items()
        if name not in given and one.default_value.name
    )


def _body(node: NodeProto, schema: Any, types: Mapping[str, TypeProto]) -> FunctionProto:
    body = FunctionProto()
    if schema.has_function:
        body.CopyFrom(schema.function_body)
        return body
    given = [types.get(name, TypeProto()).SerializeToString() for name in node.input]
    body.ParseFromString(schema.get_context_dependent_function(node.SerializeToString(), given))
    return body


def _types(graph: GraphProto) -> Iterator[tuple[str, TypeProto]]:
    """The types of the values of a graph and of those within it."""
    for one in all_graphs(graph):
        for value in (*one.input, *one.value_info, *one.output):
            yield value.name, value.type
        for tensor in one.initializer:
            found = TypeProto()
            found.tensor_type.elem_type = tensor.data_type
            found.tensor_type.shape.dim.extend(
                found.tensor_type.shape.Dimension(dim_value=size) for size in tensor.dims
            )
            yield tensor.name, found


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and of those within it."""
    return (node for one in all_graphs(graph) for node in one.node)
