"""Fourier transforms: a shift turns the phase of every frequency, and the inverse undoes that.

Between a transform and its inverse a frequency may be scaled by anything that does not move, and
dropped; nothing else keeps its phase.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fieldwise.axes import IndexSet
from fieldwise.graph.calls import arguments, op_name
from fieldwise.graph.ir import Ref
from fieldwise.shift.constants import tensors
from fieldwise.shift.contract import Frame, read_whole
from fieldwise.shift.layout import Dim, Layout, as_window, has_spectrum, moves, size_of, stays
from fieldwise.shift.moving import BreaksError, Fault, Moving, Spectrum

_SCALES = frozenset({"mul", "multiply", "matmul", "einsum", "linear"})
_ADDS = frozenset({"add", "sub", "subtract"})
_CARRIES = frozenset({
    "neg", "negative", "clone", "alias", "detach", "to", "lift_fresh", "permute", "reshape",
    "slice", "pad", "unbind", "split", "select", "expand", "fft",
})  # fmt: skip


def is_spectral(frame: Frame) -> bool:
    """Whether some operand holds frequencies."""
    return any(has_spectrum(dim) for layout in frame.layouts.values() for dim in layout)


def check_phases(frame: Frame) -> None:
    """Check that an op keeps the phases of the frequencies that it is given.

    Raises BreaksError where it does not, or nobody has said so.
    """
    op, given = frame.node.op, arguments(frame.node)
    turned = [
        ref.operand in frame.layouts and any(map(has_spectrum, frame.layout(ref.operand)))
        for ref in _refs(given)
    ]
    biased = given.get("bias") is not None or given.get("value") not in (None, 0, 0.0)
    fits = (
        op in _CARRIES
        or (op in _SCALES and sum(turned) == 1)
        or (op in ("div", "true_divide") and turned == [True])
        or (op in _ADDS and turned == [True, True] and not list(tensors(given)))
    )
    if not fits or biased:
        raise BreaksError(Fault(f"'{op}' does not keep the phases of a spectrum"))


def _refs(given: dict[str, Any]) -> list[Ref]:
    found = []
    for value in given.values():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, Ref):
                found.append(item)
    return found


def transformed(frame: Frame) -> Layout:
    """The layout of a Fourier transform, forward or back.

    Raises BreaksError where the axis is not whole, or frequencies are not where they belong.
    """
    given, name = arguments(frame.node), op_name(frame.node)
    layout = frame.layout(frame.node.reads[frame.position][0].operand)
    rank = len(layout)
    dims = {dim % rank for dim in given["dim"]}
    forward = name == "_fft_r2c" or bool(given.get("forward"))
    change = _forward if forward else _back
    return tuple(
        change(frame, dim, number, frame.result[number]) if number in dims else dim
        for number, dim in enumerate(layout)
    )


def _forward(frame: Frame, dim: Dim, _: int, after: int) -> Dim:
    if not moves(dim):
        return stays(after)
    read_whole(dim)
    window = as_window(dim, frame.voice.about())
    assert isinstance(window, Moving)
    return ((Spectrum(after, window.rate, window.size),),)


def _back(frame: Frame, dim: Dim, number: int, after: int) -> Dim:
    if not moves(dim):
        return stays(after)
    digit = dim[0][0]
    if not isinstance(digit, Spectrum) or size_of(dim) != digit.size or after != digit.turn:
        raise BreaksError(Fault("it transforms back to another size, or what is no spectrum"))
    clean = IndexSet.range(0, after)
    return ((Moving(after, Fraction(digit.rate), after, clean, (frame.voice.name, number)),),)
