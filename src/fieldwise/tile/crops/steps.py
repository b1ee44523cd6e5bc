"""One node of the proof: which positions of its results are paired, given those of its operands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from fieldwise.axes import IndexSet
from fieldwise.axes.digits import regroup
from fieldwise.graph.ir import (
    Along,
    Coord,
    Fixed,
    Node,
    Read,
    Reshape,
    Separable,
    Shape,
)
from fieldwise.tile.crops.match import Match, MatchedDim, Matches, carried, same, single, split

Cuts = Sequence[Sequence[tuple[int, int]]]
"""Per dimension its digits, as (number of the digit before, size)."""


class LostError(Exception):
    """Nothing of a result can be told from the crop; the text says why."""


@dataclass(frozen=True, slots=True)
class Both:
    """The shapes of one value in the crop and in the whole."""

    crop: Shape
    whole: Shape


@dataclass(frozen=True, slots=True)
class _Guarded:
    """What one read says of one result dimension, and where it reads at all."""

    dim: MatchedDim
    crop: IndexSet | None
    whole: IndexSet | None


def through_reads(
    nodes: tuple[Node, Node],
    position: int,
    operands: Sequence[Matches],
    shapes: Sequence[Both],
    result: Both,
    repeats: bool,
) -> Matches:
    """The pairs of result ``position``: of (crop, whole) nodes, by all their reads together.

    repeats: whether along a dimension that no operand drives the result repeats itself

    Raises LostError where a read takes in what the crop does not hold.
    """
    reads = tuple(node.reads[position] for node in nodes)
    if [r.operand for r in reads[0]] != [r.operand for r in reads[1]]:
        raise LostError("it reads its operands differently at another size")
    found: list[list[_Guarded]] = [[] for _ in result.crop]
    for one, two in zip(*reads, strict=True):
        ends = shapes[one.operand]
        for dim, said in _read((one, two), operands[one.operand], ends, result, repeats):
            found[dim].append(said)
    return tuple(
        _agreed(said, sizes, repeats)
        for said, sizes in zip(found, zip(result.crop, result.whole, strict=True), strict=True)
    )


def _read(
    reads: tuple[Read, Read], state: Matches, before: Both, after: Both, repeats: bool
) -> Iterator[tuple[int, _Guarded]]:
    """What the last step of a read says of the result's dimensions, the others gone through."""
    one, two = reads
    if [type(s) for s in one.steps] != [type(s) for s in two.steps]:
        raise LostError("it reads its operand differently at another size")
    between = [Both(c, w) for c, w in zip(one.shapes, two.shapes, strict=True)]
    ends = list(pairwise([before, *between, after]))
    for number, (crop, whole) in enumerate(zip(one.steps, two.steps, strict=True)):
        old, new = ends[number]
        if isinstance(crop, Reshape):
            state = reshaped(state, old, new)
            said = [(dim, _Guarded(digits, None, None)) for dim, digits in enumerate(state)]
        else:
            assert isinstance(whole, Separable)
            said = list(_separable((crop, whole), state, new))
            if number + 1 < len(one.steps):
                state = _one_read(said, new, repeats)
    yield from said


def _one_read(said: Sequence[tuple[int, _Guarded]], shape: Both, repeats: bool) -> Matches:
    by_dim: list[list[_Guarded]] = [[] for _ in shape.crop]
    for dim, guarded in said:
        by_dim[dim].append(guarded)
    sizes = zip(shape.crop, shape.whole, strict=True)
    return tuple(_agreed(one, pair, repeats) for one, pair in zip(by_dim, sizes, strict=True))


def _separable(
    steps: tuple[Separable, Separable], state: Matches, after: Both
) -> Iterator[tuple[int, _Guarded]]:
    guards = tuple(dict(step.where) for step in steps)
    driven = set()
    for dim, one, two in zip(state, steps[0].coords, steps[1].coords, strict=True):
        if isinstance(one, Along) and isinstance(two, Along) and one.dim == two.dim:
            sizes = (after.crop[one.dim], after.whole[one.dim])
            digits = _along(dim, (one, two), sizes)
            driven.add(one.dim)
            yield one.dim, _Guarded(digits, guards[0].get(one.dim), guards[1].get(one.dim))
        else:
            _read_alike(dim, one, two)
    for number in {*guards[0], *guards[1]} - driven:
        anything = (Match(after.crop[number], after.whole[number], None),)
        yield number, _Guarded(anything, guards[0].get(number), guards[1].get(number))


def _along(dim: MatchedDim, along: tuple[Along, Along], after: tuple[int, int]) -> MatchedDim:
    sizes = (single_size(dim, crop=True), single_size(dim, crop=False))
    kept = all(map(Along.keeps, along, sizes, after))
    return dim if kept else (carried(single(dim), along, after),)


def single_size(dim: MatchedDim, *, crop: bool) -> int:
    """The size of a dimension, in the crop or in the whole."""
    size = 1
    for digit in dim:
        size *= digit.crop if crop else digit.whole
    return size


