"""Fourier transforms: a shift turns the phase of every frequency, and the inverse undoes that.

Neural operators (FNO) are of this kind, and filters in the spectrum.  Between a transform and its
inverse a frequency may be scaled by anything that does not move, and dropped; nothing else keeps
its phase.  Transformed back to m of n samples, frequency k still turns by k/n of a circle per
sample, which is what it takes to move the m by m/n of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from fieldwise.axes import IndexSet
from fieldwise.graph.calls import arguments, is_tensor, op_name
from fieldwise.graph.constants import Constant, constant, tensors
from fieldwise.graph.ir import Kwargs, Ref
from fieldwise.shift.proof.combine import joined
from fieldwise.shift.proof.constants import filling
from fieldwise.shift.proof.frame import Advanced, Frame, check_read_whole
from fieldwise.shift.proof.layout import (
    Dim,
    Layout,
    as_window,
    has_spectrum,
    moves,
    size_of,
    stays,
    uniform,
)
from fieldwise.shift.proof.signal import BreaksError, Fault, Moving
from fieldwise.shift.proof.spectrum import Spectrum

_SCALES = frozenset({"mul", "multiply", "matmul", "einsum", "linear"})
_ADDS = frozenset({"add", "sub", "subtract"})
_CARRIES = frozenset({
    "neg", "negative", "clone", "alias", "detach", "to", "lift_fresh", "permute", "reshape",
    "slice", "pad", "unbind", "split", "select", "expand", "fft", "copy", "slice_scatter",
    "select_scatter", "alias_scatter", "permute_scatter", "cat", "stack", "roll", "flip", "index",
    "index_select",
})  # fmt: skip
_CUTS = frozenset({"slice", "select", "reshape", "permute", "expand", "clone", "alias", "detach"})
_CONJUGATES = frozenset({"_conj", "conj_physical", "_conj_physical"})


def is_spectral(frame: Frame) -> bool:
    """Whether some operand holds frequencies."""
    return any(has_spectrum(dim) for layout in frame.layouts.values() for dim in layout)


def met_phases(frame: Frame) -> Advanced | None:
    """What phases become that vanish, or turn round; None for an op that keeps them, or meets none.

    Raises BreaksError where it may do anything else with them.
    """
    if not is_spectral(frame):
        return None
    layout = _turned_phases(frame)
    if layout is not None:
        return Advanced.of(layout)
    _check_phases(frame)
    return None


def _check_phases(frame: Frame) -> None:
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
        or (op in ("div", "true_divide") and turned[:1] == [True] and sum(turned) == 1)
        or (op in _ADDS and turned == [True, True] and not list(tensors(given)))
        or (op == "masked_fill" and given.get("value") in (0, 0.0))
        or (op == "where" and _keeps(given))
    )
    real = not frame.graph.values[frame.node.results[frame.position]].dtype.startswith("complex")
    constants = op in ("cat", "stack") and list(tensors(given))
    if not fits or biased or constants or (real and op != "fft"):
        raise BreaksError(Fault(f"'{op}' may not keep the phases of a spectrum", known=False))


def _keeps(given: Kwargs) -> bool:
    """Whether ``where`` puts zeros for what it drops."""
    others = [given[name] for name in ("self", "other") if not isinstance(given[name], Ref)]
    return len(others) == 1 and is_tensor(others[0]) and _is_zero(constant(others[0], ""))


def _is_zero(known: Constant) -> bool:
    return known.values is not None and not known.values.any()


def _turned_phases(frame: Frame) -> Layout | None:
    """The layout where phases vanish, or turn round: magnitudes, X times its conjugate, conjugates.

    None for any other op.
    """
    op, given = frame.node.op, arguments(frame.node)
    layouts = [frame.layout(ref.operand) for ref in _refs(given)]
    if op == "abs":
        return tuple(stays(size_of(dim)) if has_spectrum(dim) else dim for dim in layouts[0])
    if op in _CONJUGATES:
        return _conjugated(layouts[0])
    if op not in ("mul", "multiply") or len(layouts) != 2 or list(tensors(given)):
        return None
    one, two = layouts
    turned = [n for n, dim in enumerate(one) if has_spectrum(dim)]
    if len(one) != len(two) or not turned or len(one) != len(frame.result):
        return None
    opposite = _conjugated(two)
    if any(one[n] != opposite[n] for n in turned) or any(
        has_spectrum(dim) for n, dim in enumerate(two) if n not in turned
    ):
        return None
    return tuple(
        stays(size_of(a)) if n in turned else joined(*_spread(a, b), frame.explainer, n)
        for n, (a, b) in enumerate(zip(one, two, strict=True))
    )


def _spread(one: Dim, two: Dim) -> tuple[Dim, Dim]:
    """Two dimensions at the same size; what is read at one index everywhere is uniform."""
    size = max(size_of(one), size_of(two))
    if any(size_of(dim) < size and moves(dim) for dim in (one, two)):
        raise BreaksError(Fault("it repeats a single position", known=False))
    return (
        one if size_of(one) == size else uniform(size),
        two if size_of(two) == size else uniform(size),
    )


def _conjugated(layout: Layout) -> Layout:
    """The layout with frequencies that turn the other way."""
    return tuple(
        tuple(
            tuple(replace(d, sign=-d.sign) if isinstance(d, Spectrum) else d for d in part)
            for part in dim
        )
        for dim in layout
    )


def check_zeros(
    frame: Frame, layouts: Sequence[Layout], guards: Sequence[dict[int, IndexSet]]
) -> list[dict[int, IndexSet]]:
    """The guards without those along frequencies, beside which only zeros and frequencies stand.

    Raises BreaksError where anything else does, or frequencies are in another place.
    """
    turned = {n for layout in layouts for n, dim in enumerate(layout) if has_spectrum(dim)}
    for read, layout in zip(frame.node.reads[frame.position], layouts, strict=True):
        spectral = all(has_spectrum(layout[n]) for n in turned)
        if not spectral and not _holds_zeros(frame, frame.node.operands[read.operand]):
            raise BreaksError(Fault("it puts something beside frequencies", known=False))
    return [{n: guard[n] for n in guard if n not in turned} for guard in guards]


def _holds_zeros(frame: Frame, name: str) -> bool:
    node = frame.graph.producer(name)
    if node is None:
        return False
    if node.op in _CUTS:
        return all(_holds_zeros(frame, operand) for operand in node.operands)
    known = None if any(node.reads) else filling(node)
    return known is not None and _is_zero(known)


def _refs(given: Kwargs) -> list[Ref]:
    found = []
    for value in given.values():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, Ref):
                found.append(item)
    return found


def transformed(frame: Frame) -> Advanced:
    """What a Fourier transform makes: of a signal the frequencies, of frequencies a signal.

    Raises BreaksError where the axis is not whole, or frequencies are not where they belong.
    """
    given, name = arguments(frame.node), op_name(frame.node)
    layout = frame.layout(frame.node.reads[frame.position][0].operand)
    dims = {dim % len(layout) for dim in given["dim"]}
    sign = 1 if name == "_fft_r2c" or given.get("forward") else -1
    return Advanced.of(
        tuple(
            _transformed(frame, dim, number, sign) if number in dims else dim
            for number, dim in enumerate(layout)
        )
    )


def _transformed(frame: Frame, dim: Dim, number: int, sign: int) -> Dim:
    """One dimension; a sign of 1 is that of the transform forward."""
    after = frame.result[number]
    if not moves(dim):
        return stays(after)
    if has_spectrum(dim):
        return ((_signal(frame, dim, number, sign),),)
    check_read_whole(dim)
    window = as_window(dim, frame.explainer.about())
    assert isinstance(window, Moving)
    if not window.whole:
        raise BreaksError(Fault("it transforms several signals side by side"))
    return ((Spectrum(after, window.rate, window.size, sign=sign),),)


def _signal(frame: Frame, dim: Dim, number: int, sign: int) -> Moving:
    digit, after = dim[0][0], frame.result[number]
    if len(dim) > 1 or len(dim[0]) > 1 or not isinstance(digit, Spectrum) or not digit.in_order:
        raise BreaksError(Fault("it transforms back frequencies in another order", known=False))
    rate = -sign * digit.sign * digit.rate * Fraction(after, digit.turn)
    return Moving(after, rate, after, IndexSet.range(0, after), (frame.name, number))
