"""Ops that no treatment describes: each is a theorem of its own."""

from __future__ import annotations

import numpy as np

from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.graph.constants import Constant, constant, is_flat
from fieldwise.graph.ir import Ref, Separable, broadcast
from fieldwise.graph.treatment import COPIES, POINTWISE
from fieldwise.shift.proof.combine import joined
from fieldwise.shift.proof.constants import with_constant
from fieldwise.shift.proof.frame import Advanced, Frame, check_read_whole
from fieldwise.shift.proof.layout import cropped, moves, stays, uniform
from fieldwise.shift.proof.reads import from_reads, separable_step
from fieldwise.shift.proof.rules.writes import BY_DATA, needs_reads, tables
from fieldwise.shift.proof.signal import BreaksError, Fault


def diagonal_matrix(frame: Frame) -> Advanced:
    """diag_embed: both dimensions of the diagonal move with what is put there."""
    given, rank = arguments(frame.node), len(frame.result)
    layout = frame.layout(given["self"].operand)
    places = given["dim1"] % rank, given["dim2"] % rank
    if given["offset"] and moves(layout[-1]):
        raise BreaksError(Fault("it puts what moves beside the diagonal of a matrix"))
    last = layout[-1] if moves(layout[-1]) else None
    rest = iter(layout[:-1])
    return Advanced.of(tuple(
        (last or stays(size)) if dim in places else next(rest)
        for dim, size in enumerate(frame.result)
    ))  # fmt: skip


def _scattered(frame: Frame) -> Advanced:
    """scatter at an index that derives from the input: along the other dimensions position by
    position, so that these move with the index; a one-hot code is one.
    """
    given = arguments(frame.node)
    dim, result = given["dim"] % max(len(frame.result), 1), frame.result
    items = [given[name] for name in ("self", "index", "src") if given.get(name) is not None]
    beside = [size for place, size in enumerate(result) if place != dim]
    for item in items:
        shape = list(frame.shape_of(item))
        if not frame.node.op.startswith("scatter") or shape[:dim] + shape[dim + 1 :] != beside:
            raise BreaksError(BY_DATA)
    layout = tuple(map(uniform, result))
    for item in items:
        if isinstance(item, Ref):
            mine = frame.layout(item.operand)
            if moves(mine[dim]):
                raise BreaksError(BY_DATA)
            layout = tuple(
                stays(size)
                if place == dim
                else joined(layout[place], mine[place], frame.explainer, place)
                for place, size in enumerate(result)
            )
        elif is_tensor(item) and not is_flat(constant(item, "a constant")):
            raise BreaksError(BY_DATA)
    return Advanced.of(layout)


def triangle(frame: Frame) -> Advanced:
    """tril and triu: zeros in the places that a constant mask says."""
    given = arguments(frame.node)
    layout = frame.layout(given["self"].operand)
    half = np.tril if frame.node.op == "tril" else np.triu
    mask = half(np.ones(frame.result[-2:], dtype=bool), given["diagonal"])
    known = Constant(mask.shape, "its mask", mask)
    return Advanced.of(with_constant(frame, layout, known, "its mask"))


def gated(frame: Frame) -> Advanced:
    """glu: the first half of a dimension, times a gate of the second half."""
    given = arguments(frame.node)
    layout = frame.layout(given["self"].operand)
    dim = given["dim"] % len(layout)
    half, explain = frame.result[dim], frame.explainer.about()
    left, right = (cropped(layout[dim], start, start + half, explain) for start in (0, half))
    both = joined(left, right, frame.explainer, dim)
    return Advanced.of((*layout[:dim], both, *layout[dim + 1 :]))


def histogram(frame: Frame) -> Advanced:
    """histc counts values, wherever they are."""
    for dim in frame.layout(arguments(frame.node)["self"].operand):
        check_read_whole(dim)
    return Advanced.of(tuple(map(stays, frame.result)))


def paired(frame: Frame) -> Advanced:
    """Element-wise on several operands; then summed over everything, where the call asks for it."""
    given = arguments(frame.node)
    reduced = frame.node.op == "dist" or given["reduction"] != 0
    items = [item for item in given.values() if isinstance(item, Ref) or is_tensor(item)]
    shapes = [frame.shape_of(item) for item in items]
    shape = np.broadcast_shapes(*shapes)
    layout, periods = tuple(map(uniform, shape)), list[int]()
    for item, size in zip(items, shapes, strict=True):
        if isinstance(item, Ref):
            (step,) = broadcast(item.operand, size, shape).steps
            assert isinstance(step, Separable)
            new = separable_step(frame, POINTWISE, frame.layout(item.operand), step, (size, shape))
            layout = tuple(
                joined(a, b, frame.explainer, n)
                for n, (a, b) in enumerate(zip(layout, new.layout, strict=True))
            )
            periods.append(new.period)
    for item in filter(is_tensor, items):
        layout = with_constant(frame, layout, constant(item, "a constant"), "a constant")
    made = Advanced.of(layout, *periods)
    if not reduced:
        return made
    for dim in layout:
        check_read_whole(dim)
    return Advanced.of(tuple(map(uniform, frame.result)), made.period)


def written(frame: Frame) -> Advanced:
    """A write at indices: by its reads where they are enough, else a choice between two tables."""
    if isinstance(arguments(frame.node).get("index"), Ref):
        return _scattered(frame)
    by_reads = needs_reads(frame)
    found = tables(frame, by_reads=by_reads)
    source = arguments(frame.node).get("self")
    if by_reads:
        made = from_reads(frame, COPIES, mixed=any(not is_flat(known) for known in found))
    elif isinstance(source, Ref):
        made = Advanced.of(frame.layout(source.operand))
    else:
        made = Advanced.of(tuple(map(uniform, frame.result)))
    layout = made.layout
    for known in found:
        layout = with_constant(frame, layout, known, known.what)
    return Advanced.of(layout, made.period)
