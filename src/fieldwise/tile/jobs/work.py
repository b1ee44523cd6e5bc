"""What a job does, whichever engine does it: outputs, and pieces that can be computed in any order.

A piece depends on the plan alone: computed again, it has the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

import numpy as np

from fieldwise.graph.ir import Node
from fieldwise.reports import Report
from fieldwise.tile.arrays import Numbers, Readable
from fieldwise.tile.certificate import RunCertificate
from fieldwise.tile.choices import Cache
from fieldwise.tile.crops.parts import AxisPlan
from fieldwise.tile.jobs.checkpoint import Checkpoint

Box = tuple[tuple[int, int], ...]
"""Per dimension of the model's input or output, [lo, hi)."""

CACHES: tuple[Cache, ...] = get_args(Cache)

Block = tuple[int, tuple[int, ...], Numbers]
"""The number of an output, the index at which the block begins, and its values."""


@dataclass(frozen=True, slots=True)
class PieceState:
    """The state of an unfinished piece, from which it can be gone on with.

    at:      the state of the engine, and what goes with it, as plain data (see Checkpoint)
    waiting: blocks that are not written yet; written: bytes of those that are
    ends:    per output, where its written rows end, and their digest
    before_saving: sees to it that what the state counts on is on disk
    """

    at: Any
    waiting: tuple[Block, ...] = ()
    written: int = 0
    ends: tuple[tuple[int, int], ...] = ()
    before_saving: Callable[[], None] = field(default=lambda: None, compare=False)


@dataclass(frozen=True, slots=True)
class Output:
    """One result of the model: its name, shape and type, and the dimension that pieces follow.

    steps: per dimension, blocks begin at multiples of this; None: they come whole, or in order
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    dim: int
    steps: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class JobPiece:
    """What is computed and recorded in one go: the box that it reads, those that it writes."""

    number: int
    reads: Box
    writes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class JobPlan(Report):
    """What a job will do, before it runs; a row per piece.

    engine:    'stream' or 'halo'
    along:     the model's dimension that bands follow, or the first that is tiled
    step:      input rows per band, or samples from tile to tile
    shape:     of the input, as the model sees it
    reread:    input samples read by all pieces over those that there are (1: nothing twice)
    peak_bytes: the most that a piece holds at once: rows at hand, results that wait for their
               chunk, the weights, and what torch's kernels hold on a processor
    notes:     what a user should know, in sentences
    axes:      how each tiled axis is cut; of a stream in strips, the one across its bands
    batches:   the numbers of the pieces that one call computes together; empty: each by itself
    cache:     what is kept instead of computed twice: 'none' (crops), 'rows' from band to band, or
               'both' rows and, from strip to strip, columns
    kept_bytes: the most that is on disk from strip to strip; moved_bytes: all that is written there
               and read again
    work:      operations over those of one forward pass; None: not counted
    """

    engine: str
    along: int
    step: int
    shape: tuple[int, ...]
    outputs: tuple[Output, ...]
    pieces: tuple[JobPiece, ...]
    reread: float
    peak_bytes: int
    notes: tuple[str, ...] = ()
    axes: tuple[AxisPlan, ...] = ()
    batches: tuple[tuple[int, ...], ...] = ()
    cache: Cache = "rows"
    kept_bytes: int = 0
    moved_bytes: int = 0
    work: float | None = None

    @property
    def in_order(self) -> bool:
        """Whether a piece needs what the one before it has kept."""
        return self.cache == "both"

    @property
    def rows(self) -> tuple[JobPiece, ...]:
        """The pieces."""
        return self.pieces

    @property
    def batch(self) -> int:
        """The most pieces that one call computes."""
        return max(map(len, self.batches), default=1)

    def waiting(self, done: Container[int]) -> Iterator[tuple[int, ...]]:
        """The pieces that are not done, together with those that are computed with them."""
        for batch in self.batches or ((piece.number,) for piece in self.pieces):
            missing = tuple(number for number in batch if number not in done)
            if missing:
                yield missing

    def fingerprint(self) -> Mapping[str, object]:
        """What must be the same for two runs to make the same bytes, as plain data."""
        kept = {"cache": self.cache} if self.in_order else {}
        return {
            **kept,
            "engine": self.engine,
            "along": self.along,
            "step": self.step,
            "input": self.shape,
            "outputs": [[o.name, o.shape, o.dtype.str, o.dim] for o in self.outputs],
            "pieces": [[piece.reads, piece.writes] for piece in self.pieces],
            **({"batches": self.batches} if self.batches else {}),
        }


class Work(Protocol):
    """A plan and the means to carry it out; what it recorded of the model's calls."""

    @property
    def nodes(self) -> Iterable[Node]:
        """The recorded calls that decide what is computed."""

    @property
    def plan(self) -> JobPlan:
        """What will be done."""

    def prepared(self, source: Readable, checkpoint: Checkpoint | None = None) -> Work:
        """The same work, once what it must know of the whole source has been found out.

        checkpoint: where it may save what it has found so far
        """

    def verify(self, source: Readable) -> RunCertificate:
        """Compare the pieces with the whole on a corner of the source.

        Raises MismatchError where they differ by more than the arithmetic explains.
        """

    def blocks(
        self, piece: JobPiece, source: Readable, saved: PieceState | None = None
    ) -> Iterator[Block | PieceState]:
        """Compute a piece from a source with the model's dimensions, or go on from a saved state.

        Blocks come in order along the outputs' dimension and lie within ``piece.writes``.  Between
        them come states from which the piece can be gone on with, to the same bytes.
        """

    def together(
        self, pieces: Sequence[JobPiece], source: Readable
    ) -> Iterator[Iterator[Block | PieceState]]:
        """The blocks of pieces that one call computes, in their order (see ``JobPlan.batches``).

        So are those of their batch that are not asked for: a piece has the same bytes whenever it
        is computed.
        """
