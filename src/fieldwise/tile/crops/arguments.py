"""The arguments of one call at two image sizes: what must be the same, and constants by position.

Where an op looks is in its reads, which are compared on their own; arguments that say nothing
else may differ.  Everything else must be equal, and a constant that varies along a tiled axis must
hold the same at positions that are paired.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.rereading import reread_node
from fieldwise.graph.calls import arguments, is_same, is_tensor, op_name
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
    drawn = any(read.kind.draws for reads in node.reads for read in reads)
    if node.op == "dropout" and drawn:
        raise LostError("dropout is active; call model.eval()")
    found = None if drawn or node.op in _REFUSED else treatment(node, position)
    if found is None:
        raise LostError(f"'{node.op}' is not supported: how it treats positions is not described")
    if found is POSITIONS and position:
        raise LostError(
            f"result {position} of '{node.op}' is not supported: how it treats positions is not "
            f"described"
        )
    return found


_BY_READS = {
    "fft", "tril", "triu", "index_fill", "index_put", "index_copy", "index_add", "diag_embed",
}  # fmt: skip
"""Theorems of shifts of which a crop needs none: it stays where it is, and reads tell the rest."""
_REFUSED = (OTHERS | UNJUDGED.keys()) - CONTRACTIONS - _BY_READS
"""Ops whose positions are theorems that are not told of crops, or about which nothing is said."""


def check_settings(nodes: tuple[Node, Node]) -> None:
    """Raise LostError where a setting of the op, tensors aside, differs at the two sizes."""
    given = tuple(arguments(node) for node in nodes)
    for name in _settings(nodes[0], {*given[0], *given[1]}):
        if not is_same(given[0].get(name), given[1].get(name), lambda *_: True):
            raise LostError(f"its argument '{name}' depends on the size of the image")
    if any(map(_interpolates, _kinds(nodes[0]))) and not all(map(_reads_regularly, nodes)):
        raise LostError("it interpolates by a ratio that depends on the size of the image")


def _settings(node: Node, given: Collection[str]) -> set[str]:
    """The arguments that say more than where the op looks."""
    kinds = _kinds(node)
    return {name for kind in kinds for name in kind.settings(given)} if kinds else set(given)


def _kinds(node: Node) -> set[Kind]:
    return {read.kind for reads in node.reads for read in reads}


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


def with_constants(nodes: tuple[Node, Node], treated: Treatment, state: Matches) -> Matches:
    """The pairs of a result after the op's constants were compared.

    Raises LostError where a constant is not the same, or varies along more than one tiled axis.
    """
    pairs = list(_tensor_pairs(nodes))
    if treated.constants == "broadcast":
        for name, one, two in pairs:
            state = _against(state, _named(one, name), _named(two, name))
    elif treated.constants == "listed":
        state = _beside(state, pairs)
    elif treated.averages and not _reads_anywhere(nodes[0]):
        state = _copied(state, pairs)
    elif not treated.averages or _reads_anywhere(nodes[0]):
        for name, one, two in pairs:
            if not _alike(one, two):
                raise LostError(f"its constant '{name}' depends on the size of the image")
    if treated.channels and not _channel_is_same(nodes[0], state):
        raise LostError(f"'{nodes[0].op}' gives every position its own weight")
    return state


def reads_constants(node: Node, treated: Treatment) -> bool:
    """Whether it matters where its constants are read: they are neither broadcast nor listed.

    Where they only say where to look, or are weights of channels, the reads of the operands hold
    all that they say of positions.
    """
    if treated.constants in ("broadcast", "listed") or treated.averages or treated.channels:
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


_WHERE = ("index", "indices", "repeats")
_WRITTEN = ("src", "source", "value", "values")


def _copied(state: Matches, pairs: Sequence[_Pair]) -> Matches:
    """Constants of an op that copies: those that say where are in its reads, the others in results.

    What is written is compared as if it stood beside what is tiled; what is looked up must be the
    same table.
    """
    state = _beside(state, [pair for pair in pairs if pair[0] in _WRITTEN])
    for name, one, two in pairs:
        if name not in (*_WHERE, *_WRITTEN) and not _alike(one, two):
            raise LostError(f"its constant '{name}' depends on the size of the image")
    return state


def _beside(state: Matches, pairs: Sequence[_Pair]) -> Matches:
    """Constants beside what derives from the input (in a concatenation, under an assignment).

    They must be equal, or uniform: then a position that holds the constant in both images holds
    the same in both.
    """
    for name, one, two in pairs:
        known = _named(one, name), _named(two, name)
        if one.numel() == two.numel() == 0:
            continue
        values = [c.values for c in known if c.values is not None and c.values.size]
        flat = (
            len(values) == 2 and len({value for v in values for value in (v.min(), v.max())}) == 1
        )
        if not flat and not _alike(one, two):
            raise LostError(f"its constant '{name}' depends on the size of the image")
        if not flat and any(not d.is_same for dim in state for d in dim):
            raise LostError(
                f"it puts '{name}', which may vary along the axis, beside what is tiled"
            )
    return state


def _channel_is_same(node: Node, state: Matches) -> bool:
    """Whether the dimension whose positions have weights of their own is whole in the crop."""
    given, rank = arguments(node), len(state)
    channel = min(1, rank - 1)
    if op_name(node) == "conv_tbc" or "batch_first" in given:
        channel = rank - 1
    elif node.op.startswith("conv") and isinstance(given.get("stride"), (list, tuple)):
        weight = given["weight"]
        if is_tensor(weight):
            channel = rank - (len(weight.shape) - 2) - 1
    return all(digit.is_same for digit in state[channel])
