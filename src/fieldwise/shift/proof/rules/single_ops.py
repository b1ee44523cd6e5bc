"""Ops that no treatment describes: each is a theorem of its own."""

from __future__ import annotations

import numpy as np

from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.graph.constants import Constant, constant, is_flat
from fieldwise.graph.ir import Ref, Separable, broadcast
from fieldwise.graph.treatment import COPIES, POINTWISE
from fieldwise.shift.proof.combine import joined
from fieldwise.shift.proof.constants import against
from fieldwise.shift.proof.frame import Frame, check_read_whole
from fieldwise.shift.proof.layout import Layout, cropped, moves, period_of, stays, uniform
from fieldwise.shift.proof.reads import from_reads, separable_step
from fieldwise.shift.proof.rules.contraction import shape_of
from fieldwise.shift.proof.rules.writes import BY_DATA, needs_reads, tables
from fieldwise.shift.proof.signal import BreaksError, Fault


def diagonal_matrix(frame: Frame) -> Layout:
    """diag_embed: both dimensions of the diagonal move with what is put there."""
    given, rank = arguments(frame.node), len(frame.result)
    layout = frame.layout(given["self"].operand)
    places = given["dim1"] % rank, given["dim2"] % rank
    if given["offset"] and moves(layout[-1]):
        raise BreaksError(Fault("it puts what moves beside the diagonal of a matrix"))
    last = layout[-1] if moves(layout[-1]) else None
    rest = iter(layout[:-1])
    return tuple(
        (last or stays(size)) if dim in places else next(rest)
        for dim, size in enumerate(frame.result)
    )


def _scattered(frame: Frame) -> Layout:
    """scatter at an index that derives from the input: along the other dimensions position by
    position, so that these move with the index; a one-hot code is one.
    """
    given = arguments(frame.node)
    dim, result = given["dim"] % max(len(frame.result), 1), frame.result
    items = [given[name] for name in ("self", "index", "src") if given.get(name) is not None]
    beside = [size for place, size in enumerate(result) if place != dim]
    for item in items:
        shape = list(shape_of(item, frame))
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
                else joined(layout[place], mine[place], frame.voice, place)
                for place, size in enumerate(result)
            )
        elif is_tensor(item):
            known = constant(item, "a constant")
            if not is_flat(known):
                raise BreaksError(BY_DATA)
    return layout


def triangle(frame: Frame) -> Layout:
    """tril and triu: zeros in the places that a constant mask says."""
    given = arguments(frame.node)
    layout = frame.layout(given["self"].operand)
    half = np.tril if frame.node.op == "tril" else np.triu
    mask = half(np.ones(frame.result[-2:], dtype=bool), given["diagonal"])
    shape = (1,) * (len(layout) - 2) + mask.shape
    return against(frame, layout, Constant(shape, "its mask", mask.reshape(shape)), "its mask")


def gated(frame: Frame) -> Layout:
    """glu: the first half of a dimension, times a gate of the second half."""
    given = arguments(frame.node)
    layout = frame.layout(given["self"].operand)
    dim = given["dim"] % len(layout)
    half, tell = frame.result[dim], frame.voice.about()
    left, right = (cropped(layout[dim], start, start + half, tell) for start in (0, half))
    return (*layout[:dim], joined(left, right, frame.voice, dim), *layout[dim + 1 :])


def histogram(frame: Frame) -> Layout:
    """histc counts values, wherever they are."""
    for dim in frame.layout(arguments(frame.node)["self"].operand):
        check_read_whole(dim)
    return tuple(map(stays, frame.result))


def paired(frame: Frame) -> Layout:
    """Element-wise on several operands; then summed over everything, if so told."""
    given = arguments(frame.node)
    reduced = frame.node.op == "dist" or given["reduction"] != 0
    items = [item for item in given.values() if isinstance(item, Ref) or is_tensor(item)]
    shapes = [shape_of(item, frame) for item in items]
    rank = max(map(len, shapes))
    shape = tuple(
        max(s[dim - rank + len(s)] if dim >= rank - len(s) else 1 for s in shapes)
        for dim in range(rank)
    )
    layout = tuple(map(uniform, shape))
    for item, size in zip(items, shapes, strict=True):
        if isinstance(item, Ref):
            (step,) = broadcast(item.operand, size, shape).steps
            assert isinstance(step, Separable)
            new = separable_step(frame, POINTWISE, frame.layout(item.operand), step, (size, shape))
            layout = tuple(
                joined(a, b, frame.voice, n)
                for n, (a, b) in enumerate(zip(layout, new, strict=True))
            )
    for item, size in zip(items, shapes, strict=True):
        if is_tensor(item):
            known = constant(item, "a constant").as_dims((1,) * (rank - len(size)) + size)
            layout = against(frame, layout, known, "a constant")
    frame.met.append(period_of(layout))
    if not reduced:
        return layout
    for dim in layout:
        check_read_whole(dim)
    return tuple(map(uniform, frame.result))


def written(frame: Frame) -> Layout:
    """A write at indices: by its reads where they tell, else a choice between two tables."""
    if isinstance(arguments(frame.node).get("index"), Ref):
        return _scattered(frame)
    by_reads = needs_reads(frame)
    found = tables(frame, by_reads=by_reads)
    if by_reads:
        layout = from_reads(frame, COPIES, mixed=any(not is_flat(known) for known in found))
    else:
        given = arguments(frame.node)
        source = given["self"]
        layout = (
            frame.layout(source.operand)
            if isinstance(source, Ref)
            else tuple(map(uniform, frame.result))
        )
    for known in found:
        layout = against(frame, layout, known, known.what)
    return layout
