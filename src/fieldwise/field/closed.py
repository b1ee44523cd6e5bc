"""The closed form of every value's field, in one sweep through the graph.

From the source onwards every value gets the antichain of products that its units see, as if the
source were unbounded: borders are not looked at (``field.pull`` does).  The cost depends on the
network, not on the size of the input.

What a value sees follows from what its operands see and from how it reads them, so it is worked out
once per process for all that have both in common: states and reads are compared by identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from fieldwise.axes import AnySet, AxisMap
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.field.beside import Concatenations, ReadState
from fieldwise.field.products import DigitLayout, Guards, Product, Track, over
from fieldwise.field.state import MOST, ValueState, joined, stemming, untold
from fieldwise.field.transfer import Narrowed, transfer
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Read, Shape
from fieldwise.remembered import Remembered


@dataclass(frozen=True, slots=True)
class Closed:
    """The closed form of one value, and where its oddities began.

    Element-wise ops hand on the very object, so that work done for it is done once.

    full_by:    per source axis, the first value on the way whose field is the whole axis
    misaligned: the first value on the way at which branches of different strides met
    """

    state: ValueState
    full_by: tuple[str | None, ...]
    misaligned: str | None


class _Found(NamedTuple):
    """The state of a value that sees anything, and what is asked of it again and again.

    globally: per source axis, whether some of it sees the whole axis
    together: whether what it sees moves at one stride
    parts:    what it was found for, which must live as long as it is compared by identity
    """

    state: ValueState
    globally: tuple[bool, ...]
    together: bool
    parts: Sequence[ReadState]


FOUND = Remembered[_Found](most=1 << 16)
"""By how a value reads what its operands see; each weighs as many products as it holds."""


def closed_forms(graph: Graph, source: str, axes: Sequence[int]) -> dict[str, Closed]:
    """The closed form of every value that depends on ``source``, along these of its axes."""
    start = _start(graph.shape(source), tuple(axes))
    found = {source: Closed(start, (None,) * len(axes), None)}
    concatenations = Concatenations()
    for node in graph.nodes:
        for position, name in enumerate(node.results):
            if name != source:
                value = _value(graph, node, node.reads[position], name, found, axes, concatenations)
                if value is not None:
                    found[name] = value
    return found


@lru_cache(maxsize=1 << 10)
def _start(shape: Shape, axes: tuple[int, ...]) -> ValueState:
    """What the source sees of itself."""
    layout = tuple(((size, 1 << dim),) for dim, size in enumerate(shape))
    whole = (Product(tuple(Track(((axis, 0),), IDENTITY) for axis in axes)),)
    return ValueState(layout, whole, whole, tuple(shape[axis] for axis in axes))


def _value(
    graph: Graph,
    node: Node,
    reads: Sequence[Read],
    name: str,
    found: Mapping[str, Closed],
    axes: Sequence[int],
    concatenations: Concatenations,
) -> Closed | None:
    parts, operands = [], []
    for read in reads:
        spelled = node.operands[read.operand]
        operand = found.get(spelled)
        if operand is not None:
            parts.append(ReadState(read, graph.shape(spelled), operand.state))
            operands.append(operand)
    if not parts:
        return None
    after = graph.shape(name)
    if len(parts) == 1 and _hands_on(parts[0].read, parts[0].shape, after):
        return operands[0]
    alike = (after, len(reads), *((id(read), shape, id(state)) for read, shape, state in parts))
    known = FOUND.find(alike)
    if known is None:
        known = _found(parts, after, len(reads), axes, concatenations)
        FOUND.add(alike, known, 1 + len(known.state.products))
    if len(operands) == 1 and known.state is operands[0].state:
        return operands[0]
    return Closed(
        known.state,
        tuple(_full_by(known, axis, name, operands) for axis in range(len(axes))),
        None if known.together else _first(name, [o.misaligned for o in operands]),
    )


def _found(
    parts: Sequence[ReadState],
    after: Shape,
    reads: int,
    axes: Sequence[int],
    concatenations: Concatenations,
) -> _Found:
    """What the result, of this shape, sees through these of so many reads."""
    state = concatenations.state(parts, after) if len(parts) > 1 else None
    if state is None:
        state = joined(list(_states(parts, after, reads)))
    if reads > 1 and not (len(parts) == 1 and state is parts[0].state):
        state = stemming(state, axes)
    globally = tuple(
        any(product.tracks[axis].map.is_global for product in state.products)
        for axis in range(len(axes))
    )
    together = len(state.products) < 2 or not _rates_differ(state)
    return _Found(state, globally, together, parts)


def _hands_on(read: Read, before: Shape, after: Shape) -> bool:
    """Whether a result is its only operand, index by index."""
    if before != after or 0 in after:
        return False
    step = read.single
    return step is not None and not step.where and step.is_identity


def _states(parts: Sequence[ReadState], after: Shape, reads: int) -> Iterator[ValueState]:
    """What the result, of this shape, sees through each of its reads."""
    products = 0
    narrowed: dict[int, Narrowed] = {}
    for read, shape, state in parts:
        if reads > _MANY_READS and len(state.products) > _MANY_READS:
            if id(state) not in narrowed:
                narrowed[id(state)] = Narrowed(state)
            state = narrowed[id(state)].to(read)
        if products > MOST:
            state = replace(state, products=untold(state.sizes), local=untold(state.sizes))
        state = _read(read, shape, after, state, reads - 1)
        yield state
        products += len(state.products)


_MANY_READS = 16
"""So many guarded reads of one value are worth looking its products up by their guards."""


def _read(read: Read, shape: Shape, result: Shape, state: ValueState, beside: int) -> ValueState:
    for step, before, after in read.forward(shape, result):
        if 0 in before or 0 in after:
            state = _empty(state, before, after)
        else:
            keeps = read.kind.keeps and read.single is not None
            state = transfer(state, step, before, after, beside=beside, keeps=keeps)
    return state


def _empty(state: ValueState, before: Shape, after: Shape) -> ValueState:
    """Where no element is read, or none made: no field, and dimensions that stem from nowhere."""
    layout = state.layout if before == after else tuple(((size, 0),) for size in after)
    return replace(state, layout=layout, products=(), local=())


def _full_by(known: _Found, axis: int, name: str, operands: Sequence[Closed]) -> str | None:
    return _first(name, [o.full_by[axis] for o in operands]) if known.globally[axis] else None


def _first(name: str, before: Sequence[str | None]) -> str:
    """Where something began: where it did for an operand, else here."""
    return next((began for began in before if began is not None), name)


def _rates_differ(state: ValueState) -> bool:
    """Whether products that hold for the same units move at different strides."""
    groups: dict[Guards, list[Product]] = {}
    for product in state.products:
        groups.setdefault(product.where, []).append(product)
    everywhere = groups.get((), [])
    for where, products in groups.items():
        together = [*products, *everywhere] if where else products
        if len(together) < 2:
            continue
        for tracks in zip(*(product.tracks for product in together), strict=True):
            maps = list(_over_same_digits(tracks, state.layout))
            if None in maps or len({index.rate for index in maps if index is not None}) > 1:
                return True
    return False


def _over_same_digits(
    tracks: Sequence[Track], layout: DigitLayout
) -> Iterator[AxisMap[AnySet] | None]:
    """The bounded tracks as maps over the same digits; None for one that cannot be."""
    bounded = [track for track in tracks if not track.map.is_global]
    widest = max((track.digits for track in bounded), key=len, default=())
    for track in bounded:
        yield over(track, widest, layout)
