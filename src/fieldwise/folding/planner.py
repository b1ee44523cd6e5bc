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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fieldwise.folding.candidates import Candidate, candidates
from fieldwise.folding.labels import Labels, per_channel, pulled, pushed
from fieldwise.folding.layers import Layer, centre_tap, check_forward, layer_of
from fieldwise.folding.merging import merged
from fieldwise.folding.passing import check_gaps, check_parts, factor_of, joins
from fieldwise.folding.plan import Absorption, Bans, Fold, Plan
from fieldwise.folding.refusal import Stays
from fieldwise.folding.report import Direction
from fieldwise.folding.runs import torn
from fieldwise.folding.walk import Walk, walked
from fieldwise.folding.wiring import GraphWiring, Summand, is_sum, places
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Shape, numel
from fieldwise.graph.names import called

Taking = Walk[list[Absorption]]


def plan(
    graph: Graph,
    bans: Bans | None = None,
    *,
    merge: bool = True,
    held: Mapping[str, str] | None = None,
) -> Plan:
    """Where every affine op of a graph goes, or why it stays.

    bans:  what is not to be done, by (number of the node, direction), with the reason, or "" where
           that is not worth a word
    merge: whether convolutions of one value that are added to each other become one
    held:  values that have to stay as they are though no node of the graph shows it, and why
    """
    forbidden = dict(bans or {})
    found = candidates(graph)
    while True:
        planner = _Planner(GraphWiring(graph, held or {}), found, forbidden)
        made = planner.run()
        again = dict(torn(graph, made.folds))
        if not again:
            break
        forbidden |= again
    if not merge:
        return made
    merges, apart = merged(planner.wiring, forbidden)
    return Plan(made.folds, made.stays, merges, apart)


@dataclass(frozen=True, slots=True)
class Host:
    """A convolution among the summands of a sum, and the value that it reads."""

    layer: Layer
    sign: int
    source: str | None
    shape: Shape


