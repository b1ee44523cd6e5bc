"""The halo engine as a job: every tile is a piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.example import meta_tensor
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.tree import named_state
from fieldwise.errors import UsageError
from fieldwise.graph.flops import flops_by_result
from fieldwise.graph.ir import Node
from fieldwise.tile.amounts import enough_text, size_text
from fieldwise.tile.arrays import Readable, as_numpy, numpy_dtype
from fieldwise.tile.certificate import RunCertificate
from fieldwise.tile.choices import Runtime
from fieldwise.tile.crops import TiledCallable, suggest_tile
from fieldwise.tile.crops.batches import BatchSize, batches_pay, tiles_by_lengths, within
from fieldwise.tile.crops.grid import geometry
from fieldwise.tile.crops.parts import Batch, Tile
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.runtime import target_of
from fieldwise.tile.crops.sizes import Sizes
from fieldwise.tile.crops.targets import PlannedModel
from fieldwise.tile.errors import BudgetError, TileError
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.sides import PieceSides
from fieldwise.tile.jobs.work import Block, Box, JobPiece, JobPlan, Output, PieceState

TILE = 512


@dataclass(frozen=True, slots=True)
class CropWork:
    """A model planned in tiles for one input size (see work.Work).

    places: by piece, the batch that its tile is computed in, and its number there
    """

    run: TiledCallable
    places: tuple[tuple[Batch, int], ...]
    plan: JobPlan
    nodes: tuple[Node, ...]

    def prepared(self, source: Readable, checkpoint: Checkpoint | None = None) -> CropWork:  # noqa: ARG002
        """See work.Work: a crop needs to know nothing else."""
        return self

    def verify(self, source: Readable) -> RunCertificate:
        """See work.Work."""
        return self.run.verify(source)

    def blocks(
        self,
        piece: JobPiece,
        source: Readable,
        saved: PieceState | None = None,  # noqa: ARG002
    ) -> Iterator[Block | PieceState]:
        """See work.Work: a crop is computed in one go."""
        return next(self.together([piece], source))

    def together(
        self, pieces: Sequence[JobPiece], source: Readable
    ) -> Iterator[Iterator[Block | PieceState]]:
        """See work.Work."""
        batch, _ = self.places[pieces[0].number]
        found = dict(enumerate(self.run.crops(batch, source)))
        for piece in pieces:
            yield _blocks(piece, found.pop(self.places[piece.number][1]))


def _blocks(piece: JobPiece, arrays: Sequence[Readable]) -> Iterator[Block]:
    for number, found in enumerate(arrays):
        yield number, tuple(lo for lo, _ in piece.writes[number]), as_numpy(found)


def crop_work(
    model: nn.Module,
    shape: Sequence[int],
    *,
    dtype: torch.dtype,
    tile: int | Sequence[int] | None = None,
    batch: BatchSize = "auto",
    memory: int | None = None,
    runtime: Runtime = "torch",
    providers: Sequence[str] = (),
    multiple: int = 1,
) -> CropWork:
    """Plan a job of tiles on one input of this shape and type.

    tile:  input samples from tile to tile; by default about 512, or with ``memory`` (bytes) the
           largest whose crops fit in it (see ``suggest_tile``)
    batch: crops per call (see ``tiled``); with ``memory``, 'auto' is no more than fit in it
    runtime, providers: what runs the crops (see ``tiled``)
    multiple: of results, in steps of which they come where no tile is asked for (see PieceSides)

    Raises TileError where no tiling is exact, and UsageError where ``memory`` is not enough.
    """
    example = meta_tensor(shape, dtype)
    held = sum(tensor.nbytes for _, tensor in named_state(model))
    asked = _Asked(tile, batch, memory, multiple)
    chosen, plan = _chosen(model, example, asked, held)
    run = TiledCallable(target_of(chosen, runtime, providers))
    run.plan(example.shape)
    batches = list(plan.batches())
    places = tuple((one, place) for one in batches for place in range(len(one.tiles)))
    tiles = [one.tiles[place] for one, place in places]
    numbers = iter(range(len(tiles)))
    together = tuple(tuple(next(numbers) for _ in one.tiles) for one in batches)
    outputs = tuple(_output(plan, number) for number in range(len(plan.outputs)))
    pieces = tuple(_piece(plan, number, one) for number, one in enumerate(tiles))
    first = plan.axes[0]
    job = JobPlan(
        "halo", first.axis, first.tile, tuple(shape), outputs, pieces, plan.recompute,
        _bytes_at_once(plan, example) + held, _notes(plan), plan.axes,
        together if plan.batch > 1 else (), cache="none",
    )  # fmt: skip
    return CropWork(run, places, job, record(model, example).nodes)


def _bytes_at_once(plan: TilePlan, example: Tensor) -> int:
    """What the largest call holds, and its crops as they were read; a batch is put together."""
    most = 0
    for lengths in tiles_by_lengths(plan):
        shape = list(example.shape)
        for axis, length in zip(plan.axes, lengths, strict=True):
            shape[axis.axis] = length
        count = plan.counts.get(lengths, 1)
        most = max(most, prod(shape) * example.itemsize * (count if count == 1 else 2 * count))
    return plan.crop_bytes + most


def _notes(plan: TilePlan) -> tuple[str, ...]:
    if plan.batch > 1:
        return (f"crops of one shape are computed together, at most {plan.batch} per call",)
    if plan.single_because:
        return (f"crops are computed one by one: {plan.single_because.splitlines()[0]}",)
    return ()


def work_of_crops(model: nn.Module, dtype: torch.dtype, plan: JobPlan) -> float:
    """Operations of all crops over those of one forward pass; each size of a crop is captured."""
    lengths = [Counter(piece.length for piece in axis.pieces) for axis in plan.axes]
    found = 0
    for crop in product(*lengths):
        shape = list(plan.shape)
        for axis, length in zip(plan.axes, crop, strict=True):
            shape[axis.axis] = length
        times = prod(counts[length] for counts, length in zip(lengths, crop, strict=True))
        found += times * _operations(model, shape, dtype)
    return found / max(_operations(model, plan.shape, dtype), 1)


def _operations(model: nn.Module, shape: Sequence[int], dtype: torch.dtype) -> int:
    return sum(flops_by_result(record(model, meta_tensor(shape, dtype))).values())


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of the tiles (see ``crop_work``)."""

    tile: int | Sequence[int] | None
    batch: BatchSize
    memory: int | None
    multiple: int


