"""A plan carried out on an ONNX file."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor

from fieldwise.capture.onnx import OnnxModule, load_onnx
from fieldwise.folding.calls import values
from fieldwise.folding.layers import Layer
from fieldwise.folding.onnx.edit import GraphEdit
from fieldwise.folding.onnx.nodes import WEIGHTS, FileNodes, weights_differ, working_nodes
from fieldwise.folding.plan import Fold, Merge, Plan
from fieldwise.folding.replace import rounded
from fieldwise.folding.weights import Changed, norm_parameters
from fieldwise.folding.wiring import sign_of
from fieldwise.graph.calls import arguments

ChangedLayers = tuple[tuple[Changed, Tensor, Tensor | None], ...]


def realised(
    nodes: FileNodes, made: Plan, changed: Iterable[Changed]
) -> tuple[OnnxModule, ChangedLayers]:
    """The file with a plan carried out, as a module; per layer, its rounded weight and bias."""
    file = nodes.module.file
    edit = GraphEdit(file_with_values(nodes.module))
    layers = tuple((one, *_with_weights(nodes, edit, one)) for one in changed)
    for fold in made.folds:
        _without(nodes, edit, fold)
    for merge in made.merges:
        _shorten(nodes, edit, merge)
    return load_onnx(file.path, model=edit.finished()), layers


def nodes_saved(before: OnnxModule, after: OnnxModule) -> int:
    """How many nodes fewer compute something of the input."""
    return working_nodes(before.graph) - working_nodes(after.graph)


def file_with_values(module: OnnxModule) -> ModelProto:
    """The file, in which inputs that were set to values are initialisers."""
    given = module.given_values()
    if not given:
        return module.file.proto
    found = ModelProto()
    found.CopyFrom(module.file.proto)
    kept = [one for one in found.graph.input if one.name not in given]
    del found.graph.input[:]
    found.graph.input.extend(kept)
    found.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in given.items()
    )
    return found


def _proto(nodes: FileNodes, edit: GraphEdit, number: int) -> NodeProto:
    node = nodes.node_of(number)
    return edit.by_output[next(name for name in node.outputs if name)]


# -------------------------------------------------------------------- weights


def _with_weights(nodes: FileNodes, edit: GraphEdit, one: Changed) -> tuple[Tensor, Tensor | None]:
    """Give the node of a layer its new weights; these, rounded."""
    layer = one.layer
    pair = norm_parameters(one) if layer.kind == "batch_norm" else (one.weight, one.bias)
    weight = rounded(pair[0], layer.weight)
    bias = None if pair[1] is None else rounded(pair[1], layer.weight)
    for number in one.numbers:
        proto = _proto(nodes, edit, number)
        places = WEIGHTS[nodes.node_of(number).kind]
        scaled = _is_plain(proto, layer)
        if proto.op_type == "Gemm" and not scaled:
            _make_plain(proto, layer)
        if not scaled or weights_differ(pair[0], values(layer.weight)):
            edit.set_constant(proto, places.weight, weight, f"{layer.name}.weight")
        if bias is None:
            if not scaled:
                del proto.input[2:]
            continue
        if places.bias is None:
            edit.append_after(
                proto, "Add", edit.add_constant(bias, edit.fresh(f"{layer.name}.bias"))
            )
        else:
            edit.set_constant(proto, places.bias, bias, f"{layer.name}.bias")
    return weight, bias


def _is_plain(proto: NodeProto, layer: Layer) -> bool:
    """Whether a node's weight and bias are those of its layer, and not multiples or transposed."""
    if proto.op_type != "Gemm":
        return True
    given = {one.name: helper.get_attribute_value(one) for one in proto.attribute}
    stands = bool(given.get("transB", 0)) == (layer.kind == "linear")
    return stands and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0


def _make_plain(proto: NodeProto, layer: Layer) -> None:
    """Let a Gemm take its weight and bias as its layer has them."""
    kept = [one for one in proto.attribute if one.name not in ("alpha", "beta", "transB")]
    if layer.kind == "linear":
        kept.append(helper.make_attribute("transB", 1))
    del proto.attribute[:]
    proto.attribute.extend(kept)


# -------------------------------------------------------------------- what goes


def _without(nodes: FileNodes, edit: GraphEdit, fold: Fold) -> None:
    """Let the readers of an affine op read what it reads; a norm only loses scale and shift."""
    node = nodes.node_of(fold.candidate.number)
    if not fold.candidate.forward_only:
        edit.replace(next(name for name in node.outputs if name), nodes.data_of(node))
        return
    proto = _proto(nodes, edit, fold.candidate.number)
    weight = arguments(fold.candidate.node)["weight"]
    edit.set_constant(proto, 1, torch.ones_like(weight), f"{node.name}.scale")
    del proto.input[2:]


def _shorten(nodes: FileNodes, edit: GraphEdit, merge: Merge) -> None:
    """Take from sums what a convolution computes now."""
    for number, places in merge.sums.items():
        if len(places) != 1:
            continue
        node, call = nodes.node_of(number), nodes.graph.nodes[number]
        left, total = node.inputs[places[0]], node.outputs[0]
        negative = sign_of(call, places[0]) == -1
        edit.replace(total, edit.negated(left, total) if negative else left)
