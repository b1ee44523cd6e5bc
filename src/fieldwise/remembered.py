"""Answers that hold for all of a process, found once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """Answers by what they were found for; of too many the older half is forgotten.

    most: so much is remembered, each answer by its own weight

    >>> squares = Remembered[int](most=2)
    >>> for number in range(3):
    ...     squares.add(number, number**2)
    >>> squares.find(0), squares.find(2)
    (None, 4)
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._weight = 0
        self._known: dict[Hashable, tuple[V, int]] = {}

    def find(self, key: Hashable) -> V | None:
        """What is known of this."""
        found = self._known.get(key)
        return None if found is None else found[0]

    def add(self, key: Hashable, answer: V, weight: int = 1) -> None:
        """From now on this is known of it."""
        self._weight -= self._known.pop(key, (None, 0))[1]
        while self._known and self._weight + weight > self.most:
            for old in list(self._known)[: len(self._known) // 2 + 1]:
                _, gone = self._known.pop(old, (None, 0))
                self._weight -= gone
        self._known[key] = answer, weight
        self._weight += weight

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()
        self._weight = 0