class _Planner:
    """One pass over the candidates of a graph."""

    def __init__(self, wiring: GraphWiring, found: Sequence[Candidate], bans: Bans) -> None:
        self.wiring = wiring
        self.graph = wiring.graph
        self.found = found
        self.affine = {c.number for c in found if not (c.refusal or c.forward_only)}
        self.bans = bans
        self.done: set[int] = set()
        self.why: dict[int, dict[Direction, str]] = defaultdict(dict)
        self.through_norms = False
        self.rises = False
        self.refused: dict[object, str] = {}
        self.refused_with = 0

    def run(self) -> Plan:
        """Backward, forward, into parallel branches, then into BatchNorms that stay."""
        folds = [*self._pass("backward"), *self._pass("forward"), *self._pass("merge")]
        self.through_norms, self.refused = True, {}
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
        scale, _ = candidate.coefficients()
        self.rises = bool((scale > 0).all())
        shift = float(candidate.shifts)
        if direction == "forward":
            taken = tuple(walked(self._forward(candidate.result, candidate.labels, shift)))
            if not taken:
                raise Stays("nothing reads it")
            return taken
        if candidate.forward_only:
            raise Stays(f"{candidate.node.called} normalises before it scales and shifts")
        if direction == "merge":
            return self._merged(candidate)
        value = candidate.node.operands[0]
        return tuple(walked(self._backward(value, candidate.labels, candidate.number, shift)))

    def _because(self, candidate: Candidate) -> str:
        if candidate.refusal:
            return candidate.refusal
        why = self.why[candidate.number]
        if candidate.forward_only:
            return why["forward"]
        if why["backward"] == why["forward"] or not (why["backward"] and why["forward"]):
            return why["backward"] or why["forward"]
        said = f"towards the input: {why['backward']}; towards the output: {why['forward']}"
        merged = why.get("merge", _ALONE)
        return said if merged == _ALONE else f"{said}; into a parallel branch: {merged}"

    # ---------------------------------------------------------------- towards the input

    def _backward(self, value: str, labels: Labels, reader: int, shift: float) -> Taking:
        """What takes the affine op so that ``value`` itself already carries it.

        shift: by what its shift is multiplied by then; 0 where only its scale is to be taken
        """
        value, reader = self.wiring.past_gone(value, reader, labels)
        return (yield self._unless_refused("backward", value, labels, shift, self._into_maker))

    def _into_maker(self, value: str, labels: Labels, shift: float) -> Taking:
        number = self.wiring.producer.get(value)
        if number is None:
            raise Stays(f"it reads '{value}', an input of the model")
        node = self.graph.nodes[number]
        if (layer := self._layer(number)) is not None:
            channels = self.graph.shape(value)[layer.out]
            spread = per_channel(labels, layer.out, channels, value)
            return [Absorption(layer, "after", spread, shift)]
        if joins(node):
            return (yield self._into_parts(number, node, labels, shift))
        if is_sum(node):
            return (yield self._into_summands(number, node, labels, shift))
        factor = self._factor(number, shifts=shift != 0)
        if factor is None:
            value = called(self.graph, value)
            raise Stays(f"'{value}' is made by {node.called}, {self._in_the_way(number)}")
        place = places(node)[0]
        source = node.operands[place]
        shared = any(self.wiring.is_used(other) for other in node.results if other != value)
        shared = shared or len(self.wiring.readers[source]) > 1
        through = self.wiring.alike(node, value, place, labels, partial(pulled, shared=shared))
        return (yield self._backward(source, through, number, shift / factor))

    def _into_parts(self, number: int, node: Node, labels: Labels, shift: float) -> Taking:
        """Every part of a concatenation takes its slice of the coefficients."""
        value = node.results[0]
        check_parts(self.graph, node, shifts=shift != 0)
        found: list[Absorption] = []
        for place, part in enumerate(node.operands):
            read = self.wiring.only_read(node, value, place)
            here = pulled(labels, read, *self.wiring.shapes(part, value))
            try:
                found += yield self._backward(part, here, number, shift)
            except Stays as answer:
                raise answer.within(f"it reads a concat of {len(node.operands)} values") from None
        return found

    def _into_summands(self, number: int, node: Node, labels: Labels, shift: float) -> Taking:
        """Γ(a + b) + α = (Γa + α) + Γb; a summand that others read too goes into another one.

        x in f(x) + x stays as it is where f is a convolution that can take (Γ − 1)x.
        """
        value = node.results[0]
        summands = list(self.wiring.summands(number))
        hosts: list[Host] | None = None
        pending, found, besides = shift, list[Absorption](), list[Absorption]()
        for summand in summands:
            takes = pending if summand.sign > 0 else 0.0
            try:
                found += yield self._backward(summand.value, labels, summand.reader, takes)
            except Stays as answer:
                scaled = (yield self._scaled(summand, labels)) if takes else None
                if scaled is not None:
                    found += scaled
                    continue
                hosts = list(self._hosts(summands)) if hosts is None else hosts
                beside = self._beside(summand, hosts)
                if beside is None:
                    raise answer.within(f"it reads a sum, '{value}'") from None
                besides.append(self._absorbed_beside(*beside, labels, value, takes))
            pending = 0.0 if takes else pending
        if pending:
            raise Stays(f"it reads a sum, '{value}', none of whose summands takes its shift")
        return found + besides

    def _scaled(self, summand: Summand, labels: Labels) -> Walk[list[Absorption] | None]:
        """What takes the scale alone; None where nothing does."""
        try:
            return (yield self._backward(summand.value, labels, summand.reader, 0.0))
        except Stays:
            return None

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
        beside = self._beside(branch, self._hosts(summands))
        if beside is None:
            raise Stays("no convolution of the same value is added to it")
        shift = float(candidate.shifts)
        return (self._absorbed_beside(*beside, candidate.labels, candidate.result, shift),)

    def _absorbed_beside(
        self, layer: Layer, sign: int, labels: Labels, value: str, shift: float
    ) -> Absorption:
        channels = self.graph.shape(value)[layer.out]
        spread = per_channel(labels, layer.out, channels, value)
        return Absorption(layer, "beside", spread, shift, sign)

    def _beside(self, branch: Summand, hosts: Iterable[Host]) -> tuple[Layer, int] | None:
        """A convolution among the summands that could add the branch's value itself; the sign."""
        source, shape = self.wiring.origin(branch.value), self.graph.shape(branch.value)
        for host in hosts:
            if (host.source, host.shape) == (source, shape):
                return host.layer, branch.sign * host.sign
        return None

    def _hosts(self, summands: Sequence[Summand]) -> Iterator[Host]:
        """The convolutions among the summands of which a tap reads where it writes."""
        for summand in summands:
            layer = self._sole_layer(summand)
            if layer is not None and layer.kind == "conv" and centre_tap(layer) is not None:
                source = self.wiring.origin(layer.node.operands[0])
                yield Host(layer, summand.sign, source, self.graph.shape(summand.value))

    def _sole_layer(self, summand: Summand) -> Layer | None:
        """The layer that makes a summand for that sum alone."""
        number = self.wiring.maker(summand.value, summand.reader)
        try:
            return None if number is None else self._layer(number)
        except Stays:
            return None

    # ---------------------------------------------------------------- towards the output

    def _forward(self, value: str, labels: Labels, shift: float) -> Taking:
        """What takes the affine op so that ``value`` need not carry it."""
        return (yield self._unless_refused("forward", value, labels, shift, self._into_readers))

    def _into_readers(self, value: str, labels: Labels, shift: float) -> Taking:
        if value in self.graph.outputs:
            raise Stays(f"'{value}' is an output of the model")
        if value in self.wiring.held:
            raise Stays(self.wiring.held[value])
        found: list[Absorption] = []
        for number in self.wiring.readers[value]:
            found += yield self._into_reader(number, value, labels, shift)
        return found

    def _into_reader(self, number: int, value: str, labels: Labels, shift: float) -> Taking:
        node = self.graph.nodes[number]
        place = node.operands.index(value)
        if number in self.wiring.gone:
            return (yield self._forward(node.results[0], labels, shift))
        layer = self._layer(number) if len(node.operands) == 1 else None
        if layer is not None:
            check_forward(layer, shifts=shift != 0)
            channels = self.graph.shape(value)[layer.into]
            spread = per_channel(labels, layer.into, channels, value)
            return [Absorption(layer, "before", spread, shift)]
        if joins(node):
            check_gaps(self.graph, node, shifts=shift != 0)
        factor = 1.0 if joins(node) else self._factor(number, shifts=shift != 0)
        if factor is None:
            made = called(self.graph, node.results[0])
            raise Stays(f"it is read by {node.called} ('{made}'), {self._in_the_way(number)}")
        found: list[Absorption] = []
        for result in node.results:
            through = self.wiring.alike(node, result, place, labels, pushed)
            found += yield self._forward(result, through, shift * factor)
        return found

    # ---------------------------------------------------------------- looking at the graph

    def _unless_refused(
        self,
        direction: Direction,
        value: str,
        labels: Labels,
        shift: float,
        step: Callable[[str, Labels, float], Taking],
    ) -> Taking:
        """The step from a value, unless it was refused already and nothing has gone since."""
        key = direction, value, labels.shape, labels.tobytes(), shift != 0, self._rises()
        if len(self.wiring.gone) != self.refused_with:
            self.refused, self.refused_with = {}, len(self.wiring.gone)
        if key in self.refused:
            raise Stays(self.refused[key])
        try:
            return (yield step(value, labels, shift))
        except Stays as answer:
            self.refused[key] = answer.because
            raise

    def _factor(self, number: int, *, shifts: bool) -> float | None:
        """By what a shift is multiplied when the op goes past this node; None where it does not."""
        node = self.graph.nodes[number]
        used = [result for result in node.results if self.wiring.is_used(result)]
        if len(places(node)) != 1 or self._reads_twice(node, used):
            return None
        return factor_of(self.graph, node, used, shifts=shifts, rises=self._rises)

    def _in_the_way(self, number: int) -> str:
        stays = number in self.affine
        return "an affine op that stays" if stays else "which an affine op does not pass"

    def _reads_twice(self, node: Node, used: Sequence[str]) -> bool:
        """Whether results share elements, so that each of them would have these scaled."""
        made = sum(numel(self.graph.shape(name)) for name in used)
        copied = all(kind.combines == "one" for kind in node.kinds)
        return len(used) > 1 and (not copied or made > numel(self.graph.shape(node.operands[0])))

    def _rises(self) -> bool:
        """Whether the op under way has positive scales only; a BatchNorm may take others yet."""
        return self.rises and not self.through_norms

    def _layer(self, number: int) -> Layer | None:
        node = self.graph.nodes[number]
        if node.op == "batch_norm" and not self.through_norms:
            return None
        return layer_of(self.graph, number)


_ALONE = "it is not on a branch beside a convolution"
