"""What the closed form says of tiling: the grid, and along which dimension each output is tiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, lcm, prod

from fieldwise.axes import AnySet, AxisMap, IndexSet
from fieldwise.field.closed import Closed, closed_forms
from fieldwise.field.products import DigitLayout, Track
from fieldwise.graph.graph import Graph
from fieldwise.graph.live import live_values
from fieldwise.graph.names import called
from fieldwise.tile.crops.global_layers import refuse_global
from fieldwise.tile.errors import TileError


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a network's outputs lie over its input, per tiled axis.

    axes:   of the inputs
    grid:   crops that start at multiples of it meet every layer's stride alike
    grid_by: per axis, the first value whose stride makes it so
    dims:   per output, the dimension that each axis becomes
    scales: per output, outputs per input sample along each axis
    halos:  per axis, the input samples that an output sees (before, behind) its own stretch, at
            most, borders aside
    """

    axes: tuple[int, ...]
    grid: tuple[int, ...]
    dims: tuple[tuple[int, ...], ...]
    scales: tuple[tuple[Fraction, ...], ...]
    halos: tuple[tuple[int, int], ...]
    grid_by: tuple[str, ...]


def geometry(graph: Graph, axes: Sequence[int]) -> Geometry:
    """The geometry of a graph.  Raises TileError for what no tiling can be exact for."""
    forms = [closed_forms(graph, name, axes) for name in graph.inputs]
    refuse_global(graph, forms)
    live = live_values(graph)
    grid, grid_by = [1] * len(axes), list(graph.inputs[:1]) * len(axes)
    for found in forms:
        for name, closed in found.items():
            for place in range(len(axes)) if name in live else ():
                new = lcm(grid[place], *whole_strides(closed, place))
                if new != grid[place]:
                    grid[place], grid_by[place] = new, called(graph, name)
    dims, scales = [], []
    halos = [(0, 0)] * len(axes)
    for output in graph.outputs:
        seen = [found[output] for found in forms if output in found]
        places = [_place(graph, output, seen, number, axis) for number, axis in enumerate(axes)]
        dims.append(tuple(dim for dim, _ in places))
        scales.append(tuple(scale for _, scale in places))
        for number in range(len(axes)):
            halos[number] = _widest([halos[number], *_halos(seen, number)])
    return Geometry(
        tuple(axes), tuple(grid), tuple(dims), tuple(scales), tuple(halos), tuple(grid_by)
    )


def whole_strides(closed: Closed, place: int) -> Iterator[int]:
    """How many input samples each field moves by, at least, in whole steps."""
    for product in closed.state.products:
        track = product.tracks[place]
        index = track.map.bounded
        if track.digits and index is not None and index.advance:
            tail = (closed.state.layout[dim][at][0] for dim, at in track.digits[1:])
            yield abs((_rate(index, sized=product.sized) * prod(tail)).numerator) or 1


def _rate(index: AxisMap, *, sized: bool) -> Fraction:
    """Input samples per position; where the map holds at this size only, those in its middle.

    The grid that follows is a proposal: crops are proven one by one.
    """
    offsets: Sequence[AnySet] = index.offsets
    rows = [(i, o.first) for i, o in enumerate(offsets) if isinstance(o, IndexSet) and o]
    if not sized or len(rows) < 8:
        return index.rate
    (i, low), (j, high) = rows[len(rows) // 4], rows[3 * len(rows) // 4]
    slope = Fraction(high - low, j - i)
    return slope.limit_denominator(16) or slope


def _followed(index: object, *, sized: bool) -> Fraction:
    """How fast a map moves; 0 where it does not, or is none that moves evenly."""
    if not isinstance(index, AxisMap) or not index.advance:
        return Fraction(0)
    return abs(_rate(index, sized=sized))


def _place(
    graph: Graph, output: str, forms: Sequence[Closed], number: int, axis: int
) -> tuple[int, Fraction]:
    """The dimension of an output that follows an axis, and its scale."""
    rates: set[Fraction] = set()
    dims: set[int] = set()
    for closed in forms:
        layout = closed.state.layout
        for product in closed.state.products:
            track = product.tracks[number]
            moving = _leading(track, layout)
            rate = _followed(track.map, sized=product.sized)
            if moving is None or not rate:
                why = product.why or "it reads nothing that moves with it"
                raise TileError(
                    f"The output '{_called(graph, output)}' does not follow axis {axis} of the "
                    f"input: {why}. Tile the part of the network before it."
                )
            tail = prod(layout[dim][at][0] for dim, at in track.digits[1:])
            inner = prod(size for size, _ in layout[moving][1:])
            dims.add(moving)
            rates.add(rate * tail / inner)
    if not dims:
        raise TileError(
            f"The output '{_called(graph, output)}' sees nothing of the input: it has no tiles. "
            "Tile the network without it."
        )
    if len(dims) != 1 or len(rates) != 1:
        join = next((closed.misaligned for closed in forms if closed.misaligned), output)
        join = called(graph, join)
        raise TileError(
            f"Branches of different strides meet at '{join}', so that no crop of axis {axis} "
            f"gives what the whole image gives."
        )
    return dims.pop(), 1 / rates.pop()


def _leading(track: Track, layout: DigitLayout) -> int | None:
    """The dimension whose leading digit is the track's."""
    if not track.digits:
        return None
    dim, at = track.digits[0]
    before = prod(size for size, _ in layout[dim][:at])
    return dim if before == 1 else None


def _halos(forms: Sequence[Closed], number: int) -> Iterator[tuple[int, int]]:
    for closed in forms:
        for product in closed.state.products:
            index = product.tracks[number].map.bounded
            if index is not None and any(index.offsets):
                yield _halo(index, sized=product.sized)


def _halo(index: AxisMap, *, sized: bool) -> tuple[int, int]:
    """What is seen before and behind the stretch of a period; in the middle, where it has none."""
    taps = [(i, offset) for i, offset in enumerate(index.offsets) if offset]
    if not sized:
        before = -min(offset.first for _, offset in taps)
        behind = max(offset.last for _, offset in taps) + 1 - abs(index.advance)
        return max(0, before), max(0, behind)
    i, middle = taps[len(taps) // 2]
    at = floor(_rate(index, sized=True) * i)
    return max(0, at - middle.first), max(0, middle.last - at)


def _widest(halos: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return max(left for left, _ in halos), max(right for _, right in halos)


def _called(graph: Graph, output: str) -> str:
    names = dict(zip(graph.outputs, graph.output_names, strict=False))
    key = names.get(output, output)
    return output if key.isdecimal() else key
