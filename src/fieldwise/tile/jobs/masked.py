"""A job of which only a part is wanted: where a mask is set, and where the input holds data.

What is not wanted is the fill value in the result.  A piece that lies wholly there is not computed;
every other position is what it is without a mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.graph.ir import Node
from fieldwise.tile.arrays import Readable
from fieldwise.tile.certificate import RunCertificate
from fieldwise.tile.files import AxisLayout, ModelView, Source, holds_value
from fieldwise.tile.files.calibration import OutputGrid, axis_letter
from fieldwise.tile.files.cells import Cells, any_under, under
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.request import FIRST_SPATIAL
from fieldwise.tile.jobs.work import Block, Box, JobPiece, JobPlan, Output, PieceState, Work

_AT_ONCE = 1 << 22
"""Positions of a result that are looked at together, unless a row has more."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What marks the samples that are wanted: a mask, a value that stands for no data, or both.

    mask:   nonzero where something is wanted, with the spatial axes of the input
    nodata: a pixel whose channels all hold it is not wanted
    view:   the input as the model sees it, before it is cast
    """

    view: ModelView
    mask: Source | None = None
    nodata: float | None = None

    def read(self, ends: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        """Of a region of the input's spatial axes."""
        region = tuple(slice(*pair) for pair in ends)
        found = np.ones([hi - lo for lo, hi in ends], np.bool_)
        if self.mask is not None:
            found &= np.asarray(self.mask[region]) != 0
        if self.nodata is not None:
            values = np.asarray(self.view[(slice(None), slice(None), *region)])
            empty = np.isnan(values) if self.nodata != self.nodata else values == self.nodata
            found &= ~empty.all(axis=(0, 1))
        return found


@dataclass(frozen=True, slots=True)
class WantedPart:
    """Which positions of an output are wanted.

    dims: of the output, for each spatial axis of the input; cells: the samples under its positions
    """

    marks: Marks
    dims: tuple[int, ...]
    cells: tuple[Cells, ...]

    def of(self, start: Sequence[int], shape: Sequence[int]) -> NDArray[np.bool_]:
        """Of a block that begins there; one axis for each of its dimensions."""
        box = [(start[dim], start[dim] + shape[dim]) for dim in self.dims]
        found = any_under(self.cells, box, self.marks.read(under(self.cells, box)))
        order = sorted(range(len(self.dims)), key=lambda axis: self.dims[axis])
        sides = [shape[dim] if dim in self.dims else 1 for dim in range(len(shape))]
        return found.transpose(order).reshape(sides)

    def is_empty(self, box: Box) -> bool:
        """Whether nothing of a part of the output is wanted."""
        return not any(
            self.of([lo for lo, _ in part], [hi - lo for lo, hi in part]).any()
            for part in slabs(box, self.dims[0])
        )


