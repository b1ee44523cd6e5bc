"""Carry a job out: compute the pieces that are missing, put them on disk, record them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from fieldwise.tile.arrays import Readable
from fieldwise.tile.files.layout import FileView
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.digests import Digest
from fieldwise.tile.jobs.journal import Journal
from fieldwise.tile.jobs.records import Done, Wrote
from fieldwise.tile.jobs.work import Block, JobPiece, Output, PieceState, Work

Advance = Callable[[int], None]
"""Called with the number of bytes of the results that were written since the last call."""


def run_job(
    work: Work,
    source: Readable,
    targets: Sequence[FileView],
    journal: Journal,
    *,
    grains: Sequence[int],
    advance: Advance = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Compute all pieces that the journal does not have.

    source:  the input, with the model's dimensions
    targets: per output, where it goes; grains: the rows that it takes at a time
    check:   called before a piece is recorded; may raise
    """
    pieces = work.plan.pieces
    for waiting in work.plan.waiting(journal.done):
        if work.plan.batches:
            batch = [pieces[number] for number in waiting]
            computed: Iterable[Done]
            everywhere = [targets] * len(batch)
            computed = write_pieces(work, batch, source, everywhere, grains=grains, advance=advance)
        else:
            (piece,) = (pieces[number] for number in waiting)
            computed = [
                _with_state(
                    work, piece, source, targets, journal.piece, grains=grains, advance=advance
                )
            ]
        for done in computed:
            check()
            journal.record(done)


def write_pieces(
    work: Work,
    pieces: Sequence[JobPiece],
    source: Readable,
    targets: Iterable[Sequence[FileView]],
    *,
    grains: Sequence[int],
    advance: Advance = lambda _: None,
) -> Iterator[Done]:
    """Compute pieces of one batch and write each to its targets; on disk once it is yielded."""
    for piece, blocks, where in zip(pieces, work.together(pieces, source), targets, strict=True):
        yield _written(work, piece, blocks, where, grains=grains, advance=advance)


def _with_state(
    work: Work,
    piece: JobPiece,
    source: Readable,
    targets: Sequence[FileView],
    checkpoint: Checkpoint,
    *,
    grains: Sequence[int],
    advance: Advance,
) -> Done:
    """The same of one piece, whose state is saved from time to time and gone on with from there."""
    saved = saved_state(piece, checkpoint.load())
    if saved is not None:
        advance(saved.written)
    blocks = work.blocks(piece, source, saved)
    return _written(
        work, piece, blocks, targets, grains=grains, advance=advance, saved=saved,
        checkpoint=checkpoint,
    )  # fmt: skip


def _written(
    work: Work,
    piece: JobPiece,
    blocks: Iterator[Block | PieceState],
    targets: Sequence[FileView],
    *,
    grains: Sequence[int],
    advance: Advance,
    saved: PieceState | None = None,
    checkpoint: Checkpoint | None = None,
) -> Done:
    """What a piece wrote, once it is on disk."""
    progress = _Progress(work.plan.outputs, piece, saved)
    for block in gathered(blocks, work.plan.outputs, grains, saved):
        if isinstance(block, PieceState):
            if checkpoint is not None:
                state = replace(block, ends=progress.ends)
                checkpoint.offer(partial(_plain, piece, state, targets))
            continue
        number, start, values = block
        targets[number].write(start, values)
        progress.add(block)
        advance(values.nbytes)
    for target in targets:
        target.flush()
    return progress.done


class _Progress:
    """What a piece has written of each output so far."""

    def __init__(
        self, outputs: Sequence[Output], piece: JobPiece, saved: PieceState | None
    ) -> None:
        begun = [(box[out.dim][0], 0) for out, box in zip(outputs, piece.writes, strict=True)]
        ends = begun if saved is None else saved.ends
        self._piece, self._rows = piece, [row for row, _ in ends]
        self._digests = [
            Digest(out.dim, out.dtype, value) for out, (_, value) in zip(outputs, ends, strict=True)
        ]

    def add(self, block: Block) -> None:
        """The next rows of an output."""
        number, start, values = block
        digest = self._digests[number]
        digest.add(values)
        self._rows[number] = start[digest.dim] + values.shape[digest.dim]

    @property
    def ends(self) -> tuple[tuple[int, int], ...]:
        """See work.PieceState."""
        digests = (digest.value for digest in self._digests)
        return tuple(zip(self._rows, digests, strict=True))

    @property
    def done(self) -> Done:
        """What the piece wrote, once that is all of it."""
        pairs = zip(self._piece.writes, self._digests, strict=True)
        return Done(self._piece.number, tuple(Wrote(box, d.value) for box, d in pairs))


def written_by(state: PieceState, piece: JobPiece, outputs: Sequence[Output]) -> tuple[Wrote, ...]:
    """What an unfinished piece counts as written."""
    found = []
    for out, box, (end, value) in zip(outputs, piece.writes, state.ends, strict=True):
        rows = (box[out.dim][0], end)
        found.append(Wrote((*box[: out.dim], rows, *box[out.dim + 1 :]), value))
    return tuple(found)


def gathered(
    blocks: Iterator[Block | PieceState],
    outputs: Sequence[Output],
    grains: Sequence[int],
    saved: PieceState | None = None,
) -> Iterator[Block | PieceState]:
    """The same blocks in other cuts: each ends at a multiple of its output's grain, or is last.

    The blocks of an output follow one another along its dimension.
    """
    waiting: dict[int, list[Block]] = {number: [] for number in range(len(outputs))}
    written = 0 if saved is None else saved.written
    for one in () if saved is None else saved.waiting:
        waiting[one[0]].append(one)
    for block in blocks:
        if isinstance(block, PieceState):
            blocks_left = tuple(one for group in waiting.values() for one in group)
            yield replace(block, waiting=blocks_left, written=written)
            continue
        number = block[0]
        dim, grain = outputs[number].dim, grains[number]
        waiting[number].append(block)
        _, start, values = _joined(waiting[number], dim) if grain > 1 else block
        stop = (start[dim] + values.shape[dim]) // grain * grain
        ready = stop - start[dim]
        if ready > 0:
            head, tail = np.split(values, [ready], axis=dim)
            written += head.nbytes
            yield number, start, head
            after = tuple(stop if d == dim else at for d, at in enumerate(start))
            waiting[number] = [(number, after, tail)] if tail.size else []
    for number, group in waiting.items():
        if group:
            yield _joined(group, outputs[number].dim)


def _joined(blocks: Sequence[Block], dim: int) -> Block:
    number, start, _ = blocks[0]
    return number, start, np.concatenate([values for _, _, values in blocks], axis=dim)


def _plain(piece: JobPiece, state: PieceState, targets: Sequence[FileView]) -> object:
    """The state of a piece as plain data, once all that it has written is on disk."""
    for target in targets:
        target.flush()
    state.before_saving()
    waiting = [
        (number, start, torch.from_numpy(np.ascontiguousarray(values)))
        for number, start, values in state.waiting
    ]
    return piece.number, state.at, waiting, state.written, state.ends


def saved_state(piece: JobPiece, saved: Any) -> PieceState | None:
    """The saved state of this piece, or None."""
    if saved is None or saved[0] != piece.number:
        return None
    _, at, waiting, written, ends = saved
    blocks = tuple((number, tuple(start), values.numpy()) for number, start, values in waiting)
    return PieceState(at, blocks, written, tuple(ends))
