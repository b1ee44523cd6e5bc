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
from fieldwise.shift.proof.layout import Layout, moves
from fieldwise.shift.proof.reasons import varies
from fieldwise.shift.proof.signal import BreaksError, Fault
from fieldwise.shift.proof.variation import against


def with_constants(frame: Frame, treatment: Treatment, layout: Layout) -> Layout:
    """The layout after the op's constants have been looked at.

    Raises BreaksError where one varies along what moves.
    """
    if treatment.constants == "broadcast":
        for name, tensor in tensors(arguments(frame.node)):
            layout = with_constant(frame, layout, constant(tensor, name), name)
        return layout
    return _where_read(frame, layout)


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


def is_mixed(frame: Frame) -> bool:
    """Whether constants that vary may stand where no operand is read."""
    return any(not is_flat(constant(tensor, "")) for _, tensor in tensors(arguments(frame.node)))


def _where_read(frame: Frame, layout: Layout) -> Layout:
    """Constants that stand where the rule of the op reads them, once it is asked for them too.

    Where a row of one belongs to a position of the result, it matters whether rows differ.
    """
    names = {id(tensor): name for name, tensor in tensors(arguments(frame.node))}
    if not names or not any(moves(dim) for dim in layout):
        return layout
    read = [*_constant_reads(frame)]
    in_table = any(not _is_asked(reads) for _, reads in read)
    for tensor, reads in read:
        is_index = _is_asked(reads)
        if (is_index and not in_table) or not tensor.numel() or is_flat(constant(tensor, "")):
            continue
        known = constant(tensor, names[id(tensor)])
        against = _doubtfully if is_index else with_constant
        for one in reads:
            layout = against(frame, layout, _rows(frame, known, one), known.what)
    return layout


def _is_asked(reads: Sequence[Read]) -> bool:
    """Whether a constant only says which elements of others are taken."""
    return all(read.kind.combines == "asked" for read in reads)


def _constant_reads(frame: Frame) -> Iterator[tuple[TensorLike, list[Read]]]:
    """Every constant tensor of the call, and how the result reads it.

    Raises BreaksError where the rule of the op does not know.
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

    Along a dimension of which it fills some indices (cat), all that it holds is one row.

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
    places, filled = dict[int, int](), dict(step.where)
    for number, coord in enumerate(step.coords):
        if not isinstance(coord, Along) or coord.dim in filled:
            continue
        if not known.uniform_along(number):
            if not coord.keeps(known.shape[number], after[coord.dim]):
                raise BreaksError(_UNKNOWN_READS)
            places[coord.dim] = number
    return [places.get(dim) for dim in range(len(after))]


def _doubtfully(frame: Frame, layout: Layout, known: Constant, name: str) -> Layout:
    """Against indices: rows that differ in place may still hold the same."""
    try:
        return with_constant(frame, layout, known, name)
    except BreaksError as broken:
        raise BreaksError(*(replace(fault, known=False) for fault in broken.faults)) from None


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
