"""Which roll, if any, makes of a value what became of it.

A roll moves whole slices.  So along each dimension the sums over the slices of a fixed function of
their elements are rolled with them: where these are not, nothing was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldwise.shift.certificate import Move

_SLACK = 1e-9
_SHORT = 64

Sums = NDArray[np.float64]
"""Of the slices along one dimension: draws × slices."""


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """What is compared of a value: per dimension the sums over its slices.

    typical: the size of its numbers, in which they are measured
    """

    typical: float
    sums: tuple[Sums, ...]

    @classmethod
    def of(cls, draws: Sequence[Tensor], like: Slices | None = None) -> Slices:
        """Those of a value, per draw; in the measure of another one, to be compared with it."""
        size = _typical(draws) if like is None else like.typical
        return cls(size, tuple(_slice_sums(draws, size)))


def answer(before: Slices, after: Slices, turns: int, *, whole: bool) -> tuple[Move, ...] | None:
    """The roll that a value may have made, per dimension that moved; None if none.

    turns: how often it is rolled until it is as it was
    whole: whether all positions of a dimension have to move; else some at its ends may stay

    >>> x = torch.arange(6.0).sin().view(1, 6)
    >>> before = Slices.of([x])
    >>> moves = answer(before, Slices.of([x.roll(1, 1)], before), 6, whole=True)
    >>> [(move.dim, move.size, move.step) for move in moves]
    [(1, 6, 1)]
    >>> answer(before, Slices.of([x + torch.arange(6.0)], before), 6, whole=True) is None
    True
    """
    found: list[Move] = []
    for dim, (one, two) in enumerate(zip(before.sums, after.sums, strict=True)):
        if _is_same(one, two):
            continue
        move = _roll(one, two, dim, turns, whole=whole)
        if move is None:
            return None
        found.append(move)
    return tuple(found)


def rolled(value: Tensor, moves: Sequence[Move]) -> Tensor:
    """The value after one step of each move."""
    value = value.clone()
    for move in moves:
        part = value.narrow(move.dim, move.start, move.stop - move.start)
        digits = part.unflatten(move.dim, (move.outer, move.size, move.inner))
        part.copy_(digits.roll(move.step, move.dim + 1).flatten(move.dim, move.dim + 2).clone())
    return value


def _typical(run: Sequence[Tensor]) -> float:
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


def _slice_sums(run: Sequence[Tensor], size: float) -> Iterator[Sums]:
    """Per dimension the sums over its slices; a scalar has one slice."""
    values = []
    for value in run:
        x = (_numbers(value) / size).nan_to_num(nan=0.7, posinf=3.0, neginf=-3.0)
        values.append(x + (1.3 * x + 0.4).sin())
    rank = values[0].dim()
    for dim in range(1, rank) if rank > 1 else (None,):
        others = [other for other in range(1, rank) if other != dim]
        sums = [x.sum(others) if others else x for x in values]
        yield torch.cat([one.reshape(len(one), -1) for one in sums]).numpy()


def _roll(before: Sums, after: Sums, dim: int, turns: int, *, whole: bool) -> Move | None:
    """The roll along one dimension, of all of it or of what changes."""
    if not _is_same(np.sort(before), np.sort(after)):
        return None
    all_of_it = 0, before.shape[1]
    for start, stop in dict.fromkeys([all_of_it, all_of_it if whole else _changed(before, after)]):
        for outer, size, inner, step in _steps(stop - start, turns):
            move = Move(dim, start, stop, outer, size, inner, step)
            if _is_same(_moved(before, move), after):
                return move
    return None


def _changed(before: Sums, after: Sums) -> tuple[int, int]:
    """The span outside of which nothing changes."""
    (places,) = np.nonzero(np.abs(before - after).max(0) > _slack(before))
    return int(places[0]), int(places[-1]) + 1


def _moved(sums: Sums, move: Move) -> Sums:
    found = sums.copy()
    part = sums[:, move.start : move.stop]
    digits = part.reshape(len(sums), move.outer, move.size, move.inner)
    found[:, move.start : move.stop] = np.roll(digits, move.step, 2).reshape(part.shape)
    return found


def _steps(length: int, turns: int) -> Iterator[tuple[int, int, int, int]]:
    """All steps of one digit of the index: outer, size, inner, step; of long ones the likely."""
    divisors = [n for n in range(1, length + 1) if length % n == 0]
    for outer, size in product(divisors, divisors[::-1]):
        if length % (outer * size):
            continue
        if size <= _SHORT:
            steps: Sequence[int] = range(1, size)
        else:
            steps = () if size % turns else range(size // turns, size, size // turns)
        for step in steps:
            yield outer, size, length // (outer * size), step


def _is_same(one: Sums, two: Sums) -> bool:
    return bool(np.abs(one - two).max(initial=0) <= _slack(one))


def _slack(sums: Sums) -> float:
    return _SLACK * max(1.0, float(np.abs(sums).max(initial=0)))
