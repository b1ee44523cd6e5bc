"""Reads and arguments that several families of rules share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fieldwise.axes import AxisMap, IndexSet, Within, since, until
from fieldwise.capture.torch.registry import OpCall, Reads, normal_dim
from fieldwise.errors import CaptureError
from fieldwise.graph.calls import per_axis as per_axis
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Coord,
    Read,
    Separable,
    Shape,
    broadcast,
    identity,
    separable,
    straight,
)

MOST_PLACES = 1 << 18
"""Places of a result that are listed one by one, where they form no rows and columns."""

Where = tuple[tuple[int, IndexSet], ...]


def source(call: OpCall, name: str = "self") -> tuple[int, Shape]:
    """The operand number and the shape of the argument that the op works on."""
    number = call.operand(name)
    if number is None:
        raise CaptureError(f"The rule of {call.op} expects its argument '{name}' to be derived")
    return number, call.operands[number]


def lined(call: OpCall) -> tuple[int, Shape, int]:
    """The operand number, the shape and the dimension that an op works along."""
    number, shape = source(call)
    return number, shape, normal_dim(call["dim"], len(shape))


def separably(call: OpCall, **coords: Sequence[Coord]) -> list[Read]:
    """A read, by its coordinates, of each of these arguments that is an operand."""
    numbers = ((call.operand(name), along) for name, along in coords.items())
    return [separable(number, *along) for number, along in numbers if number is not None]


def entirely(call: OpCall, *names: str, coord: Coord = WHOLE) -> list[Read]:
    """Of each operand, or of those among these arguments, every dimension read alike."""
    numbers = (n for name, n in call.derived() if not names or name in names)
    return [separable(number, *[coord] * len(call.operands[number])) for number in numbers]


def along_but(number: int, rank: int, changed: Mapping[int, Coord], where: Where = ()) -> Read:
    """The same index in every dimension but those in ``changed``.

    >>> along_but(0, 2, {1: WHOLE}).steps[0].coords
    (Along(dim=0, map=AxisMap(...), border=<Border.DROP: 'drop'>), Whole())
    """
    if not changed and not where:
        return identity(number, rank)
    coords: list[Coord] = list(straight(rank))
    for dim, coord in changed.items():
        coords[dim] = coord
    return separable(number, *coords, where=where)


def reduced(number: int, rank: int, dims: Iterable[int], *, keepdim: bool, first: int = 0) -> Read:
    """Whole along ``dims``; the others pass, renumbered where reduced ones vanish.

    They stand in the result from dimension ``first`` on.
    """
    dims, coords, place = set(dims), list[Coord](), first
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


def earlier(number: int, shape: Shape, result: Shape) -> list[Read]:
    """Of an operand that is broadcast to the result: all up to the index, in row-major order.

    Per dimension: the same index in those before it, a smaller one here, any in those after it.

    >>> [read.steps[-1].coords[1] == WHOLE for read in earlier(0, (2, 3), (2, 3))]
    [True, False]
    """
    rank = len(result)
    last = max((dim for dim, size in enumerate(result) if size > 1), default=rank - 1)
    spread = broadcast(number, shape, result)
    reads = []
    for dim in range(rank):
        if dim == last or result[dim] > 1:
            here = Along(dim, past(result[dim], itself=dim == last))
            after = [WHOLE] * (rank - dim - 1)
            step = Separable((*straight(rank)[:dim], here, *after))
            reads.append(Read(number, (*spread.steps, step), (result,)))
    return reads or [spread]


def past(size: int, *, itself: bool = True, of: int | None = None) -> Within:
    """Index i → all indices before it, and ``itself``; ``of`` an axis of another size."""
    return Within(AxisMap(1, (until(0 if itself else -1),)), size, size if of is None else of)


def future(size: int, *, itself: bool = True) -> Within:
    """Index i → all indices after it, and ``itself``."""
    return Within(AxisMap(1, (since(0 if itself else 1),)), size, size)


def per_result(call: OpCall, *reads: Read) -> Reads:
    """The same reads for every result of the op."""
    return (reads,) * len(call.results)


def blocks(dim: int, before: int, after: int, groups: int) -> Coord:
    """Index i of ``after`` reads its group's share of ``before`` (grouped channels).

    >>> print(blocks(1, 4, 6, 2).map)
    3q+r -> 2q+{0..1} | {0..1} | {0..1}
    """
    if groups == 1:
        return WHOLE
    share = IndexSet.range(0, before // groups)
    return Along(dim, AxisMap(before // groups, (share,) * (after // groups)))
