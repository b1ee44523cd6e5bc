"""Index sets without an end on either side: every index of some residues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd, lcm

from fieldwise.axes.index_set import EMPTY, IndexSet


@dataclass(frozen=True, slots=True)
class Lattice:
    """Every index i with i mod ``modulus`` in ``residues``; at its least modulus.

    A mean over ``x[::2]`` is not a mean over the whole axis: it never reads an odd index.

    >>> evens = Lattice(4, IndexSet.of([0, 2]))
    >>> evens, evens.shift(1).between(-3, 4)
    (Lattice(modulus=2, residues=IndexSet{0}), IndexSet{-3, -1, 1, 3})
    """

    modulus: int
    residues: IndexSet

    def __post_init__(self) -> None:
        modulus, residues = self.modulus, self.residues
        if residues.count in (0, modulus):
            modulus, residues = 1, residues.modulo(1)
        for prime in _primes(modulus):
            while modulus % prime == 0:
                small = residues.modulo(modulus // prime)
                if small.count * prime != residues.count:
                    break
                modulus, residues = modulus // prime, small
        object.__setattr__(self, "modulus", modulus)
        object.__setattr__(self, "residues", residues)

    def __bool__(self) -> bool:
        return bool(self.residues)

    def __contains__(self, index: int) -> bool:
        return index % self.modulus in self.residues

    def over(self, modulus: int) -> IndexSet:
        """Its residues by a multiple of its modulus."""
        return self.residues.minkowski(IndexSet.range(0, modulus, self.modulus))

    def between(self, low: int, high: int) -> IndexSet:
        """Its indices in [low, high)."""
        size = high - low
        if size <= 0 or not self.residues:
            return EMPTY
        turns = IndexSet.range(0, size + self.modulus, self.modulus)
        residues = self.residues.shift(-low).modulo(self.modulus)
        return residues.minkowski(turns).clip(size).shift(low)

    def combined(self, other: Lattice, how: Callable[[IndexSet, IndexSet], IndexSet]) -> Lattice:
        """What an operation on sets makes of both."""
        common = lcm(self.modulus, other.modulus)
        return Lattice(common, how(self.over(common), other.over(common)))

    def shift(self, by: int) -> Lattice:
        """{i + by}."""
        if by % self.modulus == 0:
            return self
        return Lattice(self.modulus, self.residues.shift(by).modulo(self.modulus))

    def scale(self, factor: int) -> Lattice:
        """{factor · i}, factor not zero."""
        modulus = self.modulus * abs(factor)
        return Lattice(modulus, self.residues.scale(factor).modulo(modulus))

    def quotients(self, step: int, remainder: int = 0) -> Lattice:
        """{q : q · step + remainder is in the lattice}, step positive.

        >>> Lattice(3, IndexSet.of([1])).quotients(2)          # 2q in {1, 4, 7, …}
        Lattice(modulus=3, residues=IndexSet{2})
        """
        modulus = self.modulus // gcd(self.modulus, step)
        indices = self.between(remainder, remainder + modulus * step)
        return Lattice(modulus, indices.quotients(step, remainder))

    def plus(self, other: Lattice | IndexSet) -> Lattice:
        """{a + b}: of two lattices, one at the greatest common modulus.

        >>> Lattice(4, IndexSet.of([0])).plus(Lattice(6, IndexSet.of([1])))
        Lattice(modulus=2, residues=IndexSet{1})
        """
        if isinstance(other, Lattice):
            modulus, indices = gcd(self.modulus, other.modulus), other.residues
        else:
            modulus, indices = self.modulus, other
        return Lattice(modulus, self.residues.minkowski(indices).modulo(modulus))


def _primes(number: int) -> list[int]:
    """The prime factors of a number, each once."""
    found, prime = [], 2
    while prime * prime <= number:
        if number % prime == 0:
            found.append(prime)
            while number % prime == 0:
                number //= prime
        prime += 1
    return [*found, number] if number > 1 else found


ALL = Lattice(1, IndexSet(0, 1))
NONE = Lattice(1, EMPTY)
