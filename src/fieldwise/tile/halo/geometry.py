"""What the closed form says of tiling: the grid, and along which dimension each output is tiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm, prod

from fieldwise.axes import AxisMap
from fieldwise.field.closed import Closed, closed_forms
from fieldwise.field.products import Layout, Track
from fieldwise.graph.ir import Graph
from fieldwise.tile.halo.global_layers import live_values, refuse_global
from fieldwise.tile.plan import TileError


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
                new = lcm(grid[place], *_strides(closed, place))
                if new != grid[place]:
                    grid[place], grid_by[place] = new, name
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


def _strides(closed: Closed, place: int) -> Iterator[int]:
    """How many input samples each field moves by, at least, in whole steps."""
    for product in closed.state.products:
        track = product.tracks[place]
        if isinstance(track.map, AxisMap) and track.digits and track.map.advance:
            tail = (closed.state.layout[dim][at][0] for dim, at in track.digits[1:])
            yield abs((track.map.rate * prod(tail)).numerator)


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
            if moving is None or not isinstance(track.map, AxisMap) or not track.map.rate:
                raise TileError(
                    f"The output '{_called(graph, output)}' does not follow axis {axis} of the "
                    f"input: {product.why or 'it does not move with it'}. Tile the part of the "
                    f"network before it."
                )
            tail = prod(layout[dim][at][0] for dim, at in track.digits[1:])
            inner = prod(size for size, _ in layout[moving][1:])
            dims.add(moving)
            rates.add(abs(track.map.rate) * tail / inner)
    if len(dims) != 1 or len(rates) != 1:
        join = next((closed.misaligned for closed in forms if closed.misaligned), output)
        raise TileError(
            f"Branches of different strides meet at '{join}', so that no crop of axis {axis} "
            f"gives what the whole image gives."
        )
    return dims.pop(), 1 / rates.pop()


def _leading(track: Track, layout: Layout) -> int | None:
    """The dimension whose leading digit is the track's."""
    if not track.digits:
        return None
    dim, at = track.digits[0]
    before = prod(size for size, _ in layout[dim][:at])
    return dim if before == 1 else None


def _halos(forms: Sequence[Closed], number: int) -> Iterator[tuple[int, int]]:
    for closed in forms:
        for product in closed.state.products:
            index = product.tracks[number].map
            if isinstance(index, AxisMap):
                taps = [offset for offset in index.offsets if offset]
                step = abs(index.advance)
                yield (
                    max(0, -min(offset.first for offset in taps)),
                    max(0, max(offset.last for offset in taps) + 1 - step),
                )


def _widest(halos: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return max(left for left, _ in halos), max(right for _, right in halos)


def _called(graph: Graph, output: str) -> str:
    names = dict(zip(graph.outputs, graph.output_names, strict=False))
    key = names.get(output, output)
    return output if key.isdecimal() else key
