"""The plan of a tiled run, as data: which crops are read, and where their outputs belong.

A plan holds for one image size.  It is made by ``plan_tiles``, printed before anything runs, and
carried out by ``tiled`` or by anyone who can slice arrays: every tile says what to read, what of
the model's outputs to keep, and where that goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from math import prod

from fieldwise.reports import Report
from fieldwise.tile.amounts import size_text
from fieldwise.tile.arrays import Interval
from fieldwise.tile.crops.other_tools import (
    ToolSettings,
    as_bioimageio,
    as_careamics,
    as_dask,
    as_monai,
    as_terratorch,
    as_torchio,
)
from fieldwise.tile.crops.parts import AxisPlan, AxisTile, Batch, OutputPlan, Tile


@dataclass(frozen=True, slots=True)
class TilePlan(Report):
    """A tiled run on inputs of one size (see the module).

    shapes:       of the inputs
    crop_bytes:   the most that one call holds at once, on the largest crop or on a batch of it:
                  values alive at the same time, as an eager run frees them, and on a processor
                  what torch's kernels hold beside them; weights excepted
    whole_bytes:  the same for the whole image
    recompute:    input samples read by all crops, relative to the image's
    proven:       whether every crop was compared with the whole, layer by layer; if not, the
                  caller vouches for the sizes
    structure:    of the model's output (see ``Graph.structure``); None where only names are known
    draws, writes: whether a run may draw random numbers, or write into the model's own tensors
    counts:       how many crops one call computes, by their lengths along the tiled axes; 1 of
                  those that are not listed
    single_because: why crops are computed one by one, where batches were tried
    """

    shapes: tuple[tuple[int, ...], ...]
    axes: tuple[AxisPlan, ...]
    outputs: tuple[OutputPlan, ...]
    crop_bytes: int
    whole_bytes: int
    recompute: float
    proven: bool = True
    structure: object = field(default=None, compare=False, repr=False)
    draws: bool = field(default=True, compare=False, repr=False)
    writes: bool = field(default=True, compare=False, repr=False)
    counts: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    single_because: str = ""

    @property
    def rows(self) -> tuple[Tile, ...]:
        """Every crop, row by row."""
        return tuple(self.tiles())

    def __len__(self) -> int:
        return prod(len(axis.pieces) for axis in self.axes)

    def tiles(self) -> Iterator[Tile]:
        """Every crop, row by row."""
        for pieces in product(*(axis.pieces for axis in self.axes)):
            reads = {axis.axis: piece.reads for axis, piece in zip(self.axes, pieces, strict=True)}
            keeps = tuple(self._slices(n, [p.keeps[n] for p in pieces]) for n in self._numbers)
            writes = tuple(self._slices(n, [p.writes[n] for p in pieces]) for n in self._numbers)
            shapes = tuple(self._shape(n, [p.gives[n] for p in pieces]) for n in self._numbers)
            yield Tile(reads, keeps, writes, shapes)

    def batches(self) -> Iterator[Batch]:
        """Every crop once, in batches of equal ones, in the order in which these are full.

        Of a shortened plan they are as large as in the whole one.
        """
        waiting: dict[tuple[int, ...], list[Tile]] = {}
        for tile in self.tiles():
            count = self.counts.get(tile.lengths, 1)
            group = waiting.setdefault(tile.lengths, [])
            group.append(tile)
            if len(group) == count:
                yield Batch(tuple(waiting.pop(tile.lengths)), count)
        for lengths, group in waiting.items():
            yield Batch(tuple(group), self.counts[lengths])

    @property
    def batch(self) -> int:
        """The most crops that one call computes."""
        return max(self.counts.values(), default=1)

    def shortened(self) -> TilePlan:
        """The same plan for a smaller image: with all there is to go wrong, and less of the rest.

        From the middle of every axis whole tiles are taken out, as many as leave a tile away from
        the borders on either side of the cut.  The tiles that stay read as much around them as
        before, and keep the same of it: a plan that is wrong stays wrong.
        """
        found = [_shortened(axis, [o.scales[n] for o in self.outputs])
                 for n, axis in enumerate(self.axes)]  # fmt: skip
        axes = tuple(axis for axis, _ in found)
        shapes = tuple(
            _resized(shape, {axis.axis: axis.size for axis in axes}) for shape in self.shapes
        )
        outputs = tuple(
            replace(
                output,
                shape=_resized(
                    output.shape,
                    {
                        dim: output.shape[dim] - gone[number]
                        for dim, (_, gone) in zip(output.dims, found, strict=True)
                    },
                ),
            )
            for number, output in enumerate(self.outputs)
        )
        return replace(self, shapes=shapes, axes=axes, outputs=outputs)

    def as_monai(self) -> ToolSettings:
        """The parameters of MONAI's ``sliding_window_inference``; see ``other_tools``."""
        return as_monai(self)

    def as_torchio(self) -> ToolSettings:
        """The parameters of TorchIO's grid sampler and aggregator; see ``other_tools``."""
        return as_torchio(self)

    def as_careamics(self) -> ToolSettings:
        """The tile of ``CAREamist.predict``; see ``other_tools``."""
        return as_careamics(self)

    def as_terratorch(self) -> ToolSettings:
        """The parameters of TerraTorch's ``tiled_inference``; see ``other_tools``."""
        return as_terratorch(self)

    def as_dask(self) -> ToolSettings:
        """The parameters of ``dask.array.map_overlap``; see ``other_tools``."""
        return as_dask(self)

    def as_bioimageio(self) -> ToolSettings:
        """The axes of a bioimage.io model description; see ``other_tools``."""
        return as_bioimageio(self)

    @property
    def _numbers(self) -> range:
        return range(len(self.outputs))

    def _shape(self, number: int, lengths: Sequence[int]) -> tuple[int, ...]:
        output = self.outputs[number]
        return _resized(output.shape, dict(zip(output.dims, lengths, strict=True)))

    def _slices(self, number: int, intervals: Sequence[Interval]) -> tuple[slice, ...]:
        output = self.outputs[number]
        found = [slice(None)] * len(output.shape)
        for dim, interval in zip(output.dims, intervals, strict=True):
            found[dim] = slice(*interval)
        return tuple(found)

    def __str__(self) -> str:
        crops = "one crop, the image itself" if len(self) == 1 else f"{len(self)} crops"
        if self.batch > 1:
            crops += f", at most {self.batch} per call"
        lines = [
            f"{crops}; at most {size_text(self.crop_bytes)} at once "
            f"({size_text(self.whole_bytes)} for the whole image); "
            f"{self.recompute:.2f} times the image is read"
        ]
        lines += [f"  axis {axis.axis}: {axis}" for axis in self.axes]
        lines += [
            f"  output {output.name}: {'x'.join(map(str, output.shape))}, "
            f"{' x '.join(map(str, output.scales))} positions per input sample"
            for output in self.outputs
        ]
        return "\n".join(lines)


