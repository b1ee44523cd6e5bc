"""Which affine op goes where: read off the graph alone, nothing is executed or changed.

An op is taken towards the input first, in execution order, so that a chain conv → bn → bn folds
twice into the conv; what is left goes towards the output, in reverse order, so that bn → bn →
conv does; what is left then may go into a BatchNorm that stays.  On the way the op passes layout
ops and averages, every branch of a concatenation takes its part, all summands of a sum take the
scale and one takes the shift.  Every value that it passes must have no other reader.  An op on a
branch that is added to a convolution of the same value merges into that convolution (RepVGG).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fieldwise.fold.calls import arguments, is_tensor, op_name
from fieldwise.fold.candidates import Candidate, candidates
from fieldwise.fold.labels import Labels, per_channel, pulled, pushed
from fieldwise.fold.layers import Layer, centre_tap, is_pointwise, layer_of, pads_zeros
from fieldwise.fold.passing import check_passes, is_copy
from fieldwise.fold.refusal import Stays, listed
from fieldwise.fold.report import Direction
from fieldwise.graph.ir import Graph, Node, Read, Ref

Place = Literal["after", "before", "beside"]
Bans = Mapping[tuple[int, Direction], str]


@dataclass(frozen=True, eq=False)
class Absorption:
    """A layer takes an affine op with scale Γ and shift α into its function f.

    place:  'after' it, Γf(x) + α; 'before' it, f(Γx + α); or 'beside' it, f(x) ± ((Γ − 1)x + α),
            for an op on a branch that is added to f(x) and goes on as the identity
    labels: per channel (of its operand where before), which coefficient; BARE where none
    shifts: whether it takes the shift too, or only the scale
    sign:   −1 beside a branch that is subtracted
    """

    layer: Layer
    place: Place
    labels: tuple[int, ...]
    shifts: bool = True
    sign: int = 1


@dataclass(frozen=True, eq=False)
class Summand:
    """A value that a tree of sums adds (sign 1) or subtracts (−1), and the node that reads it."""

    value: str
    reader: int
    sign: int


@dataclass(frozen=True, eq=False)
class Fold:
    """An affine op that goes, and the layers that take it."""

    candidate: Candidate
    direction: Direction
    absorptions: tuple[Absorption, ...]

    @property
    def into(self) -> str:
        """The names of the layers."""
        return ", ".join(dict.fromkeys(taken.layer.name for taken in self.absorptions))


@dataclass(frozen=True, eq=False)
class Plan:
    """The folds in the order in which they are carried out, and the ops that stay."""

    folds: tuple[Fold, ...]
    stays: tuple[tuple[Candidate, str], ...]

    def __str__(self) -> str:
        went = (f"{f.candidate.name}: {f.direction} into {f.into}" for f in self.folds)
        stay = (f"{candidate.name}: stays, {why}" for candidate, why in self.stays)
        return "\n".join((*went, *stay))


def plan(graph: Graph, bans: Bans | None = None) -> Plan:
    """Where every affine op of a graph goes, or why it stays.

    bans: folds that are not to be made, by (number of the node, direction), with the reason
    """
    forbidden = dict(bans or {})
    found = candidates(graph)
    while True:
        planner = _Planner(graph, found, forbidden)
        made = planner.run()
        torn = dict(_torn(graph, made))
        if not torn:
            return made
        forbidden |= torn


class _Planner:
    """One pass over the candidates of a graph."""

    def __init__(self, graph: Graph, found: Sequence[Candidate], bans: Bans) -> None:
        self.graph = graph
        self.found = found
        self.bans = bans
        self.gone: set[int] = set()
        self.why: dict[int, dict[Direction, str]] = defaultdict(dict)
        self.through_norms = False
        self.producer = {r: n for n, node in enumerate(graph.nodes) for r in node.results}
        self.readers: dict[str, list[int]] = defaultdict(list)
        for number, node in enumerate(graph.nodes):
            for place in _places(node):
                self.readers[node.operands[place]].append(number)

    def run(self) -> Plan:
        """Backward, forward, into parallel branches, then into BatchNorms that stay."""
        folds = [*self._pass("backward"), *self._pass("forward"), *self._pass("merge")]
        self.through_norms = True
        folds += [*self._pass("backward"), *self._pass("forward")]
        stays = tuple(
            (candidate, self._because(candidate))
            for candidate in self.found
            if candidate.number not in self.gone
        )
        return Plan(tuple(folds), stays)

    def _pass(self, direction: Direction) -> Iterator[Fold]:
        order = self.found if direction == "backward" else self.found[::-1]
        for candidate in order:
            if candidate.number in self.gone or candidate.refusal:
                continue
            try:
                taken = self._taken(candidate, direction)
            except Stays as answer:
                self.why[candidate.number].setdefault(direction, answer.because)
                continue
            self.gone.add(candidate.number)
            yield Fold(candidate, direction, taken)

    def _taken(self, candidate: Candidate, direction: Direction) -> tuple[Absorption, ...]:
        if (candidate.number, direction) in self.bans:
            raise Stays(self.bans[candidate.number, direction])
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
        self._check_unshared(value, reader)
        number = self.producer.get(value)
        if number is None:
            raise Stays(f"it reads '{value}', an input of the model")
        node = self.graph.nodes[number]
        if number in self.gone:
            yield from self._backward(node.operands[0], labels, number, shifts=shifts)
        elif (layer := self._layer(number)) is not None:
            channels = self.graph.shape(value)[layer.out]
            spread = per_channel(labels, layer.out, channels, value)
            yield Absorption(layer, "after", spread, shifts)
        elif node.op == "cat":
            yield from self._into_parts(number, node, labels, shifts=shifts)
        elif _is_sum(node):
            yield from self._into_summands(number, node, labels, shifts=shifts)
        elif len(_places(node)) == 1 and check_passes(self.graph, node, shifts=shifts):
            place = _places(node)[0]
            read = self._only_read(node, value, place)
            shared = any(self._is_used(other) for other in node.results if other != value)
            source = node.operands[place]
            through = pulled(labels, read, *self._shapes(source, value), shared=shared)
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
            read = self._only_read(node, value, place)
            here = pulled(labels, read, *self._shapes(part, value))
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
        summands = list(self._summands(number))
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

    def _summands(self, number: int, sign: int = 1) -> Iterator[Summand]:
        """What a tree of sums adds up; a sum that others read too is a summand."""
        node = self.graph.nodes[number]
        value = node.results[0]
        for place, operand in enumerate(node.operands):
            self._only_read(node, value, place)
            if self.graph.shape(operand) != self.graph.shape(value):
                raise Stays(f"it reads a sum, '{value}', whose summands have different shapes")
            here = sign if node.op == "add" or arguments(node)["self"] == Ref(place) else -sign
            inner = self._maker(operand, number)
            if inner is not None and _is_sum(self.graph.nodes[inner]):
                yield from self._summands(inner, here)
            else:
                yield Summand(operand, number, here)

    def _maker(self, value: str, reader: int) -> int | None:
        """The node that makes a value for this reader alone, copies looked through; else None."""
        number = self.producer.get(value)
        if number is None or not self._is_unshared(value, reader):
            return None
        if self._is_copy(number):
            return self._maker(self._source(number), number)
        return number

    # ---------------------------------------------------------------- into a parallel branch

    def _merged(self, candidate: Candidate) -> tuple[Absorption, ...]:
        """f(x) ± (Γx + α) = (f(x) ± ((Γ − 1)x + α)) ± x."""
        value, top = candidate.result, None
        while value not in self.graph.outputs and len(self.readers[value]) == 1:
            reader = self.readers[value][0]
            node = self.graph.nodes[reader]
            if _is_sum(node):
                top = reader
            elif not self._is_copy(reader):
                break
            value = node.results[0]
        if top is None:
            raise Stays(_ALONE)
        summands = list(self._summands(top))
        own = next(s for s in summands if self._origin(s.value, candidate.number) is None)
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
        source = self._origin(branch.value)
        for summand in summands:
            layer = self._sole_layer(summand)
            if (
                layer is not None
                and layer.kind == "conv"
                and self._origin(layer.node.operands[0]) == source
                and self.graph.shape(branch.value) == self.graph.shape(summand.value)
                and centre_tap(layer) is not None
            ):
                return layer, branch.sign * summand.sign
        return None

    def _sole_layer(self, summand: Summand) -> Layer | None:
        """The layer that makes a summand for that sum alone."""
        number = self._maker(summand.value, summand.reader)
        try:
            return None if number is None else self._layer(number)
        except Stays:
            return None

    def _origin(self, value: str, until: int = -1) -> str | None:
        """The value that this one is a copy of; None where node ``until`` makes it."""
        number = self.producer.get(value)
        if number is not None and number == until:
            return None
        if number is None or not self._is_copy(number):
            return value
        return self._origin(self._source(number), until)

    def _is_copy(self, number: int) -> bool:
        return number in self.gone or is_copy(self.graph.nodes[number])

    def _source(self, number: int) -> str:
        """The value that a copy is a copy of."""
        node = self.graph.nodes[number]
        return node.operands[_places(node)[0]]

    # ---------------------------------------------------------------- towards the output

    def _forward(self, value: str, labels: Labels, *, shifts: bool) -> Iterator[Absorption]:
        """What takes the affine op so that ``value`` need not carry it."""
        if value in self.graph.outputs:
            raise Stays(f"'{value}' is an output of the model")
        for number in self.readers[value]:
            yield from self._into_reader(number, value, labels, shifts=shifts)

    def _into_reader(
        self, number: int, value: str, labels: Labels, *, shifts: bool
    ) -> Iterator[Absorption]:
        node = self.graph.nodes[number]
        place = node.operands.index(value)
        if number in self.gone:
            yield from self._forward(node.results[0], labels, shifts=shifts)
            return
        layer = self._layer(number) if len(node.operands) == 1 else None
        if layer is not None:
            _check_forward(layer, shifts=shifts)
            channels = self.graph.shape(value)[layer.into]
            spread = per_channel(labels, layer.into, channels, value)
            yield Absorption(layer, "before", spread, shifts)
        elif node.op == "cat" or (
            len(_places(node)) == 1 and check_passes(self.graph, node, shifts=shifts)
        ):
            for result in node.results:
                read = self._only_read(node, result, place)
                through = pushed(labels, read, *self._shapes(value, result))
                yield from self._forward(result, through, shifts=shifts)
        else:
            made = node.results[0]
            raise Stays(f"it is read by {node.op} ('{made}'), which an affine op does not pass")

    # ---------------------------------------------------------------- looking at the graph

    def _layer(self, number: int) -> Layer | None:
        node = self.graph.nodes[number]
        if node.op == "batch_norm" and not self.through_norms:
            return None
        return layer_of(self.graph, number)

    def _is_unshared(self, value: str, reader: int) -> bool:
        return value not in self.graph.outputs and self.readers[value] == [reader]

    def _check_unshared(self, value: str, reader: int) -> None:
        if value in self.graph.outputs:
            raise Stays(f"'{value}' is also an output of the model")
        others = [self._name(number) for number in self.readers[value] if number != reader]
        if others:
            raise Stays(f"'{value}' is also read by {listed(others)}")

    def _name(self, number: int) -> str:
        node = self.graph.nodes[number]
        return node.module or node.results[0]

    def _is_used(self, value: str) -> bool:
        return bool(self.readers[value]) or value in self.graph.outputs

    def _only_read(self, node: Node, result: str, place: int) -> Read:
        reads = [r for r in node.reads[node.results.index(result)] if r.operand == place]
        if len(reads) != 1:
            raise Stays(f"'{result}' reads '{node.operands[place]}' {len(reads)} times")
        return reads[0]

    def _shapes(self, operand: str, result: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.graph.shape(operand), self.graph.shape(result)


_ALONE = "it is not on a branch beside a convolution"


def _places(node: Node) -> list[int]:
    """The operands that are read; an operand may also be asked for its shape alone."""
    read = {read.operand for reads in node.reads for read in reads}
    return sorted(read)


def _is_sum(node: Node) -> bool:
    """Whether a node adds two values, or subtracts one from the other."""
    return op_name(node) in ("add", "sub") and (
        len(node.operands) == 2 and arguments(node).get("alpha", 1) == 1
    )


def _check_forward(layer: Layer, *, shifts: bool) -> None:
    if not shifts or layer.kind in ("linear", "matmul", "batch_norm"):
        return
    if layer.kind == "conv_transpose" or layer.transposed:
        if not is_pointwise(layer):
            raise Stays(f"'{layer.name}' is a transposed convolution: its taps overlap unevenly")
    elif pads_zeros(layer):
        raise Stays(f"'{layer.name}' pads with zeros, which a shift would have to reach")


# ------------------------------------------------------------------ weights that several calls use


def _torn(graph: Graph, made: Plan) -> Iterator[tuple[tuple[int, Direction], str]]:
    """Folds into a layer that runs several times, where not every run takes the same."""
    taken: dict[int, list[tuple[Fold, Absorption]]] = defaultdict(list)
    for fold in made.folds:
        for absorption in fold.absorptions:
            taken[absorption.layer.number].append((fold, absorption))
    runs = _runs(graph)
    for number, uses in taken.items():
        layer = uses[0][1].layer
        together = runs[layer.node.module, id(layer.weight)]
        if len(together) > 1 and not all(
            _same(taken.get(number, []), taken.get(other, [])) for other in together
        ):
            few = sum(other in taken for other in together)
            why = f"'{layer.name}' runs {len(together)} times, and " + (
                "its runs are followed by different ops"
                if few == len(together)
                else f"only {few} of them can take it"
            )
            for fold, _ in uses:
                yield (fold.candidate.number, fold.direction), why


def _runs(graph: Graph) -> dict[tuple[str, int], list[int]]:
    """The nodes that use one weight within one module."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, node in enumerate(graph.nodes):
        try:
            layer = layer_of(graph, number)
        except Stays:
            continue
        if layer is not None:
            found[node.module, id(layer.weight)].append(number)
    return found


def _same(one: list[tuple[Fold, Absorption]], two: list[tuple[Fold, Absorption]]) -> bool:
    return len(one) == len(two) and all(
        a.place == b.place
        and a.labels == b.labels
        and a.shifts == b.shifts
        and a.sign == b.sign
        and all(
            np.array_equal(left, right)
            for left, right in zip(
                f.candidate.coefficients(), g.candidate.coefficients(), strict=True
            )
        )
        for (f, a), (g, b) in zip(one, two, strict=True)
    )
