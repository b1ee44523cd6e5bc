"""The planner: read off the graph alone where every affine op can go.

An op is taken towards the input first, in execution order, so that a chain conv → bn → bn folds
twice into the conv; what is left goes towards the output, in reverse order, so that bn → bn →
conv does; what is left then may go into a BatchNorm that stays.  On the way the op passes layout
ops and averages, every branch of a concatenation takes its part, all summands of a sum take the
scale and one takes the shift.  Every value that it passes must have no other reader.  An op on a
branch that is added to a convolution of the same value goes into that convolution.  At last
convolutions that are added to each other become one (see ``merging``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fieldwise.fold.candidates import Candidate, candidates
from fieldwise.fold.labels import Labels, per_channel, pulled, pushed
from fieldwise.fold.layers import Layer, centre_tap, check_forward, layer_of
from fieldwise.fold.merging import merged
from fieldwise.fold.passing import MAXIMUM, check_passes
from fieldwise.fold.plan import Absorption, Bans, Fold, Plan
from fieldwise.fold.refusal import Stays
from fieldwise.fold.report import Direction
from fieldwise.fold.runs import torn
from fieldwise.fold.wiring import Summand, Wiring, is_sum, places
from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.graph.ir import Graph, Node


def plan(graph: Graph, bans: Bans | None = None, *, merge: bool = True) -> Plan:
    """Where every affine op of a graph goes, or why it stays.

    bans:  what is not to be done, by (number of the node, direction), with the reason
    merge: whether convolutions of one value that are added to each other become one
    """
    forbidden = dict(bans or {})
    found = candidates(graph)
    while True:
        planner = _Planner(graph, found, forbidden)
        made = planner.run()
        again = dict(torn(graph, made.folds))
        if not again:
            break
        forbidden |= again
    if not merge:
        return made
    merges, apart = merged(planner.wiring, forbidden)
    return Plan(made.folds, made.stays, merges, apart)


class _Planner:
    """One pass over the candidates of a graph."""

    def __init__(self, graph: Graph, found: Sequence[Candidate], bans: Bans) -> None:
        self.graph = graph
        self.found = found
        self.bans = bans
        self.wiring = Wiring(graph)
        self.done: set[int] = set()
        self.why: dict[int, dict[Direction, str]] = defaultdict(dict)
        self.through_norms = False
        self.under_way: Candidate | None = None

    def run(self) -> Plan:
        """Backward, forward, into parallel branches, then into BatchNorms that stay."""
        folds = [*self._pass("backward"), *self._pass("forward"), *self._pass("merge")]
        self.through_norms = True
        folds += [*self._pass("backward"), *self._pass("forward")]
        stays = tuple(
            (candidate, self._because(candidate))
            for candidate in self.found
            if candidate.number not in self.done
        )
        return Plan(tuple(folds), stays)

    def _pass(self, direction: Direction) -> Iterator[Fold]:
        order = self.found if direction == "backward" else self.found[::-1]
        for candidate in order:
            if candidate.number in self.done or candidate.refusal:
                continue
            try:
                taken = self._taken(candidate, direction)
            except Stays as answer:
                self.why[candidate.number].setdefault(direction, answer.because)
                continue
            self.done.add(candidate.number)
            if not candidate.forward_only:
                self.wiring.gone.add(candidate.number)
            yield Fold(candidate, direction, taken)

    def _taken(self, candidate: Candidate, direction: Direction) -> tuple[Absorption, ...]:
        if (candidate.number, direction) in self.bans:
            raise Stays(self.bans[candidate.number, direction])
        self.under_way = candidate
        shifts = candidate.shifts
        if direction == "forward":
            taken = tuple(self._forward(candidate.result, candidate.labels, shifts=shifts))
            if not taken:
                raise Stays("nothing reads it")
            return taken
        if candidate.forward_only:
            raise Stays(f"{candidate.node.op} normalises before it scales and shifts")
        if direction == "merge":
            return self._merged(candidate)
        value = candidate.node.operands[0]
        return tuple(self._backward(value, candidate.labels, candidate.number, shifts=shifts))

    def _because(self, candidate: Candidate) -> str:
        if candidate.refusal:
            return candidate.refusal
        why = self.why[candidate.number]
        if candidate.forward_only:
            return why["forward"]
        if why["backward"] == why["forward"]:
            return why["backward"]
        said = f"towards the input: {why['backward']}; towards the output: {why['forward']}"
        merged = why.get("merge", _ALONE)
        return said if merged == _ALONE else f"{said}; into a parallel branch: {merged}"

    # ---------------------------------------------------------------- towards the input

    def _backward(
        self, value: str, labels: Labels, reader: int, *, shifts: bool
    ) -> Iterator[Absorption]:
        """What takes the affine op so that ``value`` itself already carries it."""
        self.wiring.check_unshared(value, reader)
        number = self.wiring.producer.get(value)
        if number is None:
            raise Stays(f"it reads '{value}', an input of the model")
        node = self.graph.nodes[number]
        if number in self.wiring.gone:
            yield from self._backward(node.operands[0], labels, number, shifts=shifts)
        elif (layer := self._layer(number)) is not None:
            channels = self.graph.shape(value)[layer.out]
            spread = per_channel(labels, layer.out, channels, value)
            yield Absorption(layer, "after", spread, shifts)
        elif node.op == "cat":
            yield from self._into_parts(number, node, labels, shifts=shifts)
        elif is_sum(node):
            yield from self._into_summands(number, node, labels, shifts=shifts)
        elif self._passes(number, shifts=shifts):
            place = places(node)[0]
            read = self.wiring.only_read(node, value, place)
            shared = any(self.wiring.is_used(other) for other in node.results if other != value)
            source = node.operands[place]
            through = pulled(labels, read, *self.wiring.shapes(source, value), shared=shared)
            yield from self._backward(source, through, number, shifts=shifts)
        else:
            raise Stays(f"'{value}' is made by {node.op}, which an affine op does not pass")

    def _into_parts(
        self, number: int, node: Node, labels: Labels, *, shifts: bool
    ) -> Iterator[Absorption]:
        """Every part of a concatenation takes its slice of the coefficients."""
        value = node.results[0]
        parts = arguments(node).get("tensors", ())
        if any(is_tensor(part) for part in parts):
            raise Stays(f"it reads a concat, '{value}', that has constant parts")
        for place, part in enumerate(node.operands):
            read = self.wiring.only_read(node, value, place)
            here = pulled(labels, read, *self.wiring.shapes(part, value))
            try:
                yield from self._backward(part, here, number, shifts=shifts)
            except Stays as answer:
                raise Stays(
                    f"it reads a concat of {len(parts)} values, of which {answer.because}"
                ) from None

    def _into_summands(
        self, number: int, node: Node, labels: Labels, *, shifts: bool
    ) -> Iterator[Absorption]:
        """Γ(a + b) + α = (Γa + α) + Γb; a summand that others read too goes into another one.

        x in f(x) + x stays as it is where f is a convolution that can take (Γ − 1)x.
        """
        value = node.results[0]
        summands = list(self.wiring.summands(number))
        pending, besides = shifts, []
        for summand in summands:
            takes = pending and summand.sign > 0
            try:
                yield from list(self._backward(summand.value, labels, summand.reader, shifts=takes))
                pending = pending and not takes
            except Stays as answer:
                beside = self._beside(summand, summands)
                if beside is None:
                    why = f"it reads a sum, '{value}', of which {answer.because}"
                    raise Stays(why) from None
                besides.append(self._absorbed_beside(*beside, labels, value, shifts=takes))
                pending = pending and not takes
        if pending:
            raise Stays(f"it reads a sum, '{value}', none of whose summands takes its shift")
        yield from besides

    # ---------------------------------------------------------------- into a parallel branch

    def _merged(self, candidate: Candidate) -> tuple[Absorption, ...]:
        """f(x) ± (Γx + α) = (f(x) ± ((Γ − 1)x + α)) ± x."""
        value, top = candidate.result, None
        while value not in self.graph.outputs and len(self.wiring.readers[value]) == 1:
            reader = self.wiring.readers[value][0]
            node = self.graph.nodes[reader]
            if is_sum(node):
                top = reader
            elif not self.wiring.is_copy(reader):
                break
            value = node.results[0]
        if top is None:
            raise Stays(_ALONE)
        summands = list(self.wiring.summands(top))
        own = next(s for s in summands if self.wiring.origin(s.value, candidate.number) is None)
        branch = Summand(candidate.node.operands[0], candidate.number, own.sign)
        beside = self._beside(branch, summands)
        if beside is None:
            raise Stays("no convolution of the same value is added to it")
        return (
            self._absorbed_beside(
                *beside, candidate.labels, candidate.result, shifts=candidate.shifts
            ),
        )

    def _absorbed_beside(
        self, layer: Layer, sign: int, labels: Labels, value: str, *, shifts: bool
    ) -> Absorption:
        channels = self.graph.shape(value)[layer.out]
        spread = per_channel(labels, layer.out, channels, value)
        return Absorption(layer, "beside", spread, shifts, sign)

    def _beside(self, branch: Summand, summands: Sequence[Summand]) -> tuple[Layer, int] | None:
        """A convolution among the summands that could add the branch's value itself; the sign."""
        source = self.wiring.origin(branch.value)
        for summand in summands:
            layer = self._sole_layer(summand)
            if (
                layer is not None
                and layer.kind == "conv"
                and self.wiring.origin(layer.node.operands[0]) == source
                and self.graph.shape(branch.value) == self.graph.shape(summand.value)
                and centre_tap(layer) is not None
            ):
                return layer, branch.sign * summand.sign
        return None

    def _sole_layer(self, summand: Summand) -> Layer | None:
        """The layer that makes a summand for that sum alone."""
        number = self.wiring.maker(summand.value, summand.reader)
        try:
            return None if number is None else self._layer(number)
        except Stays:
            return None

    # ---------------------------------------------------------------- towards the output

    def _forward(self, value: str, labels: Labels, *, shifts: bool) -> Iterator[Absorption]:
        """What takes the affine op so that ``value`` need not carry it."""
        if value in self.graph.outputs:
            raise Stays(f"'{value}' is an output of the model")
        for number in self.wiring.readers[value]:
            yield from self._into_reader(number, value, labels, shifts=shifts)

    def _into_reader(
        self, number: int, value: str, labels: Labels, *, shifts: bool
    ) -> Iterator[Absorption]:
        node = self.graph.nodes[number]
        place = node.operands.index(value)
        if number in self.wiring.gone:
            yield from self._forward(node.results[0], labels, shifts=shifts)
            return
        layer = self._layer(number) if len(node.operands) == 1 else None
        if layer is not None:
            check_forward(layer, shifts=shifts)
            channels = self.graph.shape(value)[layer.into]
            spread = per_channel(labels, layer.into, channels, value)
            yield Absorption(layer, "before", spread, shifts)
        elif node.op == "cat" or self._passes(number, shifts=shifts):
            for result in node.results:
                read = self.wiring.only_read(node, result, place)
                through = pushed(labels, read, *self.wiring.shapes(value, result))
                yield from self._forward(result, through, shifts=shifts)
        else:
            made = node.results[0]
            raise Stays(f"it is read by {node.op} ('{made}'), which an affine op does not pass")

    # ---------------------------------------------------------------- looking at the graph

    def _passes(self, number: int, *, shifts: bool) -> bool:
        node = self.graph.nodes[number]
        used = [result for result in node.results if self.wiring.is_used(result)]
        if len(places(node)) != 1 or (node.op in MAXIMUM and used != [node.results[0]]):
            return False
        return check_passes(self.graph, node, shifts=shifts, rises=self._rises)

    def _rises(self) -> bool:
        """Whether the op under way has positive scales only; a BatchNorm may take others yet."""
        assert self.under_way is not None
        scale, _ = self.under_way.coefficients()
        return not self.through_norms and bool((scale > 0).all())

    def _layer(self, number: int) -> Layer | None:
        node = self.graph.nodes[number]
        if node.op == "batch_norm" and not self.through_norms:
            return None
        return layer_of(self.graph, number)


_ALONE = "it is not on a branch beside a convolution"
