"""Times and planes of a file, each of which the model takes by itself: one plan, gone through anew.

What is found for one plane holds for all, since they are of one shape: pieces of plane n are those
of plane 0, n samples further along the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from fieldwise.errors import UsageError
from fieldwise.graph.ir import Node
from fieldwise.tile.arrays import Readable
from fieldwise.tile.certificate import RunCertificate
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.work import Block, Box, JobPiece, JobPlan, Output, PieceState, Work
from fieldwise.written import counted


@dataclass(frozen=True, slots=True)
class OnePlane:
    """One sample of a source, which keeps its batch."""

    source: Readable
    number: int

    @property
    def shape(self) -> tuple[int, ...]:
        """With a batch of one."""
        return (1, *self.source.shape[1:])

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Readable:
        rest = index[1:] if isinstance(index, tuple) else ()
        return self.source[(slice(self.number, self.number + 1), *rest)]


@dataclass(frozen=True, slots=True)
class PlaneWork:
    """The work of one plane, for each of several (see work.Work).

    ready: the number of a plane, and the work once what it must know of that plane is known
    """

    one: Work
    plan: JobPlan
    ready: dict[int, Work] = field(default_factory=dict, compare=False)

    @property
    def nodes(self) -> Sequence[Node]:
        """See work.Work."""
        return tuple(self.one.nodes)

    def prepared(self, source: Readable, checkpoint: Checkpoint | None = None) -> PlaneWork:  # noqa: ARG002
        """See work.Work: a plane is prepared when its first piece is computed."""
        return self

    def verify(self, source: Readable) -> RunCertificate:
        """See work.Work: on the first plane."""
        return self.one.verify(OnePlane(source, 0))

    def blocks(
        self, piece: JobPiece, source: Readable, saved: PieceState | None = None
    ) -> Iterator[Block | PieceState]:
        """See work.Work."""
        number, within = divmod(piece.number, len(self.one.plan.pieces))
        plane = OnePlane(source, number)
        work = self._prepared(number, plane)
        yield from _moved(work.blocks(work.plan.pieces[within], plane, saved), number)

    def together(
        self, pieces: Sequence[JobPiece], source: Readable
    ) -> Iterator[Iterator[Block | PieceState]]:
        """See work.Work: those of a batch are of one plane."""
        count = len(self.one.plan.pieces)
        number = pieces[0].number // count
        plane = OnePlane(source, number)
        own = [self.one.plan.pieces[piece.number % count] for piece in pieces]
        work = self._prepared(number, plane)
        return (_moved(blocks, number) for blocks in work.together(own, plane))

    def _prepared(self, number: int, plane: OnePlane) -> Work:
        if number not in self.ready:
            self.ready.clear()
            self.ready[number] = self.one.prepared(plane)
        return self.ready[number]


def plane_work(one: Work, planes: int, letters: str) -> PlaneWork:
    """The work of one plane for so many, which are along these axes of the file.

    Raises UsageError where an output has no batch in which they could stand.
    """
    plan, count = one.plan, len(one.plan.pieces)
    for output in plan.outputs:
        if len(output.shape) != len(plan.shape) and output.shape[0] != 1:
            shape = "x".join(map(str, output.shape))
            raise UsageError(
                f"The output '{output.name}' ({shape}) has no batch in which the results of "
                f"{planes} planes could stand; give one plane."
            )
    pieces = tuple(
        JobPiece(
            number * count + piece.number,
            _box(piece.reads, number),
            tuple(_box(box, number) for box in piece.writes),
        )
        for number in range(planes)
        for piece in plan.pieces
    )
    batches = tuple(
        tuple(number * count + piece for piece in batch)
        for number in range(planes)
        for batch in plan.batches
    )
    what = " and ".join(letters)
    note = f"the model takes the {counted(planes, 'position')} along {what} one by one"
    return PlaneWork(
        one,
        replace(
            plan,
            shape=(planes, *plan.shape[1:]),
            outputs=tuple(_output(output, planes) for output in plan.outputs),
            pieces=pieces,
            batches=batches,
            notes=(note, *plan.notes),
        ),
    )


def _output(one: Output, planes: int) -> Output:
    """Its planes stand in the batch, and a block of a file holds one of them."""
    return replace(one, shape=(planes, *one.shape[1:]), steps=(1, *one.steps[1:]))


def _box(box: Box, number: int) -> Box:
    return ((number, number + 1), *box[1:])


def _moved(blocks: Iterator[Block | PieceState], number: int) -> Iterator[Block | PieceState]:
    for block in blocks:
        if isinstance(block, PieceState):
            yield block
        else:
            output, start, values = block
            yield output, (number, *start[1:]), values
