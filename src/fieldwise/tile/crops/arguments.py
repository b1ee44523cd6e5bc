"""The arguments of one call at two image sizes: what must be the same, and constants by position.

Where an op looks is in its reads, which are compared on their own; arguments that say nothing
else may differ.  Everything else must be equal, and a constant that varies along a tiled axis must
hold the same at positions that are paired.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.rereading import reread_node
from fieldwise.graph.calls import arguments, is_same, is_tensor
from fieldwise.graph.constants import Constant, constant, tensors
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Node, Shape, Unknown, Whole
from fieldwise.graph.kinds import Kind
from fieldwise.graph.tensors import TensorLike
from fieldwise.graph.treatment import (
    CONTRACTIONS,
    OTHERS,
    POSITIONS,
    UNJUDGED,
    Treatment,
    treatment,
)
from fieldwise.tile.crops.match import Match, Matches, single
from fieldwise.tile.crops.steps import LostError

_Pair = tuple[str, TensorLike, TensorLike]
"""A constant tensor's argument name, and the tensor at the one size and at the other."""


def treatment_of(node: Node, position: int) -> Treatment:
    """How the op treats positions.  Raises LostError for one that is not supported."""
    drawn = any(kind.draws for kind in node.kinds)
    if drawn and not {"train", "training"}.isdisjoint(arguments(node)):
        raise LostError(f"{node.called} is active; call model.eval()")
    found = None if drawn or node.op in _REFUSED else treatment(node, position)
    if found is None:
        raise LostError(f"'{node.called}' {_UNDESCRIBED}")
    if found is POSITIONS and position:
        raise LostError(f"result {position} of '{node.called}' {_UNDESCRIBED}")
    return found


_UNDESCRIBED = "is not supported: how it treats positions is not described"

_REFUSED = (OTHERS | UNJUDGED.keys()) - CONTRACTIONS - {"fft"}
"""Ops whose positions are theorems that are not told of crops, or about which nothing is said."""


def check_settings(nodes: tuple[Node, Node]) -> None:
    """Raise LostError where a setting of the op, tensors aside, differs at the two sizes."""
    given = tuple(arguments(node) for node in nodes)
    for name in _settings(nodes[0], {*given[0], *given[1]}):
        if not is_same(given[0].get(name), given[1].get(name), lambda *_: True):
            raise LostError(f"its argument '{name}' depends on the size of the image")
    if any(map(_interpolates, nodes[0].kinds)) and not all(map(_reads_regularly, nodes)):
        raise LostError("it interpolates by a ratio that depends on the size of the image")


def _settings(node: Node, given: Collection[str]) -> set[str]:
    """The arguments that say more than where the op looks."""
    kinds = node.kinds
    return {name for kind in kinds for name in kind.settings(given)} if kinds else set(given)


def _interpolates(kind: Kind) -> bool:
    """Whether it weighs neighbours by how far they are, which the reads do not tell."""
    return kind.combines == "mean" and not kind.alike and bool(kind.geometry)


def is_regular(node: Node) -> bool:
    """Whether a node reads through regular maps, and treats all positions of its result alike."""
    found = treatment(node)
    if (
        found is not None
        and found.constants == "broadcast"
        and any(max(tensor.shape, default=1) > 1 for _, tensor in tensors(arguments(node)))
    ):
        return False
    return _reads_regularly(node)


def _reads_regularly(node: Node) -> bool:
    along = (coord for coord in node.coords() if isinstance(coord, Along))
    return all(isinstance(coord.map, AxisMap) for coord in along)


# -------------------------------------------------------------------- constants


def with_constants(
    nodes: tuple[Node, Node], position: int, graph: Graph, treated: Treatment, state: Matches
) -> Matches:
    """The pairs of a result after the op's constants were compared.

    graph: of the crop

    Raises LostError where a constant is not the same, or varies along more than one tiled axis.
    """
    pairs = list(_tensor_pairs(nodes))
    if treated.constants == "broadcast":
        for name, one, two in pairs:
            state = _against(state, _named(one, name), _named(two, name))
    elif pairs:
        places = _places(nodes[0], position, graph) if treated.repeats else {}
        for pair in pairs:
            state = _standing(state, pair, places.get(id(pair[1]), "anywhere"))
    if treated.channel is not None and not all(d.is_same for d in state[treated.channel]):
        raise LostError(f"'{nodes[0].called}' gives every position its own weight")
    return state


_Place = Literal["asked", "beside", "anywhere"]
"""Where a constant stands: it says where others are read, beside what is tiled, or anywhere."""


def _places(node: Node, position: int, graph: Graph) -> dict[int, _Place]:
    """Where each constant of an op that copies stands, as its rule says, by its id."""
    again = None if _reads_anywhere(node) else reread_node(node, graph)
    found: dict[int, _Place] = {}
    for number, tensor in enumerate(again.constants if again else (), len(node.operands)):
        assert again is not None
        reads = [read for read in again.reads[position] if read.operand == number]
        if all(read.kind.combines == "asked" for read in reads):
            found[id(tensor)] = "asked"
        elif not any(isinstance(coord, (Whole, Unknown)) for r in reads for coord in r.coords()):
            found[id(tensor)] = "beside"
    return found


def _standing(state: Matches, pair: _Pair, place: _Place) -> Matches:
    """The pairs of a result after one constant of it was compared.

    One that says where others are read is in the reads; what stands beside what is tiled, or is
    written over it, is compared in place; of all else (a table) there must be one.
    """
    name, one, two = pair
    if place == "beside":
        return _beside(state, pair)
    if place == "anywhere" and not _alike(one, two):
        raise LostError(f"its constant '{name}' depends on the size of the image")
    return state


