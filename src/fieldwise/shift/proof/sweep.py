"""``certify``: a proof, from the graph, of how every value answers a shift of the input.

One sweep per axis and theorem.  In the circular theorem the input is periodic and is rolled; in
the interior theorem it is a window of an unbounded signal, which is seen shifted.  The sweeps are
the same but for that: a layout per value says which of its positions move (``layout``), a step per
node carries it on (``step``), and the first node at which nothing can be said any more is kept as
the reason.  Whether it breaks the value for good is asked of numbers too (``witness``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import lcm

from fieldwise.axes import Border
from fieldwise.capture.models import as_source
from fieldwise.collecting import uncollected
from fieldwise.errors import UsageError
from fieldwise.field.sliding import reported_axes
from fieldwise.graph.calls import arguments
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Node, Value
from fieldwise.graph.names import aliases, called, names, resolve
from fieldwise.graph.spatial import Axes
from fieldwise.shift.certificate import Certificate, Certificates
from fieldwise.shift.proof.frame import Advanced, Frame
from fieldwise.shift.proof.generic_graph import generic_graph
from fieldwise.shift.proof.layout import Explainer, Layout, movers, moves, source_layout, stays
from fieldwise.shift.proof.reasons import Reasons, of_files
from fieldwise.shift.proof.samples import PickedSamples
from fieldwise.shift.proof.signal import BreaksError, Fault
from fieldwise.shift.proof.signal_names import SignalNames
from fieldwise.shift.proof.states import Follows, Lost, ProofState
from fieldwise.shift.proof.step import advanced, is_random
from fieldwise.shift.proof.undecided import handed_on, has_weights, merged_faults
from fieldwise.shift.proof.verdict import axis_certificate, clean_length, is_claimed


def certify(
    model: object,
    example: object = None,
    *,
    wrt: str | None = None,
    axes: Axes | None = None,
) -> Certificates:
    """How every value of a network answers a shift of its input, proven from the graph.

    model, example: as for ``receptive_fields``
    wrt:     the input that is shifted; by default the first
    axes:    of it; by default all from 2 on (for (batch, channels, *spatial)), the last one where
             there are fewer

    Other inputs are not shifted.  Parameters count as generic, and so does what is computed from
    them; other constants are judged by their values.  Before a value is called broken, numbers are
    asked, as far as that costs little (see ``witness``).

    Raises CaptureError where the model cannot be recorded, UsageError for an unknown input or axis,
    or an axis without positions.
    """
    model, example = as_source(model, example)
    graph = generic_graph(model, example)
    source = graph.values[graph.inputs[0] if wrt is None else resolve(graph, wrt)]
    chosen = reported_axes(graph, source, axes)
    for axis in chosen:
        if not source.shape[axis]:
            raise UsageError(f"Axis {axis} of '{source.name}' is empty; nothing can be shifted.")
    with uncollected():
        sweeps = {
            axis: tuple(_Sweep(graph, source, axis, circular=c).run() for c in (True, False))
            for axis in chosen
        }
    shown, spelled = _names(graph), names(graph)
    values = tuple(_dependent(graph, source.name))
    refuted = _refuted(
        graph, source, {axis: circular for axis, (circular, _) in sweeps.items()}, values, example
    )
    found: dict[str, Certificate] = {}
    with uncollected():
        for value in values:
            certified = tuple(
                axis_certificate(
                    axis,
                    source.shape[axis],
                    *(sweep[value] for sweep in sweeps[axis]),
                    value=value,
                    refuted=(value, axis) in refuted,
                )
                for axis in chosen
            )
            name = shown.get(value, value)
            every = tuple(dict.fromkeys((name, *spelled[value])))
            found[value] = Certificate(name, value, graph.shape(value), certified, every)
    return Certificates(graph, source.name, chosen, found)


def _refuted(
    graph: Graph,
    source: Value,
    states: Mapping[int, Mapping[str, ProofState]],
    values: Sequence[str],
    example: object,
) -> frozenset[tuple[str, int]]:
    """The values that would be called broken, and the axes, of which numbers show the contrary.

    states: of the circular sweep, per axis
    """
    claims: dict[str, dict[int, bool]] = {}
    for axis, found in states.items():
        for value in values:
            if is_claimed(found[value]):
                claims.setdefault(value, {})[axis] = isinstance(found[value], Follows)
    if not claims or any(node.source is None for node in graph.nodes):
        return frozenset()
    from fieldwise.capture.torch.tree import tensors_in
    from fieldwise.shift.proof.witness import refuted

    given = {id(tensor): tensor for tensor in tensors_in(example)}
    return refuted(graph, source.name, claims, tuple(given.values()))


def _names(graph: Graph) -> dict[str, str]:
    """What reports call a value: the user's key of an output, or the module that returned it."""
    keys = dict(zip(graph.outputs, graph.output_names, strict=False))
    keys = {value: key for value, key in keys.items() if not key.isdecimal()}
    return {value: known[0] for value, known in aliases(graph).items() if known} | keys


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