def _chosen(
    model: nn.Module, example: Tensor, asked: _Asked, held: int
) -> tuple[PlannedModel, TilePlan]:
    """The tile that was asked for, or the largest that fits beside what is held, planned.

    Of batches, as many crops as were asked for, or as fit beside what is held.

    Raises UsageError where ``memory`` is not enough, with the least that is.

    Which crops there will be is known of a plan only, so what was suggested is made smaller where
    the plan has a crop that does not fit.
    """
    call, tile, batch = ModelCall(model, example), asked.tile, asked.batch
    if asked.memory is None and tile is not None:
        run = PlannedModel(call, tile, batch=batch)
        return run, run.plan(example.shape)
    sides = _sides(model, example, asked.multiple)
    if asked.memory is None:
        run = PlannedModel(call, tuple(one.below(TILE) for one in sides), batch=batch)
        return run, run.plan(example.shape)
    left, most = asked.memory - held, 1 if batch == "auto" else batch
    wanted = tile or _largest(model, example, sides, left // most)
    while True:
        run = PlannedModel(call, wanted, batch=most)
        plan = run.plan(example.shape)
        needed = _bytes_at_once(plan, example)
        if needed <= left:
            return _in_more(run, plan, left) if batch == "auto" else (run, plan)
        now = tuple(axis.tile for axis in plan.axes)
        smaller = tuple(one.below(side * 7 // 8) for one, side in zip(sides, now, strict=True))
        if tile is not None or smaller == now:
            tiles = " x ".join(map(str, now))
            what = f"Tiles of {tiles}" if plan.batch == 1 else f"{plan.batch} tiles of {tiles}"
            fewer = "" if plan.batch == 1 else ", or a smaller --batch"
            smaller_too = "" if smaller == now else ", or a smaller --tile"
            raise UsageError(
                f"{what} need {size_text(needed)} beside the weights, and "
                f"{size_text(max(left, 0))} is left; give more --memory "
                f"({enough_text(needed + held)} is enough){fewer}{smaller_too}."
            )
        wanted = smaller


def _in_more(run: PlannedModel, plan: TilePlan, memory: int) -> tuple[PlannedModel, TilePlan]:
    """The same in batches that take no more memory, where they pay and are proven."""
    most = within(plan, memory)
    if most == 1 or not batches_pay(run.call.device):
        return run, plan
    more = PlannedModel(run.call, run.tile, run.axes, most)
    try:
        found = more.plan(*plan.shapes)
    except TileError as why:
        return run, replace(plan, single_because=str(why))
    fits = _bytes_at_once(found, run.call.inputs[0]) <= memory
    return (more, found) if fits else (run, plan)


def _sides(model: nn.Module, example: Tensor, multiple: int) -> tuple[PieceSides, ...]:
    """The sides that tiles may have along each axis."""
    sizes = Sizes.of(model, example, None)
    found = geometry(sizes.whole(), sizes.axes)
    scales = zip(*found.scales, strict=True)
    return tuple(
        PieceSides.of(grid, own, multiple) for grid, own in zip(found.grid, scales, strict=True)
    )


def _largest(
    model: nn.Module, example: Tensor, sides: Sequence[PieceSides], memory: int
) -> tuple[int, ...]:
    """The largest tile of such sides that fits, or the least one."""
    try:
        largest = suggest_tile(model, example, memory=max(memory, 0))
    except BudgetError as error:
        largest = error.tile
    return tuple(one.below(side) for one, side in zip(sides, largest, strict=True))


def _output(plan: TilePlan, number: int) -> Output:
    out = plan.outputs[number]
    steps: list[int | None] = [None] * len(out.shape)
    for axis, dim, scale in zip(plan.axes, out.dims, out.scales, strict=True):
        steps[dim] = int(axis.tile * scale)
    dtype = numpy_dtype(getattr(torch, out.dtype))
    return Output(out.name, out.shape, dtype, out.dims[0], tuple(steps))


def _piece(plan: TilePlan, number: int, tile: Tile) -> JobPiece:
    reads = [(0, size) for size in plan.shapes[0]]
    for axis, intervals in tile.reads.items():
        reads[axis] = (intervals[0][0], intervals[-1][1])
    writes = tuple(
        _box(slices, out.shape) for slices, out in zip(tile.writes, plan.outputs, strict=True)
    )
    return JobPiece(number, tuple(reads), writes)


def _box(slices: Sequence[slice], shape: Sequence[int]) -> Box:
    ends = [one.indices(size) for one, size in zip(slices, shape, strict=True)]
    return tuple((lo, hi) for lo, hi, _ in ends)
