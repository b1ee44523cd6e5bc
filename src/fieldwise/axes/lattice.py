"""What a global operation sees of an unbounded axis: every index of some residues."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, lcm

from fieldwise.axes.axis_map import AxisMap
from fieldwise.axes.index_set import IndexSet


@dataclass(frozen=True, slots=True)
class Lattice:
    """Every index i of an axis with i mod ``modulus`` in ``residues``, whichever unit looks.

    ``FULL``, the whole axis, is the lattice of modulus 1.  A mean over ``x[::2]`` is not FULL:
    it never reads an odd index.

    >>> Lattice.swept(AxisMap.window(1, stride=2))
    Lattice(modulus=2, residues=IndexSet{0})
    >>> Lattice.swept(AxisMap.window(3, stride=2)) == FULL
    True
    """

    modulus: int
    residues: IndexSet

    def __post_init__(self) -> None:
        modulus, residues = self.modulus, self.residues
        if residues.count == modulus:
            modulus, residues = 1, IndexSet(0, 1)
        for prime in _primes(modulus):
            while modulus % prime == 0:
                small = residues.modulo(modulus // prime)
                if small.count * prime != residues.count:
                    break
                modulus, residues = modulus // prime, small
        object.__setattr__(self, "modulus", modulus)
        object.__setattr__(self, "residues", residues)

    @classmethod
    def swept(cls, index: AxisMap) -> Lattice | AxisMap:
        """The union of a map over all units of an unbounded axis."""
        union = index.offsets[0]
        for offset in index.offsets[1:]:
            union = union | offset
        if index.advance == 0:
            return AxisMap.constant(union)
        modulus = abs(index.advance)
        return cls(modulus, union.modulo(modulus))

    def covers(self, other: AxisMap | Lattice) -> bool:
        """Whether what ``other`` reads is always among these indices."""
        if self.modulus == 1:
            return True
        if isinstance(other, Lattice):
            common = lcm(self.modulus, other.modulus)
            return other._over(common).issubset(self._over(common))
        turns = self.modulus // gcd(other.advance, self.modulus)
        return all(
            offset.shift(turn * other.advance).modulo(self.modulus).issubset(self.residues)
            for turn in range(turns)
            for offset in other.offsets
        )

    def union(self, other: Lattice) -> Lattice:
        """Both together."""
        common = lcm(self.modulus, other.modulus)
        return Lattice(common, self._over(common) | other._over(common))

    def within(self, size: int) -> IndexSet:
        """Its indices in [0, size)."""
        turns = IndexSet.range(0, size + self.modulus, self.modulus)
        return self.residues.minkowski(turns).clip(size)

    def _over(self, modulus: int) -> IndexSet:
        return self.residues.minkowski(IndexSet.range(0, modulus, self.modulus))


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


FULL = Lattice(1, IndexSet(0, 1))
