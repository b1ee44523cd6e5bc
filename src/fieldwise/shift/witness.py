"""Whether numbers bear out that a value is broken, as far as asking them costs little.

A value is broken where no shift of the input short of a full turn is answered by a roll of it.  If
one is, all multiples of it are, and among these is one that makes a full turn for the first time
after a prime number of steps.  These *least* shifts are few (of 224 positions 112 and 32): the
recorded calls are executed on generic numbers, as they are and under these shifts.

An answer rolls whole slices.  So along each dimension the sums over the slices of a fixed function
of their elements are rolled with them: where these are not, nothing was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldwise.graph.ir import Graph, Node
from fieldwise.shift.replays import Replays, Run

Claims = Mapping[str, Mapping[int, bool]]
"""Value → axis along which it is said to be broken → whether all its positions would have to move.

A value that is not followed any more may hold something that stays (a class token) beside.
"""

_EFFORT = 1 << 27
_SLACK = 1e-9
_SHORT = 64

Sums = NDArray[np.float64]
"""Of the slices along one dimension: draws × slices."""


def refuted(
    graph: Graph, source: str, claims: Claims, given: Sequence[Tensor] = ()
) -> frozenset[tuple[str, int]]:
    """The values, and the axes, of which some shift is answered by a roll after all.

    given: inputs of the graph, of which integers are taken as they are

    A claim stands where to look would cost too much, and where a call does not run on such numbers.
    """
    shape = graph.shape(source)
    axes = sorted({axis for along in claims.values() for axis in along})
    turns = {(axis, by): n for axis in axes for by, n in least_shifts(shape[axis])}
    replays = Replays(graph, source, tuple(turns), given)
    found = set[tuple[str, int]]()
    for node in replays.executed(_needed(graph, claims), _EFFORT):
        for name in node.results:
            for axis, whole in claims.get(name, {}).items():
                before = replays[name][None]
                if any(
                    _is_answered(before, replays[name][axis, by], count, whole=whole)
                    for (along, by), count in turns.items()
                    if along == axis
                ):
                    found.add((name, axis))
    return frozenset(found)


def least_shifts(size: int) -> list[tuple[int, int]]:
    """The shifts that make a full turn after a prime number of steps, with that number.

    >>> least_shifts(224), least_shifts(7), least_shifts(1)
    ([(112, 2), (32, 7)], [(1, 7)], [])
    """
    found, rest, prime = [], size, 2
    while rest > 1:
        prime = prime if prime * prime <= rest else rest
        if rest % prime == 0:
            found.append((size // prime, prime))
        while rest % prime == 0:
            rest //= prime
        prime += 1
    return found


def _needed(graph: Graph, claims: Claims) -> list[Node]:
    """The nodes on which these values depend, in execution order."""
    wanted, found = set(claims), []
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.results):
            wanted.update(node.operands)
            found.append(node)
    return found[::-1]


# -------------------------------------------------------------------- is it rolled?


def _is_answered(before: Run, after: Run, turns: int, *, whole: bool) -> bool:
    """Whether a roll may make of a value what became of it.

    turns: how often it is rolled until it is as it was
    """
    size = _typical(before)
    return all(
        _is_rolled(one, two, turns, whole=whole)
        for one, two in zip(_slice_sums(before, size), _slice_sums(after, size), strict=True)
    )


def _typical(run: Run) -> float:
    """The root mean square of what is finite; 1 where there is nothing."""
    values = torch.cat([_numbers(value).reshape(-1) for value in run])
    finite = values[values.isfinite()]
    found = float(finite.square().mean().sqrt()) if finite.numel() else 0.0
    return found or 1.0


def _numbers(value: Tensor) -> Tensor:
    """Real numbers; the parts of complex ones as a first dimension of two."""
    if value.is_complex():
        return torch.stack([value.real, value.imag])
    return value.double()[None]


def _slice_sums(run: Run, size: float) -> Iterator[Sums]:
    """Per dimension the sums over its slices; of a scalar, and where all have one slice, of all."""
    told = []
    for value in run:
        x = (_numbers(value) / size).nan_to_num(nan=0.7, posinf=3.0, neginf=-3.0)
        told.append(x + (1.3 * x + 0.4).sin())
    rank = told[0].dim()
    for dim in range(1, rank) if rank > 1 else (None,):
        others = [other for other in range(1, rank) if other != dim]
        sums = [x.sum(others) if others else x for x in told]
        yield torch.cat([one.reshape(len(one), -1) for one in sums]).numpy()


def _is_rolled(before: Sums, after: Sums, turns: int, *, whole: bool) -> bool:
    if _is_same(before, after):
        return True
    if not _is_same(np.sort(before), np.sort(after)):
        return False
    length = before.shape[1]
    spans = {(0, length)} if whole else {(0, length), _changed(before, after)}
    return any(
        _is_same(before[:, :start], after[:, :start])
        and _is_same(before[:, stop:], after[:, stop:])
        and any(
            _is_same(rolled, after[:, start:stop])
            for rolled in _rolls(before[:, start:stop], turns)
        )
        for start, stop in spans
    )


def _changed(before: Sums, after: Sums) -> tuple[int, int]:
    """The span outside of which nothing changes."""
    (places,) = np.nonzero(np.abs(before - after).max(0) > _slack(before))
    return int(places[0]), int(places[-1]) + 1


def _rolls(sums: Sums, turns: int) -> Iterator[Sums]:
    """All rolls of one digit of the index (the row of a row-major one); of long ones the likely."""
    draws, length = sums.shape
    for outer in _divisors(length):
        for size in _divisors(length // outer):
            digits = sums.reshape(draws, outer, size, -1)
            for step in _steps(size, turns):
                yield np.roll(digits, step, 2).reshape(draws, length)


def _steps(size: int, turns: int) -> Sequence[int]:
    if size <= _SHORT:
        return range(1, size)
    return () if size % turns else range(size // turns, size, size // turns)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _is_same(one: Sums, two: Sums) -> bool:
    return bool(np.abs(one - two).max(initial=0) <= _slack(one))


def _slack(sums: Sums) -> float:
    return _SLACK * max(1.0, float(np.abs(sums).max(initial=0)))