def slabs(box: Box, dim: int) -> Iterator[Box]:
    """A box in parts of few rows along a dimension.

    >>> list(slabs(((0, 2), (0, 3)), 0))
    [((0, 2), (0, 3))]
    """
    row = max(prod(hi - lo for d, (lo, hi) in enumerate(box) if d != dim), 1)
    rows, (lo, hi) = max(_AT_ONCE // row, 1), box[dim]
    for at in range(lo, hi, rows):
        yield (*box[:dim], (at, min(at + rows, hi)), *box[dim + 1 :])


@dataclass(frozen=True, slots=True)
class MaskedWork:
    """Another work, whose blocks hold the fill value where they are not wanted (see work.Work).

    wanted: per output; empty: the pieces of which nothing is, which are not computed
    """

    work: Work
    wanted: tuple[WantedPart, ...]
    fill: float
    empty: frozenset[int]

    @property
    def nodes(self) -> Iterable[Node]:
        """See work.Work."""
        return self.work.nodes

    @property
    def plan(self) -> JobPlan:
        """See work.Work."""
        plan, pieces = self.work.plan, len(self.work.plan.pieces)
        smaller = "" if self.empty else "; --engine halo or a smaller --piece has more of them"
        note = f"{len(self.empty)} of {pieces} pieces are not wanted and not computed{smaller}"
        return replace(plan, notes=(*plan.notes, note))

    def prepared(self, source: Readable, checkpoint: Checkpoint | None = None) -> MaskedWork:
        """See work.Work."""
        return replace(self, work=self.work.prepared(source, checkpoint))

    def verify(self, source: Readable) -> RunCertificate:
        """See work.Work: of what is computed, before anything is filled in."""
        return self.work.verify(source)

    def blocks(
        self, piece: JobPiece, source: Readable, saved: PieceState | None = None
    ) -> Iterator[Block | PieceState]:
        """See work.Work."""
        if piece.number in self.empty:
            return self._filled(piece)
        return self._masked(self.work.blocks(piece, source, saved))

    def together(
        self, pieces: Sequence[JobPiece], source: Readable
    ) -> Iterator[Iterator[Block | PieceState]]:
        """See work.Work."""
        computed = [piece for piece in pieces if piece.number not in self.empty]
        found = iter(self.work.together(computed, source) if computed else ())
        for piece in pieces:
            empty = piece.number in self.empty
            yield self._filled(piece) if empty else self._masked(next(found))

    def _filled(self, piece: JobPiece) -> Iterator[Block]:
        for number, (output, box) in enumerate(zip(self.plan.outputs, piece.writes, strict=True)):
            for part in slabs(box, output.dim):
                shape = [hi - lo for lo, hi in part]
                values = np.full(shape, self.fill, output.dtype)
                yield number, tuple(lo for lo, _ in part), values

    def _masked(self, blocks: Iterator[Block | PieceState]) -> Iterator[Block | PieceState]:
        for block in blocks:
            if isinstance(block, PieceState):
                yield block
                continue
            number, start, values = block
            wanted = self.wanted[number].of(start, values.shape)
            yield number, start, np.where(wanted, values, values.dtype.type(self.fill))


def masked(
    work: Work,
    marks: Marks,
    fill: float,
    grids: Sequence[Mapping[str, OutputGrid | None]],
    layout: AxisLayout,
    results: Sequence[AxisLayout],
) -> MaskedWork:
    """A work of which only what is marked is wanted.

    grids: per output, where its positions lie, by letter (see placing.output_grids)
    layout, results: the axes of the input's file, and of each result's

    Raises UsageError for a mask of another size, a fill value that a result does not hold, and
    results whose positions have no regular place.
    """
    spatial = work.plan.shape[FIRST_SPATIAL:]
    if marks.mask is not None and tuple(marks.mask.shape) != tuple(spatial):
        found, wanted = ("x".join(map(str, one)) for one in (marks.mask.shape, spatial))
        raise UsageError(
            f"The mask {str(marks.mask.path)!r} is {found}, and the input {wanted}; it has one "
            "sample for each pixel of the input."
        )
    parts = tuple(
        _part(marks, output, grid, layout, result, spatial)
        for output, grid, result in zip(work.plan.outputs, grids, results, strict=True)
    )
    for output in work.plan.outputs:
        if not holds_value(output.dtype, fill):
            raise UsageError(
                f"{fill:g} stands for what is not computed, and {output.dtype} has no such value; "
                "give another --fill."
            )
    empty = frozenset(
        piece.number
        for piece in (() if work.plan.in_order else work.plan.pieces)
        if all(part.is_empty(box) for part, box in zip(parts, piece.writes, strict=True))
    )
    return MaskedWork(work, parts, fill, empty)


def _part(
    marks: Marks,
    output: Output,
    grids: Mapping[str, OutputGrid | None],
    layout: AxisLayout,
    result: AxisLayout,
    spatial: Sequence[int],
) -> WantedPart:
    dims, cells = [], []
    for place, size in enumerate(spatial, FIRST_SPATIAL):
        letter = layout.axes[layout.dims.index(place)]
        grid = grids.get(axis_letter(letter))
        if letter not in result.axes or grid is None or grid.start is None:
            raise UsageError(
                f"The positions of '{output.name}' have no regular place along {letter}, so a mask "
                "of the input says nothing of them; leave --mask and --nodata out."
            )
        dims.append(result.dims[result.axes.index(letter)])
        cells.append(Cells(grid, size))
    return WantedPart(marks, tuple(dims), tuple(cells))
