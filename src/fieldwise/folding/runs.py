"""Weights that several calls use: all of them take the same, or none takes anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from fieldwise.folding.layers import layer_of
from fieldwise.folding.plan import Absorption, Ban, Fold
from fieldwise.folding.refusal import Stays
from fieldwise.graph.graph import Graph

Taken = list[tuple[Fold, Absorption]]


def torn(graph: Graph, folds: tuple[Fold, ...]) -> Iterator[tuple[Ban, str]]:
    """Folds into a layer that runs several times, where not every run takes the same."""
    taken: dict[int, Taken] = defaultdict(list)
    for fold in folds:
        for absorption in fold.absorptions:
            taken[absorption.layer.number].append((fold, absorption))
    together = runs(graph) if taken else {}
    for number, uses in taken.items():
        layer = uses[0][1].layer
        others = together[layer.node.module, id(layer.weight)]
        if len(others) == 1 or all(
            _same(taken.get(number, []), taken.get(other, [])) for other in others
        ):
            continue
        few = sum(other in taken for other in others)
        why = f"'{layer.name}' runs {len(others)} times, and " + (
            "its runs are followed by different ops"
            if few == len(others)
            else f"only {few} of them can take it"
        )
        for fold, _ in uses:
            yield (fold.candidate.number, fold.direction), why


def runs(graph: Graph) -> dict[tuple[str, int], list[int]]:
    """The nodes that use one weight within one module, by (module, identity of the weight)."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, node in enumerate(graph.nodes):
        try:
            layer = layer_of(graph, number)
        except Stays:
            continue
        if layer is not None:
            found[node.module, id(layer.weight)].append(number)
    return found


def _same(one: Taken, two: Taken) -> bool:
    return len(one) == len(two) and all(
        a.place == b.place
        and a.labels == b.labels
        and a.shift == b.shift
        and a.sign == b.sign
        and all(
            np.array_equal(left, right)
            for left, right in zip(
                f.candidate.coefficients(), g.candidate.coefficients(), strict=True
            )
        )
        for (f, a), (g, b) in zip(one, two, strict=True)
    )
