"""Reads and arguments that several families of rules share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.registry import OpCall, Reads
from fieldwise.errors import CaptureError
from fieldwise.graph.ir import WHOLE, Along, Coord, Read, Shape, broadcast, separable, straight

Where = tuple[tuple[int, IndexSet], ...]


def source(call: OpCall, name: str = "self") -> tuple[int, Shape]:
    """The operand number and the shape of the argument that the op works on."""
    number = call.operand(name)
    if number is None:
        raise CaptureError(f"The rule of {call.op} expects its argument '{name}' to be derived")
    return number, call.operands[number]


def along_but(number: int, rank: int, changed: Mapping[int, Coord], where: Where = ()) -> Read:
    """The same index in every dimension but those in ``changed``.

    >>> along_but(0, 2, {1: WHOLE}).steps[0].coords
    (Along(dim=0, map=AxisMap(...), border=<Border.DROP: 'drop'>), Whole())
    """
    coords: list[Coord] = list(straight(rank))
    for dim, coord in changed.items():
        coords[dim] = coord
    return separable(number, *coords, where=where)


def reduced(number: int, rank: int, dims: Iterable[int], *, keepdim: bool) -> Read:
    """Whole along ``dims``; the others pass, renumbered where reduced ones vanish."""
    dims, coords, place = set(dims), list[Coord](), 0
    for dim in range(rank):
        coords.append(WHOLE if dim in dims else Along(place))
        place += keepdim or dim not in dims
    return separable(number, *coords)


def permuted(number: int, order: Sequence[int]) -> Read:
    """Result dimension d is operand dimension order[d]."""
    places = {dim: place for place, dim in enumerate(order)}
    return separable(number, *(Along(places[dim]) for dim in range(len(order))))


def broadcasts(call: OpCall, *names: str) -> list[Read]:
    """Operands among these arguments that are broadcast to the result (a bias, an addend)."""
    return [
        broadcast(number, call.operands[number], call.results[0])
        for name in names
        if (number := call.operand(name)) is not None
    ]


def per_result(call: OpCall, *reads: Read) -> Reads:
    """The same reads for every result of the op."""
    return (reads,) * len(call.results)


def per_axis(value: int | Sequence[int] | None, axes: int, default: int = 0) -> tuple[int, ...]:
    """A torch size argument, once per spatial axis.

    >>> per_axis(2, 3), per_axis([2], 2), per_axis([], 2, default=1)
    ((2, 2, 2), (2, 2), (1, 1))
    """
    if value is None or (not isinstance(value, int) and len(value) == 0):
        return (default,) * axes
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)


def blocks(dim: int, before: int, after: int, groups: int) -> Coord:
    """Index i of ``after`` reads its group's share of ``before`` (grouped channels).

    >>> print(blocks(1, 4, 6, 2).map)
    3q+r -> 2q+{0..1} | {0..1} | {0..1}
    """
    if groups == 1:
        return WHOLE
    share = IndexSet.range(0, before // groups)
    return Along(dim, AxisMap(before // groups, (share,) * (after // groups)))