class _Sweep:
    """One theorem along one axis of the source: what is known of every value.

    circular: the input is periodic; else it is a window of an unbounded signal
    """

    def __init__(self, graph: Graph, source: Value, axis: int, *, circular: bool) -> None:
        self.graph, self.source, self.axis, self.circular = graph, source, axis, circular
        self.size = source.shape[axis]
        self.names = SignalNames()
        self.samples = PickedSamples()

    def run(self) -> Mapping[str, ProofState]:
        """By value, in execution order."""
        states: dict[str, ProofState] = {
            name: Follows(tuple(map(stays, self.graph.shape(name)))) for name in self.graph.inputs
        }
        layout = source_layout(self.source.shape, self.axis, circular=self.circular)
        states[self.source.name] = Follows(layout)
        for node in self.graph.nodes:
            for position, name in enumerate(node.results):
                if name != self.source.name:
                    states[name] = self._next(node, position, states)
        return states

    def _next(self, node: Node, position: int, states: Mapping[str, ProofState]) -> ProofState:
        read = dict.fromkeys(read.operand for read in node.reads[position])
        operands = {number: states[node.operands[number]] for number in read}
        name = node.results[position]
        known = handed_on(_inherited(operands.values()), node, self.graph, _shifted(node, operands))
        followed = {n: state for n, state in operands.items() if isinstance(state, Follows)}
        if len(followed) < len(operands) and not self.samples.knows(node):
            return Lost(known)
        before = lcm(*(state.period for state in followed.values()))
        reasons = Reasons(node.op, arguments(node), self.size)
        explainer = Explainer(name, lambda *window: self._placed(reasons(*window), name, node))
        layouts = {number: state.layout for number, state in followed.items()}
        frame = Frame(self.graph, node, position, layouts, before, self.size, explainer)
        state = self._carried_on(frame, operands, known)
        rows = self.samples.followed(frame, operands)
        return (
            state
            if rows is None or self._is_full_turn(frame, rows.period)
            else max(state, rows, key=_known_of)
        )

    def _carried_on(
        self, frame: Frame, operands: Mapping[int, ProofState], known: tuple[Fault, ...]
    ) -> ProofState:
        """What the positions of the operands become, each of which has to move."""
        if any(isinstance(state, Lost) for state in operands.values()):
            return Lost(known)
        try:
            layout, period = self._followed(frame)
        except BreaksError as broken:
            faults = (self._placed(fault, frame.name, frame.node) for fault in broken.faults)
            return Lost(merged_faults((*known, *faults)))
        wraps = _wraps(frame.node) or any(
            state.wraps for state in operands.values() if isinstance(state, Follows)
        )
        return Follows(layout, period, wraps)

    def _placed(self, fault: Fault, name: str, node: Node) -> Fault:
        """A fault at the node that makes this value, in the words of the file that it is from."""
        if fault.node:
            return fault
        if node.operator and fault.remedy:
            fault = replace(fault, remedy=of_files(fault.remedy))
        name = called(self.graph, name)
        return replace(fault, node=name, module=node.module, settled=has_weights(node))

    def _followed(self, frame: Frame) -> tuple[Layout, int]:
        """The layout of a result, its signals named, and the period at which it moves."""
        made = _made(frame)
        period = lcm(frame.period, made.period)
        if self._is_full_turn(frame, period):
            why = f"only the periodic wrap of the axis is left, {period} of {self.size}"
            raise BreaksError(Fault(why, "use a larger input"))
        return self.names.named(frame, made.layout), period

    def _is_full_turn(self, frame: Frame, period: int) -> bool:
        """Whether a node leaves no shift but whole turns of the axis."""
        return self.circular and period % self.size == 0 and bool(frame.period % self.size)


def _known_of(state: ProofState) -> tuple[bool, int]:
    """How much is known of a value: whether its windows are whole, and its longest clean run."""
    if isinstance(state, Lost):
        return (False, -1)
    unfaulted = not any(moving.faults for moving in movers(state.layout))
    return (unfaulted, clean_length(state))


def _wraps(node: Node) -> bool:
    """Whether a node pads circularly."""
    return node.op == "pad" and any(
        isinstance(coord, Along) and coord.border is Border.WRAP and not coord.map.is_identity
        for coord in node.coords()
    )


def _made(frame: Frame) -> Advanced:
    if is_random(frame):
        raise BreaksError(Fault("it draws at random", "call model.eval()"))
    try:
        return advanced(frame)
    except BreaksError:
        if any(moves(dim) for layout in frame.layouts.values() for dim in layout):
            raise
        return Advanced.of(tuple(map(stays, frame.result)))


def _shifted(node: Node, operands: Mapping[int, ProofState]) -> int:
    """How many of a node's operands a shift of the input changes."""
    return len({
        node.operands[number]
        for number, state in operands.items()
        if isinstance(state, Lost) or any(map(moves, state.layout))
    })  # fmt: skip


def _inherited(states: Iterable[ProofState]) -> Iterator[Fault]:
    """What has been broken already, among the operands of a node."""
    for state in states:
        if isinstance(state, Lost):
            yield from state.faults
        else:
            for moving in movers(state.layout):
                yield from (fault for condition, fault in moving.faults if condition != "long")
