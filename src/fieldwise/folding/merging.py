"""Branches that are added to a convolution of the same value become part of its weights.

    g(x) ± f(x) = (g ± f)(x)          g(x) ± x = (g ± 1)(x)

where f and g are convolutions whose outputs read at the same steps, every tap of f stands on one
of g, and every pair of channels that f connects is connected by g: k × k with 1 × 1, several of
one size, a dense one with a grouped one.  RepVGG (Ding et al. 2021), section 3.3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import prod

from fieldwise.folding.layers import Layer, layer_of, offsets, strides
from fieldwise.folding.plan import Bans, Branch, Merge
from fieldwise.folding.refusal import Stays
from fieldwise.folding.runs import runs
from fieldwise.folding.wiring import GraphWiring, Summand, is_sum

Taps = tuple[tuple[int, ...], ...]
Apart = tuple[Branch, str]


def merged(wiring: GraphWiring, bans: Bans) -> tuple[tuple[Merge, ...], tuple[Apart, ...]]:
    """What merges into what, and the branches that stay apart, with the reason.

    A branch is one that is added to a convolution of the same value.  bans: see ``plan``
    """
    return _Merger(wiring, bans).run()


class _Merger:
    """All trees of sums of one graph."""

    def __init__(self, wiring: GraphWiring, bans: Bans) -> None:
        self.wiring = wiring
        self.graph = wiring.graph
        self.bans = bans
        self.runs = runs(self.graph)
        self.merges: list[Merge] = []
        self.apart: list[Apart] = []

    def run(self) -> tuple[tuple[Merge, ...], tuple[Apart, ...]]:
        """The outermost sums first, each with the sums that it alone reads."""
        seen: set[int] = set()
        for top in reversed(range(len(self.graph.nodes))):
            if top in seen or not is_sum(self.graph.nodes[top]):
                continue
            try:
                summands = list(self.wiring.summands(top))
            except Stays:
                continue
            seen |= set(self._sums(top))
            self._merge(top, summands)
        return tuple(reversed(self.merges)), tuple(reversed(self.apart))

    def _sums(self, top: int) -> Iterator[int]:
        """The nodes of a tree of sums, outermost first."""
        waiting = [top]
        while waiting:
            number = waiting.pop()
            yield number
            inner = (
                self.wiring.inner_sum(operand, number)
                for operand in self.graph.nodes[number].operands
            )
            waiting.extend(found for found in inner if found is not None)

    def _merge(self, top: int, summands: Sequence[Summand]) -> None:
        """Per value that is read, its branches into the one with most taps and connections."""
        found: list[tuple[Layer, int, str, list[tuple[Branch, Taps]]]] = []
        for origin, group in self._by_origin(summands).items():
            layers = [layer for _, layer in group if layer is not None]
            if len(group) < 2 or not layers:
                continue
            host = max(layers, key=lambda one: (prod(one.weight.shape[2:]), -one.groups))
            sign = next(one.sign for one, layer in group if layer is host)
            branches = [self._branch(*pair, sign) for pair in group if pair[1] is not host]
            found.append((host, sign, origin, list(self._fitting(top, host, branches))))
        lost = {(b.value, b.reader) for *_, taken in found for b, _ in taken}
        sums = dict(self._remaining(top, lost))
        for host, sign, origin, taken in found:
            if taken:
                branches = [branch for branch, _ in taken]
                taps = tuple(taps for _, taps in taken)
                self.merges.append(Merge(host, tuple(branches), taps, origin, sign, sums))

    def _by_origin(
        self, summands: Sequence[Summand]
    ) -> dict[str, list[tuple[Summand, Layer | None]]]:
        """The summands that a convolution makes of a value for them alone, or that are it."""
        found: dict[str, list[tuple[Summand, Layer | None]]] = defaultdict(list)
        for summand in summands:
            layer = self._convolution(summand)
            value = summand.value if layer is None else layer.node.operands[0]
            origin = self.wiring.origin(value)
            assert origin is not None
            found[origin].append((summand, layer))
        return found

    def _convolution(self, summand: Summand) -> Layer | None:
        number = self.wiring.maker(summand.value, summand.reader)
        try:
            layer = None if number is None else layer_of(self.graph, number)
        except Stays:
            return None
        return layer if layer is not None and layer.kind == "conv" else None

    def _branch(self, summand: Summand, layer: Layer | None, host_sign: int) -> Branch:
        number = summand.reader if layer is None else layer.number
        return Branch(
            number,
            self.graph.nodes[number],
            layer,
            summand.value,
            summand.reader,
            summand.sign * host_sign,
        )

    def _fitting(
        self, top: int, host: Layer, branches: Sequence[Branch]
    ) -> Iterator[tuple[Branch, Taps]]:
        total = self.graph.nodes[top].results[0]
        for branch in branches:
            try:
                if (branch.number, "merge") in self.bans:
                    raise Stays(self.bans[branch.number, "merge"])
                self._check_runs(host)
                self._check_runs(branch.layer)
                if len({self._dtype(value) for value in (total, host.result, branch.value)}) > 1:
                    raise Stays(f"its dtype is not that of '{host.name}' and of their sum")
                yield branch, taps_in(host, branch.layer)
            except Stays as answer:
                self.apart.append((branch, answer.because))

    def _dtype(self, value: str) -> str:
        return self.graph.values[value].dtype

    def _check_runs(self, layer: Layer | None) -> None:
        if layer is not None and (times := len(self.runs[layer.node.module, id(layer.weight)])) > 1:
            raise Stays(f"'{layer.name}' runs {times} times")

    def _remaining(
        self, top: int, lost: set[tuple[str, int]]
    ) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Per sum of a tree, innermost first, which of its operands are not lost."""
        found: dict[int, tuple[int, ...]] = {}
        for number in sorted(self._sums(top)):
            remaining = []
            for place, operand in enumerate(self.graph.nodes[number].operands):
                inner = self.wiring.inner_sum(operand, number)
                if (operand, number) not in lost if inner is None else found[inner]:
                    remaining.append(place)
            found[number] = tuple(remaining)
        yield from found.items()


def taps_in(host: Layer, layer: Layer | None) -> Taps:
    """Per axis, the taps of a convolution that read what the taps of another one read.

    layer: None for the identity

    Raises Stays where they do not read at the same places, or between the same channels.
    """
    if host.transposed or (layer is not None and layer.transposed):
        raise Stays("a transposed convolution takes no branch")
    steps, wanted, groups = _geometry(host, layer)
    if steps != strides(host):
        raise Stays(f"it strides otherwise than '{host.name}'")
    here = offsets(host)
    if not all(set(want) <= set(have) for want, have in zip(wanted, here, strict=True)):
        raise Stays(f"it reads beside the taps of '{host.name}'")
    if groups % host.groups:
        raise Stays(f"it connects channels that '{host.name}' keeps apart")
    return tuple(
        tuple(have.index(one) for one in want) for want, have in zip(wanted, here, strict=True)
    )


def _geometry(host: Layer, layer: Layer | None) -> tuple[tuple[int, ...], Taps, int]:
    """Strides, offsets and groups of a branch; the identity reads one channel at one place."""
    if layer is not None:
        return strides(layer), offsets(layer), layer.groups
    axes = host.weight.ndim - 2
    if host.weight.shape[0] != host.weight.shape[1] * host.groups:
        raise Stays(f"'{host.name}' makes other channels than it reads")
    return (1,) * axes, ((0,),) * axes, host.weight.shape[0]