def reads_constants(node: Node, treated: Treatment) -> bool:
    """Whether it matters where its constants are read: they are neither broadcast nor copied.

    Where they only say where to look, or are weights of channels, the reads of the operands hold
    all that they say of positions.
    """
    if treated.constants == "broadcast" or treated.averages or treated.channel is not None:
        return False
    return any(True for _ in tensors(arguments(node)))


def with_constant_reads(
    nodes: tuple[Node, Node], position: int, graphs: tuple[Graph, Graph]
) -> tuple[tuple[Node, Node], list[Shape]]:
    """Two nodes, (crop, whole), whose constants are operands too, and the shapes of these.

    A constant may be read by position, whatever reads the operands: the keys of causal attention.

    Raises LostError where the rule cannot tell without their values.
    """
    found, shapes = list[Node](), list[Shape]()
    for node, graph in zip(nodes, graphs, strict=True):
        again = reread_node(node, graph)
        if again is None:
            raise LostError("how it reads its constants is not known")
        first = len(node.operands)
        more = tuple(read for read in again.reads[position] if read.operand >= first)
        reads = list(node.reads)
        reads[position] = (*reads[position], *more)
        shapes = [tuple(tensor.shape) for tensor in again.constants]
        found.append(replace(node, reads=tuple(reads)))
    return (found[0], found[1]), shapes


def _reads_anywhere(node: Node) -> bool:
    """Whether it reads at positions that its reads do not tell apart (by an index, say)."""
    return any(isinstance(coord, (Whole, Unknown)) for coord in node.coords())


def _tensor_pairs(nodes: tuple[Node, Node]) -> Iterator[_Pair]:
    given = tuple(arguments(node) for node in nodes)
    for name in given[0]:
        one, two = (
            found if isinstance(found, (list, tuple)) else [found]
            for found in (given[0][name], given[1].get(name))
        )
        for left, right in zip(one, two, strict=False):
            if is_tensor(left) and is_tensor(right):
                yield name, left, right


def _named(tensor: TensorLike, name: str) -> Constant:
    return constant(tensor, name)


def _alike(one: TensorLike, two: TensorLike) -> bool:
    if one is two:
        return True
    if one.shape != two.shape or one.is_meta or two.is_meta:
        return False
    left, right = (np.asarray(constant(tensor, "").values) for tensor in (one, two))
    return np.array_equal(left, right)


def _against(state: Matches, one: Constant, two: Constant) -> Matches:
    lead = len(state) - len(one.shape)
    if lead < 0 or len(one.shape) != len(two.shape):
        raise LostError(f"its constant '{one.what}' has another rank at another size")
    varying = [
        dim
        for dim in range(len(one.shape))
        if (one.shape[dim], two.shape[dim]) != (1, 1)
        and not all(digit.is_same for digit in state[lead + dim])
        and not _uniform((one, two), dim)
    ]
    if not varying:
        if not equal_but_for_length(one, two):
            raise LostError(f"its constant '{one.what}' depends on the size of the image")
        return state
    if len(varying) > 1 or one.values is None or two.values is None:
        raise LostError(f"it meets '{one.what}', which varies along the axis")
    (dim,) = varying
    match = _paired(single(state[lead + dim]), (one, two), dim)
    return (*state[: lead + dim], (match,), *state[lead + dim + 1 :])


def _uniform(both: tuple[Constant, Constant], dim: int) -> bool:
    return all(known.uniform_along(dim) for known in both)


def equal_but_for_length(one: Constant, two: Constant) -> bool:
    """Whether two constants are equal, but for the length of axes along which they are uniform."""
    if one.values is None or two.values is None:
        return one.shape == two.shape
    shapes = zip(one.shape, two.shape, strict=True)
    differing = [dim for dim, (left, right) in enumerate(shapes) if left != right]
    if not all(_uniform((one, two), dim) for dim in differing):
        return False
    left, right = one.values, two.values
    for dim in differing:
        left, right = left.take([0], dim), right.take([0], dim)
    return np.array_equal(left, right)


def _paired(match: Match, both: tuple[Constant, Constant], dim: int) -> Match:
    """The pairs at which the two constants hold the same."""
    rows = [np.moveaxis(np.asarray(known.values), dim, 0) for known in both]
    rows = [values.reshape(len(values), -1) for values in rows]
    if rows[0].shape[1] != rows[1].shape[1]:
        raise LostError(f"its constant '{both[0].what}' varies along several axes")
    found = {}
    for distance in match.distances():
        good = match.at(distance)
        if not good or good.last >= len(rows[0]) or good.last + distance >= len(rows[1]):
            continue
        here = np.fromiter(good, dtype=np.int64)
        equal = (rows[0][here] == rows[1][here + distance]).all(axis=1)
        found[distance] = IndexSet.of(here[equal])
    return Match.of(match.crop, match.whole, found)


def _beside(state: Matches, pair: _Pair) -> Matches:
    """A constant beside what derives from the input (in a concatenation, under an assignment).

    It must be equal, or uniform: then a position that holds the constant in both images holds
    the same in both.
    """
    name, one, two = pair
    if one.numel() == two.numel() == 0:
        return state
    values = [v for tensor in (one, two) if (v := _named(tensor, name).values) is not None]
    full = [v for v in values if v.size]
    if len(full) == 2 and len({edge for v in full for edge in (v.min(), v.max())}) == 1:
        return state
    if not _alike(one, two):
        raise LostError(f"its constant '{name}' depends on the size of the image")
    if any(not d.is_same for dim in state for d in dim):
        raise LostError(f"it puts '{name}', which may vary along the axis, beside what is tiled")
    return state
