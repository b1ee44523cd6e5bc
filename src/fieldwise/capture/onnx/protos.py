"""What is asked of the messages of an ONNX file before they are data of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from fieldwise.errors import summary_of

_OWN = ("", "ai.onnx")


def plain_domain(domain: str) -> str:
    """A domain; that of the standard has two spellings, and is ''."""
    return "" if domain in _OWN else domain


def versions_of(model: ModelProto) -> dict[str, int]:
    """The operator sets by domain; of one that is named twice, the newer."""
    found: dict[str, int] = {}
    for one in model.opset_import:
        domain = plain_domain(one.domain)
        found[domain] = max(one.version, found.get(domain, 0))
    if not found and model.ir_version < _WITH_OPERATOR_SETS:
        found[""] = 1
    return found


_WITH_OPERATOR_SETS = 3
"""Files before this version of the format name none."""


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node holds itself."""
    for one in node.attribute:
        if one.type == AttributeProto.GRAPH:
            yield one.g
        yield from one.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and those within its nodes."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from all_graphs(inner)


def find_fault(path: Path) -> str | None:
    """Why a file is no valid model, shapes included; None where it is one."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return summary_of(error)
    return None
