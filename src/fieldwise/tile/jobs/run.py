"""Carry a job out: compute the pieces that are missing, put them on disk, record them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from fieldwise.tile.jobs.journal import Journal
from fieldwise.tile.jobs.work import Block, Output, Piece, Work

Advance = Callable[[int], None]
"""Is told how many more bytes of the results are written."""


class Target(Protocol):
    """Where an output goes, with the model's dimensions (see io.FileView)."""

    def write(self, start: Sequence[int], block: np.ndarray[Any, Any]) -> None:
        """Write a block that begins at this index."""
        ...

    def flush(self) -> None:
        """Return when all that was written is on disk."""
        ...


def run_job(
    work: Work,
    source: Any,
    targets: Sequence[Target],
    journal: Journal,
    *,
    grains: Sequence[int],
    advance: Advance = lambda _: None,
) -> None:
    """Compute all pieces that the journal does not have.

    source:  the input, with the model's dimensions
    targets: per output, where it goes; grains: the rows that it takes at a time
    """
    for piece in work.plan.pieces:
        if piece.number not in journal.done:
            write_piece(work, piece, source, targets, grains=grains, advance=advance)
            journal.record(piece.number)


def write_piece(
    work: Work,
    piece: Piece,
    source: Any,
    targets: Sequence[Target],
    *,
    grains: Sequence[int],
    advance: Advance = lambda _: None,
) -> None:
    """Compute one piece and write it; on disk when this returns."""
    blocks = work.blocks(piece, source)
    for number, start, values in gathered(blocks, work.plan.outputs, grains):
        targets[number].write(start, values)
        advance(values.nbytes)
    for target in targets:
        target.flush()


def gathered(
    blocks: Iterator[Block], outputs: Sequence[Output], grains: Sequence[int]
) -> Iterator[Block]:
    """The same blocks in other cuts: each ends at a multiple of its output's grain, or is last.

    The blocks of an output follow one another along its dimension.
    """
    waiting: dict[int, list[Block]] = {number: [] for number in range(len(outputs))}
    for block in blocks:
        number = block[0]
        dim, grain = outputs[number].dim, grains[number]
        waiting[number].append(block)
        _, start, values = _joined(waiting[number], dim) if grain > 1 else block
        stop = (start[dim] + values.shape[dim]) // grain * grain
        ready = stop - start[dim]
        if ready > 0:
            head, tail = np.split(values, [ready], axis=dim)
            yield number, start, head
            after = tuple(stop if d == dim else at for d, at in enumerate(start))
            waiting[number] = [(number, after, tail)] if tail.size else []
    for number, rest in waiting.items():
        if rest:
            yield _joined(rest, outputs[number].dim)


def _joined(blocks: Sequence[Block], dim: int) -> Block:
    number, start, _ = blocks[0]
    return number, start, np.concatenate([values for _, _, values in blocks], axis=dim)
