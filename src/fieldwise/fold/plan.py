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

from fieldwise.fold.calls import arguments, is_tensor
from fieldwise.fold.candidates import Candidate, candidates
from fieldwise.fold.labels import Labels, per_channel, pulled, pushed
from fieldwise.fold.layers import Layer, centre_tap, is_pointwise, layer_of, pads_zeros
from fieldwise.fold.passing import check_passes
from fieldwise.fold.refusal import Stays, listed
from fieldwise.fold.report import Direction
from fieldwise.graph.ir import Graph, Node, Read, Ref

Place = Literal["after", "before", "beside"]
Bans = Mapping[tuple[int, Direction], str]


@dataclass(frozen=True, eq=False)
class Absorption:
    """A layer takes an affine op with scale Γ and shift α into its function f.

    place:  'after' it, Γf(x) + α; 'before' it, f(Γx + α); or 'beside' it, f(x) + (Γ − 1)x + α,
            for an op on a branch that is added to f(x) and goes on as the identity
    labels: per channel (of its operand where before), which coefficient; BARE where none
    shifts: whether it takes the shift too, or only the scale
    """

    layer: Layer
    place: Place
    labels: tuple[int, ...]
    shifts: bool = True


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
        banned = self.bans.get((candidate.number, "merge"))
        return f"{said}; into a parallel branch: {banned}" if banned else said

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
        elif node.op in ("add", "sub") and len(node.operands) == 2:
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
        summands = list(self._summands(value, number))
        pending = shifts
        for summand, reader, positive in summands:
            takes = pending and positive
            try:
                found = list(self._backward(summand, labels, reader, shifts=takes))
                pending = pending and not takes
            except Stays as answer:
                beside = self._beside(summand, reader, summands)
                if beside is None:
                    why = f"it reads a sum, '{value}', of which {answer.because}"
                    raise Stays(why) from None
                channels = self.graph.shape(value)[beside.out]
                spread = per_channel(labels, beside.out, channels, value)
                found = [Absorption(beside, "beside", spread, False)]
            yield from found
        if pending:
            raise Stays(f"it reads a sum, '{value}', none of whose summands takes its shift")

    def _summands(self, value: str, number: int) -> Iterator[tuple[str, int, bool]]:
        """The values that a tree of sums adds, who reads them, and whether with a plus sign."""
        node = self.graph.nodes[number]
        for place, operand in enumerate(node.operands):
            self._only_read(node, value, place)
            if self.graph.shape(operand) != self.graph.shape(value):
                raise Stays(f"it reads a sum, '{value}', whose summands have different shapes")
            inner = self.producer.get(operand)
            if inner is not None and _is_sum(self.graph.nodes[inner]) and _is_sum(node):
                self._check_unshared(operand, number)
                yield from self._summands(operand, inner)
            else:
                yield operand, number, _is_sum(node) or arguments(node)["self"] == Ref(place)

    # ---------------------------------------------------------------- into a parallel branch

    def _merged(self, candidate: Candidate) -> tuple[Absorption, ...]:
        """f(x) + (Γx + α) = (f(x) + (Γ − 1)x + α) + x."""
        value, reader = candidate.result, -1
        top = None
        while value not in self.graph.outputs and len(self.readers[value]) == 1:
            reader = self.readers[value][0]
            node = self.graph.nodes[reader]
            if reader in self.gone:
                value = node.results[0]
                continue
            if not _is_sum(node):
                break
            top, value = reader, node.results[0]
        if top is None:
            raise Stays("it is not on a branch beside a convolution")
        summands = list(self._summands(self.graph.nodes[top].results[0], top))
        beside = self._beside(candidate.node.operands[0], candidate.number, summands)
        if beside is None:
            raise Stays("no convolution of the same value is added to it")
        channels = self.graph.shape(candidate.result)[beside.out]
        spread = per_channel(candidate.labels, beside.out, channels, candidate.result)
        return (Absorption(beside, "beside", spread, candidate.shifts),)

    def _beside(
        self, value: str, reader: int, summands: Sequence[tuple[str, int, bool]]
    ) -> Layer | None:
        """A convolution among the summands that could add ``value`` itself."""
        source = self._origin(value)
        for summand, summand_reader, positive in summands:
            layer = self._sole_layer(summand, summand_reader) if positive else None
            if (
                layer is not None
                and layer.kind == "conv"
                and self._origin(layer.node.operands[0]) == source
                and self._shapes(value, summand)[0] == self.graph.shape(summand)
                and centre_tap(layer) is not None
            ):
                return layer
        return None

    def _sole_layer(self, value: str, reader: int) -> Layer | None:
        """The layer that makes a value for this reader alone."""
        try:
            self._check_unshared(value, reader)
            number = self.producer.get(value)
            if number is None:
                return None
            if number in self.gone:
                return self._sole_layer(self.graph.nodes[number].operands[0], number)
            return self._layer(number)
        except Stays:
            return None

    def _origin(self, value: str) -> str:
        """The value that this one is a copy of."""
        number = self.producer.get(value)
        if number is None:
            return value
        node = self.graph.nodes[number]
        copies = number in self.gone or node.op in ("clone", "alias", "detach")
        return self._origin(node.operands[0]) if copies else value

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


def _places(node: Node) -> list[int]:
    """The operands that are read; an operand may also be asked for its shape alone."""
    read = {read.operand for reads in node.reads for read in reads}
    return sorted(read)


def _is_sum(node: Node) -> bool:
    """Whether a node adds two values, each once."""
    return node.op == "add" and len(node.operands) == 2 and arguments(node).get("alpha", 1) == 1


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
        and all(
            np.array_equal(left, right)
            for left, right in zip(
                f.candidate.coefficients(), g.candidate.coefficients(), strict=True
            )
        )
        for (f, a), (g, b) in zip(one, two, strict=True)
    )
