"""The constants of a node against its layout: whether they vary along what moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.graph.constants import Constant, constant, is_flat, tensors
from fieldwise.graph.ir import Along, Node, Read, Ref, Reshape, Separable, Shape
from fieldwise.graph.tensors import TensorLike
from fieldwise.graph.treatment import Treatment
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import Layout, moves, stays
from fieldwise.shift.proof.reasons import varies
from fieldwise.shift.proof.signal import BreaksError, Fault
from fieldwise.shift.proof.variation import against


def with_constants(frame: Frame, treatment: Treatment, layout: Layout) -> Layout:
    """The layout after the op's constants have been looked at.

    Raises BreaksError where one varies along what moves.
    """
    given = arguments(frame.node)
    if treatment.constants == "broadcast":
        for name, tensor in tensors(given):
            layout = with_constant(frame, layout, constant(tensor, name), name)
    elif treatment.constants == "trailing":
        for name in ("weight", "bias"):
            if is_tensor(given.get(name)):
                layout = with_constant(frame, layout, constant(given[name], name), name)
    elif treatment.constants == "rows":
        layout = _looked_up(frame, layout)
    elif treatment.constants == "listed":
        for tensor in listed(frame):
            dim = given["dim"] % len(layout)
            layout = _beside(frame, layout, constant(tensor, "a constant"), dim)
    elif treatment.constants == "copied":
        layout = _copied(frame, layout)
    return layout


def filling(node: Node) -> Constant | None:
    """What fills a result that reads nothing; None where that is not known."""
    given = arguments(node)
    source = given.get("src", given.get("value", 0 if node.op == "zero" else None))
    if node.op == "constant" and node.source is not None:
        source = node.source.args[0]
    if source is None or isinstance(source, Ref):
        return None
    if is_tensor(source):
        return constant(source, "a constant")
    return Constant((), "a constant", np.asarray(source))


def listed(frame: Frame) -> Iterator[TensorLike]:
    """The constant tensors that stand beside what derives from the input."""
    for name, tensor in tensors(arguments(frame.node)):
        if name in ("tensors", "self", "src") and tensor.numel():
            yield tensor


def is_mixed(frame: Frame) -> bool:
    """Whether constants that vary stand where no operand is read."""
    return any(not is_flat(constant(tensor, "")) for tensor in listed(frame))


def _looked_up(frame: Frame, layout: Layout) -> Layout:
    """Boundaries belong to what is looked up in them, by rows where there are several."""
    for name, tensor in tensors(arguments(frame.node)):
        known = constant(tensor, name)
        if name in ("sorted_sequence", "boundaries", "sorter"):
            if len(known.shape) < 2:
                continue
            known = known.by_rows()
        layout = with_constant(frame, layout, known, name)
    return layout


def _copied(frame: Frame, layout: Layout) -> Layout:
    """A constant that is copied, or looked up at what derives from the input.

    Where a row of it belongs to a position of the result, as the rule of the op says once it is
    asked for its constants too, it matters whether rows differ.
    """
    given = arguments(frame.node)
    if not any(moves(dim) for dim in layout) or not any(tensors(given)):
        return layout
    read = [*_constant_reads(frame)]
    in_table = any(not _is_asked(reads) for _, reads in read)
    for tensor, reads in read:
        is_index = _is_asked(reads)
        if (in_table or not is_index) and not is_flat(constant(tensor, "")):
            for one in reads:
                rows = _rows(frame, constant(tensor, "a constant"), one)
                layout = (
                    _doubtfully(frame, layout, rows)
                    if is_index
                    else with_constant(frame, layout, rows, "a constant")
                )
    return layout


def _is_asked(reads: Sequence[Read]) -> bool:
    """Whether a constant only says which elements of others are taken."""
    return all(read.kind.combines == "asked" for read in reads)


def _constant_reads(frame: Frame) -> Iterator[tuple[TensorLike, list[Read]]]:
    """Every constant tensor of the call, and how the result reads it.

    Raises BreaksError where the rule of the op cannot tell.
    """
    from fieldwise.capture.torch.rereading import reread_node

    again = reread_node(frame.node, frame.graph)
    if again is None:
        raise BreaksError(_UNKNOWN_READS)
    for number, tensor in enumerate(again.constants, len(frame.node.operands)):
        yield tensor, [read for read in again.reads[frame.position] if read.operand == number]


_UNKNOWN_READS = Fault("how it reads its constants is not known", known=False)


def _rows(frame: Frame, known: Constant, read: Read) -> Constant:
    """A constant in the rank of the result: which positions of it are given the same row.

    Raises BreaksError where positions and rows do not correspond one by one.
    """
    for step, before, after in read.forward(known.shape, frame.result):
        if isinstance(step, Reshape):
            known = known.spread(before).as_dims(after)
        else:
            known = known.by_rows_of(_places(known, step, after))
    return known


def _places(known: Constant, step: Separable, after: Shape) -> list[int | None]:
    """Per dimension after a step the one of the constant that it is."""
    places: dict[int, int] = {}
    for number, coord in enumerate(step.coords):
        if isinstance(coord, Along) and not known.uniform_along(number):
            if not coord.keeps(known.shape[number], after[coord.dim]):
                raise BreaksError(_UNKNOWN_READS)
            places[coord.dim] = number
    return [places.get(dim) for dim in range(len(after))]


def _doubtfully(frame: Frame, layout: Layout, known: Constant) -> Layout:
    """Against indices: rows that differ in place may still hold the same."""
    try:
        return with_constant(frame, layout, known, "a constant")
    except BreaksError as broken:
        raise BreaksError(*(replace(fault, known=False) for fault in broken.faults)) from None


def _beside(frame: Frame, layout: Layout, known: Constant, dim: int) -> Layout:
    """A constant that fills some indices of ``dim``: it matters how it varies along the others."""
    if len(known.shape) < len(layout):
        known = known.as_dims((*known.shape[:dim], 1, *known.shape[dim:]))
    own = stays(known.shape[dim])
    found = with_constant(frame, (*layout[:dim], own, *layout[dim + 1 :]), known, "a constant")
    return (*found[:dim], layout[dim], *found[dim + 1 :])


def with_constant(frame: Frame, layout: Layout, known: Constant, name: str) -> Layout:
    """The layout of an element-wise op with a constant, which is one of these arguments.

    Raises BreaksError where the constant varies along what moves.
    """
    names = frame.node.parameters
    what = f"'{names[0]}'" if len(names) == 1 else "a constant"
    if frame.node.op == "layer_norm":
        what = name
    elif len(names) > 1:
        what = f"a constant made of '{names[0]}' and others"
    return against(frame, layout, known, varies(frame.node.op, what))
