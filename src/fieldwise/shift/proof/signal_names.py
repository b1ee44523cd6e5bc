"""Names of signals: two windows are pieces of one signal only where nothing tells them apart.

A slice of what moves is a window onto the same signal.  Whatever else is done to a value makes
another signal of it, and the same one only where the same is done to the same: the op, its
arguments and every operand, but for where the windows stand.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.graph.ir import Along, Kwargs, Read, Ref, Separable
from fieldwise.graph.treatment import POINTWISE, treatment
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import Layout, movers, size_of
from fieldwise.shift.proof.signal import Moving, SignalDigit
from fieldwise.shift.proof.spectrum import Spectrum


class SignalNames:
    """The names of the signals that a sweep meets, a number each."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def named(self, frame: Frame, layout: Layout) -> Layout:
        """The layout with the names of its signals, which stay what they were if it was only cut.

        frame: the step that made it
        """
        if not any(movers(layout)) or _only_cuts(frame) or _only_joins(frame, layout):
            return layout
        return tuple(
            tuple(
                tuple(
                    self._renamed(frame, digit, (place, number, depth))
                    for depth, digit in enumerate(part)
                )
                for number, part in enumerate(dim)
            )
            for place, dim in enumerate(layout)
        )

    def _renamed(
        self, frame: Frame, digit: SignalDigit, where: tuple[int, int, int]
    ) -> SignalDigit:
        if not isinstance(digit, Moving) or digit.origin[:1] == (frame.name,):
            return digit
        if not (given := arguments(frame.node)):
            return replace(digit, origin=(frame.name, *where))
        key = _done(frame, given, digit, where)
        return replace(digit, origin=(self._numbers.setdefault(key, len(self._numbers)),))


def _only_cuts(frame: Frame) -> bool:
    """Whether the node only moves, cuts or continues the one window of its operand."""
    reads = frame.node.reads[frame.position]
    if not copies(frame) or len(reads) != 1:
        return False
    return _passes_on(frame, reads[0]) and not _guarded(reads[0])


def _only_joins(frame: Frame, layout: Layout) -> bool:
    """Whether the node puts pieces of one signal side by side again, and nothing else."""
    reads, found = frame.node.reads[frame.position], list(movers(layout))
    if not copies(frame) or len(found) != 1:
        return False
    return all(
        _passes_on(frame, read)
        and all(any(movers((layout[dim],))) for dim in _guarded(read))
        and next(movers(frame.layout(read.operand))).origin == found[0].origin
        for read in reads
    )


def copies(frame: Frame) -> bool:
    """Whether every element of the result is one of an operand, at a place that no mask decides."""
    node, position = frame.node, frame.position
    copied = all(read.kind.combines == "one" for read in node.reads[position])
    return copied and treatment(node, position) is not POINTWISE


def _guarded(read: Read) -> list[int]:
    """The dimensions of which a read is at work for some indices only."""
    return [dim for step in read.steps if isinstance(step, Separable) for dim, _ in step.where]


def _passes_on(frame: Frame, read: Read) -> bool:
    """Whether an operand is read as it is, uncast, but for where it stands along what moves."""
    step, layout = read.single, frame.layout(read.operand)
    if step is None or len(list(movers(layout))) != 1:
        return False
    values, node = frame.graph.values, frame.node
    if values[node.operands[read.operand]].dtype != values[node.results[frame.position]].dtype:
        return False
    return len(step.coords) == len(frame.result) and all(
        isinstance(coord, Along)
        and coord.dim == dim
        and (any(movers((layout[dim],))) or coord.keeps(size_of(layout[dim]), frame.result[dim]))
        for dim, coord in enumerate(step.coords)
    )


def _done(frame: Frame, given: Kwargs, digit: Moving, where: tuple[int, int, int]) -> Hashable:
    """What was done to which signals, but for where their windows stand."""
    phase = digit.at % digit.grain if any(_is_table(value) for value in given.values()) else 0
    return (
        phase, frame.node.op, frame.position, where[0], where[2], digit.origin,
        tuple((name, _argument(frame, value, digit.at)) for name, value in sorted(given.items())),
    )  # fmt: skip


def _is_table(value: object) -> bool:
    """Whether a constant may differ between positions, so that it matters where a window stands."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return any(is_tensor(item) and item.numel() > 1 for item in items)


def _argument(frame: Frame, value: object, at: int) -> Hashable:
    if isinstance(value, Ref):
        return _operand(frame, value.operand, at)
    if is_tensor(value):
        return ("constant", id(value))
    if isinstance(value, (list, tuple)):
        return tuple(_argument(frame, item, at) for item in value)
    return (type(value).__name__, repr(value))


def _operand(frame: Frame, number: int, at: int) -> Hashable:
    layout = frame.layout(number)
    if not any(movers(layout)):
        return ("value", frame.node.operands[number])
    return tuple(tuple(tuple(_described(part, at)) for part in dim) for dim in layout)


def _described(part: tuple[SignalDigit, ...], at: int) -> Iterator[Hashable]:
    for digit in part:
        if isinstance(digit, Moving):
            yield (digit.origin, digit.at - at, digit.rate, digit.turn)
        elif isinstance(digit, Spectrum):
            yield ("spectrum", digit.first, digit.size, digit.order)
        else:
            yield (type(digit).__name__, digit.size)