def _read_alike(dim: MatchedDim, one: Coord, two: Coord) -> None:
    """What is read for every result position must be there, all of it."""
    if type(one) is not type(two):
        raise LostError("it reads its operand differently at another size")
    if isinstance(one, Fixed) and isinstance(two, Fixed):
        match = single(dim)
        taps = zip(one.indices, two.indices, strict=False)
        if len(one.indices) != len(two.indices) or not all(match.holds(c, w) for c, w in taps):
            raise LostError("it picks a position of the whole axis")
    elif not all(digit.is_same for digit in dim):
        raise LostError("it reads the whole axis")


# -------------------------------------------------------------------- several reads


def _agreed(said: Sequence[_Guarded], sizes: tuple[int, int], repeats: bool) -> MatchedDim:
    """One dimension of a result: the positions on which all reads agree."""
    if not said:
        if sizes[0] == sizes[1]:
            return (Match.same(sizes[0]),)
        if repeats:
            return (Match(*sizes, None),)
        raise LostError("it makes an axis whose size depends on the image's")
    plain = all(one.crop is None and one.whole is None for one in said)
    forms = {tuple((digit.crop, digit.whole) for digit in one.dim) for one in said}
    if plain and len(forms) == 1:
        parts = zip(*(one.dim for one in said), strict=True)
        return tuple(_intersection(part) for part in parts)
    return (_guarded([(single(one.dim), one.crop, one.whole) for one in said], sizes),)


def _intersection(matches: Sequence[Match]) -> Match:
    bounded = [match for match in matches if match.pairs is not None]
    if not bounded:
        return matches[0]
    first = bounded[0]
    if all(match is first for match in bounded):
        return first
    found = dict(first.pairs or ())
    for other in bounded[1:]:
        found = {d: good & other.at(d) for d, good in found.items()}
    return Match.of(first.crop, first.whole, found)


def _guarded(
    said: Sequence[tuple[Match, IndexSet | None, IndexSet | None]], sizes: tuple[int, int]
) -> Match:
    """Reads of which some hold for some positions only (the operands of a concatenation)."""
    crop, whole = sizes
    distances = {d for match, _, _ in said for d in match.distances()}
    found: dict[int, IndexSet] = {}
    for distance in distances:
        good = IndexSet.range(max(0, -distance), min(crop, whole - distance))
        for match, here, there in said:
            inside = IndexSet.range(0, crop) if here is None else here
            landed = IndexSet.range(0, whole) if there is None else there
            landed = landed.shift(-distance)
            reads = match.at(distance) & inside & landed
            good = good & (reads | (good - inside - landed))
        found[distance] = good
    if not distances:
        return (
            Match(crop, whole, None) if all(m.pairs is None for m, _, _ in said) else Match(*sizes)
        )
    return Match.of(crop, whole, found)


# -------------------------------------------------------------------- reshaping


def reshaped(state: Matches, before: Both, after: Both) -> Matches:
    """The digits regrouped, cut where a new dimension ends within one.

    Raises LostError where the two images' digits are not cut alike.
    """
    if before.crop == after.crop and before.whole == after.whole:
        return state
    digits = [digit for dim in state for digit in dim if (digit.crop, digit.whole) != (1, 1)]
    if all(digit.is_same for digit in digits) and after.crop == after.whole:
        return same(after.crop)
    whole = regroup([digit.whole for digit in digits], after.whole)
    if whole is None or any(digit.whole == 1 for digit in digits):
        raise LostError("it is a reshape that cuts across rows")
    crop = _cut_like(whole, digits, after.crop)
    if crop is None:
        raise LostError("it is a reshape that cuts a crop differently")
    parts = _pieces(digits, crop, whole)
    return tuple(tuple(next(parts) for _ in group) or (Match.same(1),) for group in crop)


def _cut_like(whole: Cuts, digits: Sequence[Match], shape: Shape) -> Cuts | None:
    """The crop's digits cut where the whole's are; None where they do not make the shape.

    A reshape keeps the order of elements, so whatever consecutive digits multiply to the new
    dimensions describe it; one that has a single position in the crop would fit anywhere.
    """
    tails = [1] * len(digits)
    for number, size in (cut for group in whole for cut in group):
        tails[number] *= size
    found, seen = list[list[tuple[int, int]]](), set[int]()
    for group in whole:
        found.append([])
        for number, size in group:
            lead, rest = divmod(digits[number].crop * size, tails[number])
            if number not in seen and rest:
                return None
            found[-1].append((number, size if number in seen else lead))
            seen.add(number)
    fits = [prod(size for _, size in group) for group in found] == list(shape)
    return found if fits else None


def _pieces(digits: Sequence[Match], crop: Cuts, whole: Cuts) -> Iterator[Match]:
    sizes: list[list[tuple[int, int]]] = [[] for _ in digits]
    for one, two in zip(crop, whole, strict=True):
        for (number, size), (_, other) in zip(one, two, strict=True):
            sizes[number].append((size, other))
    for digit, cut in zip(digits, sizes, strict=True):
        if len(cut) == 1:
            yield digit
            continue
        if digit.is_same:
            yield from (Match.same(size) for size, _ in cut)
            continue
        (lead, other), *tail = cut
        if any(c != w for c, w in tail):
            raise LostError("it is a reshape that cuts a crop differently")
        yield split(digit, lead, other, digit.crop // lead)
        yield from (Match.same(size) for size, _ in tail)
