"""The parts of a plan: stretches of axes, what becomes of an axis, outputs, and single crops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from fieldwise.tile.arrays import Interval
from fieldwise.written import counted


@dataclass(frozen=True, slots=True)
class AxisTile:
    """One stretch of one axis.

    reads:  intervals of the input, which stand side by side in the crop (two of them where an
            output sees both ends of the image)
    keeps:  per output, the interval of the crop's output that is kept
    writes: per output, the interval of the whole output that it is
    gives:  per output, how long the crop's output is
    """

    reads: tuple[Interval, ...]
    keeps: tuple[Interval, ...]
    writes: tuple[Interval, ...]
    gives: tuple[int, ...]

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
            'wrapped': crops at the border also hold the other end of the image;
            'kept': strips hand on the columns at their ends, and see nothing beyond them
    """

    axis: int
    size: int
    tile: int
    grid: int
    halo: Interval
    border: str
    pieces: tuple[AxisTile, ...]

    def __str__(self) -> str:
        tiles = counted(len(self.pieces), "tile")
        if self.border == "kept":
            strips = counted(len(self.pieces), "strip")
            return f"{strips} of {self.tile} of {self.size}; grid {self.grid}, columns are kept"
        return (
            f"{tiles} of {self.tile} of {self.size}; grid {self.grid}, halo "
            f"{self.halo[0]} before and {self.halo[1]} after, {self.border}"
        )


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """One output of the model.

    dims:   the dimension that each tiled axis becomes
    scales: outputs per input sample along each tiled axis
    batched: the dimension along which the crops of a batch stand
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    dims: tuple[int, ...]
    scales: tuple[Fraction, ...]
    batched: int = 0


@dataclass(frozen=True, slots=True)
class Tile:
    """One crop: per input axis its intervals; per output its shape, what to keep, where it goes."""

    reads: Mapping[int, tuple[Interval, ...]]
    keeps: tuple[tuple[slice, ...], ...]
    writes: tuple[tuple[slice, ...], ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Input samples of the crop along each tiled axis."""
        return tuple(sum(hi - lo for lo, hi in found) for found in self.reads.values())


@dataclass(frozen=True, slots=True)
class Batch:
    """Equal crops that one call computes, side by side along the first axis of every input.

    tiles: theirs; count: crops in the call, the last of which stands there again where they are
           fewer, so that every call on crops of one shape is on as many
    """

    tiles: tuple[Tile, ...]
    count: int = 1
