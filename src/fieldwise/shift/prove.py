"""``certify``: a proof, from the graph, of how every value answers a shift of the input.

One sweep per axis and theorem.  In the circular theorem the input is periodic and is rolled; in
the interior theorem it is a window of an unbounded signal, which is seen shifted.  The sweeps are
the same but for that: a layout per value says which of its positions move (``layout``), a step per
node carries it on (``step``), and the first node at which nothing can be said any more is kept as
the reason.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, lcm
from typing import Any

from fieldwise.axes import IndexSet
from fieldwise.capture.graphs import graph_of
from fieldwise.graph.calls import arguments
from fieldwise.graph.ir import Graph, Node, Value
from fieldwise.graph.names import aliases, resolve
from fieldwise.graph.spatial import spatial_axes
from fieldwise.shift.certificate import (
    AxisCertificate,
    Breaker,
    Certificate,
    Certificates,
    Circular,
    Interior,
    Move,
)
from fieldwise.shift.constants import constant
from fieldwise.shift.frame import Frame
from fieldwise.shift.layout import (
    Layout,
    Voice,
    has_spectrum,
    length,
    movers,
    moves,
    period_of,
    source_layout,
    stays,
    uniform,
)
from fieldwise.shift.moving import BreaksError, Fault, Moving
from fieldwise.shift.reasons import Reasons
from fieldwise.shift.step import advanced, is_random


def certify(
    model: Any,
    example: Any = None,
    *,
    wrt: str | None = None,
    axes: Sequence[int] | None = None,
) -> Certificates:
    """How every value of a network answers a shift of its input, proven from the graph.

    model:   a captured ``Graph``, or a ``torch.nn.Module`` with an ``example`` input: a tensor, a
             tuple or dict of tensors, or the shape of the only input
    wrt:     the input that is shifted; by default the first
    axes:    of it; by default all from 2 on (for (batch, channels, *spatial)), the last one where
             there are fewer

    Other inputs are not shifted.  Parameters count as generic, other constants are judged by
    their values.  Raises CaptureError where the model cannot be recorded, UsageError for an
    unknown input or axis.
    """
    graph = graph_of(model, example)
    source = graph.values[graph.inputs[0] if wrt is None else resolve(graph, wrt)]
    chosen = spatial_axes(source, axes)
    sweeps = {
        axis: tuple(_sweep(graph, source, axis, circular=c) for c in (True, False))
        for axis in chosen
    }
    names = _names(graph)
    found: dict[str, Certificate] = {}
    for value in _dependent(graph, source.name):
        certified = tuple(
            _axis_certificate(axis, source.shape[axis], *(sweep[value] for sweep in sweeps[axis]))
            for axis in chosen
        )
        found[value] = Certificate(names.get(value, value), value, graph.shape(value), certified)
    return Certificates(graph, source.name, chosen, found)


def _names(graph: Graph) -> dict[str, str]:
    """What reports call a value: the user's key of an output, or the module that returned it."""
    keys = dict(zip(graph.outputs, graph.output_names, strict=False))
    keys = {value: key for value, key in keys.items() if not key.isdecimal()}
    return {value: names[0] for value, names in aliases(graph).items() if names} | keys


def _dependent(graph: Graph, source: str) -> Iterator[str]:
    """The values that depend on the source, in execution order."""
    found = {source}
    yield source
    for node in graph.nodes:
        for name, reads in zip(node.results, node.reads, strict=True):
            if any(node.operands[read.operand] in found for read in reads) and name not in found:
                found.add(name)
                yield name


# -------------------------------------------------------------------- the sweep


@dataclass(frozen=True, slots=True)
class _Follows:
    """A value that is followed: how it moves under shifts by multiples of ``period``."""

    layout: Layout
    period: int = 1


@dataclass(frozen=True, slots=True)
class _Lost:
    """A value of which nothing is known any more, and why."""

    faults: tuple[Fault, ...]


_State = _Follows | _Lost


def _sweep(graph: Graph, source: Value, axis: int, *, circular: bool) -> Mapping[str, _State]:
    states: dict[str, _State] = {
        name: _Follows(tuple(map(stays, graph.shape(name)))) for name in graph.inputs
    }
    states[source.name] = _Follows(source_layout(source.shape, axis, circular=circular))
    size, names = source.shape[axis], dict[Hashable, int]()
    for node in graph.nodes:
        for position, name in enumerate(node.results):
            if name != source.name:
                states[name] = _next(graph, node, position, states, size, names, circular=circular)
    return states


def _next(
    graph: Graph,
    node: Node,
    position: int,
    states: Mapping[str, _State],
    size: int,
    names: dict[Hashable, int],
    *,
    circular: bool,
) -> _State:
    read = dict.fromkeys(read.operand for read in node.reads[position])
    operands = {number: states[node.operands[number]] for number in read}
    inherited = tuple(dict.fromkeys(_inherited(operands.values())))
    if any(isinstance(state, _Lost) for state in operands.values()):
        return _Lost(inherited)
    layouts = {n: state.layout for n, state in operands.items() if isinstance(state, _Follows)}
    before = lcm(*(state.period for state in operands.values() if isinstance(state, _Follows)))
    name = node.results[position]
    reasons = Reasons(node.op, arguments(node), size)
    voice = Voice(name, lambda *told: _placed(reasons(*told), name, node))
    frame = Frame(graph, node, position, layouts, before, size, voice, names=names)
    try:
        layout = _layout(frame, layouts)
        period = lcm(before, period_of(layout), *frame.met)
        if circular and period % size == 0 and before % size:
            raise BreaksError(
                Fault(f"only a full turn of the axis is left, {period} of {size}", _LARGER)
            )
    except BreaksError as broken:
        faults = (_placed(fault, name, node) for fault in broken.faults)
        return _Lost(tuple(dict.fromkeys((*inherited, *faults))))
    return _Follows(layout, period)


