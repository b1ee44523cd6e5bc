"""The constants of a node against its layout: whether they vary along what moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.shift.constants import Constant, checked, constant, is_flat, tensors
from fieldwise.shift.frame import Frame
from fieldwise.shift.layout import Layout, stays
from fieldwise.shift.reasons import varies
from fieldwise.shift.treatment import Treatment


def with_constants(frame: Frame, treatment: Treatment, layout: Layout) -> Layout:
    """The layout after the op's constants have been looked at.

    Raises BreaksError where one varies along what moves.
    """
    given = arguments(frame.node)
    if treatment.constants == "broadcast":
        for name, tensor in tensors(given):
            layout = against(frame, layout, _aligned(constant(tensor, name), len(layout)), name)
    elif treatment.constants == "trailing":
        for name in ("weight", "bias"):
            if is_tensor(given.get(name)):
                known = _aligned(constant(given[name], name), len(layout))
                layout = against(frame, layout, known, name)
    elif treatment.constants == "rows":
        layout = _looked_up(frame, layout)
    elif treatment.constants == "listed":
        for tensor in listed(frame):
            dim = given["dim"] % len(layout)
            layout = _beside(frame, layout, constant(tensor, "a constant"), dim)
    return layout


def listed(frame: Frame) -> Iterator[Any]:
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
        layout = against(frame, layout, _aligned(known, len(layout)), name)
    return layout


def _aligned(known: Constant, rank: int) -> Constant:
    return known.as_dims((1,) * (rank - len(known.shape)) + known.shape)


def _beside(frame: Frame, layout: Layout, known: Constant, dim: int) -> Layout:
    """A constant that fills some indices of ``dim``: it matters how it varies along the others."""
    if len(known.shape) < len(layout):
        known = known.as_dims((*known.shape[:dim], 1, *known.shape[dim:]))
    own = stays(known.shape[dim])
    found = against(frame, (*layout[:dim], own, *layout[dim + 1 :]), known, "a constant")
    return (*found[:dim], layout[dim], *found[dim + 1 :])


def against(frame: Frame, layout: Layout, known: Constant, name: str) -> Layout:
    """The layout of an element-wise op with a constant of its rank.

    Raises BreaksError where the constant varies along what moves.
    """
    names = frame.node.parameters
    what = f"'{names[0]}'" if len(names) == 1 else "a constant"
    if frame.node.op == "layer_norm":
        what = name
    elif len(names) > 1:
        what = f"a constant made of '{names[0]}' and others"
    fault = varies(frame.node.op, what)
    return tuple(
        checked(layout, known, period=frame.period, axis_size=frame.axis_size, fault=fault)
    )