def _resized(shape: Sequence[int], sizes: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(sizes.get(dim, size) for dim, size in enumerate(shape))


def _shortened(axis: AxisPlan, scales: Sequence[Fraction]) -> tuple[AxisPlan, tuple[int, ...]]:
    """An axis without the tiles in its middle; per output, how many positions are gone."""
    inner = [piece.reads[0][0] > 0 and piece.reads[-1][1] < axis.size for piece in axis.pieces]
    left = inner.index(True) + 1 if True in inner else len(inner)
    right = inner[::-1].index(True) + 1 if True in inner else 0
    for count in range(len(inner) - left - right, 0, -1):
        by = count * axis.tile
        gone = tuple(int(by * scale) for scale in scales)
        pieces = (
            *(_kept(piece, by) for piece in axis.pieces[:left]),
            *(_moved(piece, by, gone) for piece in axis.pieces[left + count :]),
        )
        if all(_fits(piece, axis.size - by) for piece in pieces):
            return replace(axis, size=axis.size - by, pieces=pieces), gone
    return axis, (0,) * len(scales)


def _kept(piece: AxisTile, by: int) -> AxisTile:
    """A piece before the cut: what it reads at the far end moves with that end."""
    start, stop = piece.reads[-1]
    return (
        piece
        if len(piece.reads) == 1
        else replace(piece, reads=(piece.reads[0], (start - by, stop - by)))
    )


def _moved(piece: AxisTile, by: int, gone: Sequence[int]) -> AxisTile:
    """A piece behind the cut."""
    start, stop = piece.reads[-1]
    writes = tuple((a - g, b - g) for (a, b), g in zip(piece.writes, gone, strict=True))
    return replace(piece, reads=(*piece.reads[:-1], (start - by, stop - by)), writes=writes)


def _fits(piece: AxisTile, size: int) -> bool:
    """Whether a piece reads of a shorter axis what it read of the longer, in as many samples."""
    flat = [end for interval in piece.reads for end in interval]
    return flat == sorted(set(flat)) and flat[0] >= 0 and flat[-1] <= size