_LARGER = "use a larger input"


def _layout(frame: Frame, layouts: Mapping[int, Layout]) -> Layout:
    if frame.node.op == "constant" and frame.node.source is not None:
        known = constant(frame.node.source.args[0], "a constant")
        return tuple(
            uniform(n) if known.uniform_along(dim) else stays(n)
            for dim, n in enumerate(known.shape)
        )
    if is_random(frame):
        raise BreaksError(Fault("it draws at random", "call model.eval()"))
    if any(moves(dim) for layout in layouts.values() for dim in layout):
        return advanced(frame)
    try:
        return advanced(frame)
    except BreaksError:
        return tuple(map(stays, frame.result))


def _placed(fault: Fault, name: str, node: Node) -> Fault:
    return fault if fault.node else replace(fault, node=name, module=node.module)


def _inherited(states: Any) -> Iterator[Fault]:
    """What has been broken already, among the operands of a node."""
    for state in states:
        if isinstance(state, _Lost):
            yield from state.faults
        else:
            for moving in movers(state.layout):
                yield from (fault for condition, fault in moving.faults if condition != "long")


# -------------------------------------------------------------------- certificates


def _axis_certificate(axis: int, size: int, circular: _State, interior: _State) -> AxisCertificate:
    faults = tuple(dict.fromkeys(_faults(circular)))
    inside = _interior(interior)
    return AxisCertificate(
        axis=axis,
        size=size,
        circular=_broken(faults) if faults else _circular(circular, size),
        interior=inside,
        broken_by=_breakers(faults, axis),
        emptied_by=_breakers(_faults(interior), axis) if inside.empty else (),
    )


def _breakers(faults: Sequence[Fault], axis: int) -> tuple[Breaker, ...]:
    return tuple(
        Breaker(fault.node, fault.module, axis, fault.why, fault.remedy, fault.known)
        for fault in dict.fromkeys(faults)
    )


def _faults(state: _State) -> tuple[Fault, ...]:
    if isinstance(state, _Lost):
        return state.faults
    if any(map(has_spectrum, state.layout)):
        return (Fault("it is a spectrum, which turns its phases instead of moving"),)
    return tuple(fault for moving in movers(state.layout) for _, fault in moving.faults)


def _broken(faults: Sequence[Fault]) -> Circular:
    return Circular(holds=False, undecided=not any(fault.known for fault in faults))


def _circular(state: _State, size: int) -> Circular:
    assert isinstance(state, _Follows)
    period = gcd(state.period, size)
    found = tuple(
        replace(move, step=_step(state.period, moving, period, size))
        for move, moving in _moves(state.layout, state.period)
    )
    steps = {move.step * move.inner for move in found}
    conditions = (f"the size of the axis is a multiple of {period}",) if period > 1 else ()
    step = next(iter(steps), 0) if len(steps) < 2 else None
    return Circular(True, period, step, conditions, found)


def _step(proven: int, moving: Moving, period: int, size: int) -> int:
    """The step at the common divisor of the proven period and the size of the axis.

    Multiples of the proven period reach it after some turns of the axis.
    """
    assert moving.turn is not None
    natural = moving.rate * period
    if natural.denominator == 1 and moving.rate * size % moving.turn == 0:
        return int(natural)
    times = next(k for k in range(1, size + 1) if (k * proven - period) % size == 0)
    step = times * moving.step(proven) % moving.turn
    return step if 2 * step <= moving.turn else step - moving.turn


def _interior(state: _State) -> Interior:
    if isinstance(state, _Lost):
        return Interior()
    found = tuple(_moves(state.layout, state.period))
    ranges = [(_range(move, moving.clean), move) for move, moving in found if moving.clean]
    if not ranges:
        return Interior()
    best, move = max(ranges, key=lambda pair: pair[0][1] - pair[0][0])
    return Interior(best, state.period, move.step * move.inner, tuple(move for move, _ in found))


def _range(move: Move, clean: IndexSet) -> tuple[int, int]:
    """The longest run of clean positions, as [start, stop)."""
    first, last = max(clean.runs(), key=lambda run: run[1] - run[0])
    if move.outer > 1:
        return first, last
    return move.start + first * move.inner, move.start + last * move.inner


def _moves(layout: Layout, period: int) -> Iterator[tuple[Move, Moving]]:
    for dim, parts in enumerate(layout):
        start = 0
        for part in parts:
            stop = start + length(part)
            for place, digit in enumerate(part):
                if isinstance(digit, Moving):
                    outer, inner = length(part[:place]), length(part[place + 1 :])
                    step = digit.step(period)
                    yield Move(dim, start, stop, outer, digit.size, inner, step), digit
            start = stop
