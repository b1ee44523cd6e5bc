"""The plan of a tiled run, as data: which crops are read, and where their outputs belong.

A plan holds for one image size.  It is made by ``plan_tiles``, printed before anything runs, and
carried out by ``tiled`` or by anyone who can slice arrays: every tile says what to read, what of
the model's outputs to keep, and where that goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod

from fieldwise.errors import FieldwiseError
from fieldwise.tile.stream.refusal import Refusal

Interval = tuple[int, int]
"""[start, stop)."""


class TileError(FieldwiseError):
    """No exact tiling of this kind; ``refusals`` name the layers in the way, if there are any."""

    def __init__(self, what: str, refusals: Sequence[Refusal] = (), remedy: str = "") -> None:
        self.refusals = tuple(refusals)
        if not refusals:
            super().__init__(f"{what} {remedy}".strip())
            return
        lines = [f"{what}:", *(f"  {refusal}" for refusal in self.refusals[:_SHOWN])]
        if len(self.refusals) > _SHOWN:
            lines.append(f"  and {len(self.refusals) - _SHOWN} more")
        super().__init__("\n".join([*lines, remedy]).strip())


@dataclass(frozen=True, slots=True)
class Piece:
    """One stretch of one axis.

    reads:  intervals of the input, which stand side by side in the crop (two of them where an
            output sees both ends of the image)
    keeps:  per output, the interval of the crop's output that is kept
    writes: per output, the interval of the whole output that it is
    """

    reads: tuple[Interval, ...]
    keeps: tuple[Interval, ...]
    writes: tuple[Interval, ...]

    @property
    def length(self) -> int:
        """Input samples of the crop."""
        return sum(stop - start for start, stop in self.reads)


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """One tiled axis.

    axis:   of the inputs; size: its length
    tile:   input samples from tile to tile, a multiple of the grid
    grid:   the total stride: crops start at its multiples
    halo:   input samples that the outputs of a tile see beyond it (before, behind)
    border: 'clipped': crops end at the image's border, where the model's own padding acts;
            'wrapped': crops at the border also hold the other end of the image
    """

    axis: int
    size: int
    tile: int
    grid: int
    halo: Interval
    border: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """One output of the model.

    dims:   the dimension that each tiled axis becomes
    scales: outputs per input sample along each tiled axis
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    dims: tuple[int, ...]
    scales: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """One crop: per input axis its intervals; per output the slices to keep, and where they go."""

    reads: Mapping[int, tuple[Interval, ...]]
    keeps: tuple[tuple[slice, ...], ...]
    writes: tuple[tuple[slice, ...], ...]


@dataclass(frozen=True, slots=True)
class TilePlan:
    """A tiled run on inputs of one size (see the module).

    shapes:       of the inputs
    crop_bytes:   the most that a run on the largest crop holds at once: values alive at the same
                  time, as an eager run frees them; weights and the workspace of kernels excepted
    whole_bytes:  the same for the whole image
    recompute:    input samples read by all crops, relative to the image's
    proven:       whether every crop was compared with the whole, layer by layer; if not, the
                  caller vouches for the sizes
    """

    shapes: tuple[tuple[int, ...], ...]
    axes: tuple[AxisPlan, ...]
    outputs: tuple[OutputPlan, ...]
    crop_bytes: int
    whole_bytes: int
    recompute: float
    proven: bool = True

    def __len__(self) -> int:
        return prod(len(axis.pieces) for axis in self.axes)

    def tiles(self) -> Iterator[Tile]:
        """Every crop, row by row."""
        for pieces in product(*(axis.pieces for axis in self.axes)):
            reads = {axis.axis: piece.reads for axis, piece in zip(self.axes, pieces, strict=True)}
            keeps = tuple(self._slices(n, [p.keeps[n] for p in pieces]) for n in self._numbers)
            writes = tuple(self._slices(n, [p.writes[n] for p in pieces]) for n in self._numbers)
            yield Tile(reads, keeps, writes)

    @property
    def _numbers(self) -> range:
        return range(len(self.outputs))

    def _slices(self, number: int, intervals: Sequence[Interval]) -> tuple[slice, ...]:
        output = self.outputs[number]
        found = [slice(None)] * len(output.shape)
        for dim, interval in zip(output.dims, intervals, strict=True):
            found[dim] = slice(*interval)
        return tuple(found)

    def __str__(self) -> str:
        crops = "one crop, the image itself" if len(self) == 1 else f"{len(self)} crops"
        lines = [
            f"{crops}; at most {size_text(self.crop_bytes)} at once "
            f"({size_text(self.whole_bytes)} for the whole image); "
            f"{self.recompute:.2f} times the image is read"
        ]
        lines += [
            f"  axis {axis.axis}: {len(axis.pieces)} tiles of {axis.tile} of {axis.size}; grid "
            f"{axis.grid}, halo {axis.halo[0]} before and {axis.halo[1]} behind, {axis.border}"
            for axis in self.axes
        ]
        lines += [
            f"  output {output.name}: {'x'.join(map(str, output.shape))}, "
            f"{' x '.join(map(str, output.scales))} per input sample"
            for output in self.outputs
        ]
        return "\n".join(lines)


def size_text(nbytes: int) -> str:
    """A number of bytes for people.

    >>> size_text(300), size_text(3 << 20)
    ('300 B', '3.0 MiB')
    """
    unit, scale = next(
        ((unit, scale) for unit, scale in _UNITS if nbytes < 1024 * scale), _UNITS[-1]
    )
    return f"{nbytes / scale:.1f} {unit}" if scale > 1 else f"{nbytes} B"


_UNITS = (("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30))
_SHOWN = 12
