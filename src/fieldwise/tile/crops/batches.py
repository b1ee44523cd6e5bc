"""Batches of equal crops: how many go into one call, and the proof that each is as by itself there.

A batch is a cut along the first axis of the inputs that sees nothing beside it.  So the network is
captured on one crop and on the batch, and both graphs are compared as a crop and an image are: what
is proven is that every output of a crop in a batch reads that crop alone, by the same ops in the
same way.  A batch norm that is not in eval mode fails here, by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

import torch

from fieldwise.capture.torch.devices import usable_bytes
from fieldwise.errors import CaptureError, Reason
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Value
from fieldwise.tile.amounts import check_count
from fieldwise.tile.crops.memory import nbytes
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.prove import TiledAxis, compare_class
from fieldwise.tile.crops.sizes import Sizes
from fieldwise.tile.errors import TileError

BatchSize = int | Literal["auto"]
"""Crops per call, at most; 'auto': as many as the card holds, one on the processor."""

_MOST = 64
"""More crops at once than this are no faster on any card."""


def check_batch(batch: object) -> None:
    """Raise UsageError for what is no number of crops."""
    if batch != "auto":
        check_count(batch, "A batch is", 1, of="crops")


def in_batches(plan: TilePlan, sizes: Sizes, batch: BatchSize) -> TilePlan:
    """The plan with batches of at most so many crops, each as large as all of its shape.

    sizes: the network that was planned

    Raises TileError where a crop in a batch is not proven to give what it gives by itself; of
    'auto', crops stay by themselves then, and the plan says why.
    """
    if batch != "auto":
        return plan if batch == 1 else _batched(plan, sizes, batch)
    most = fitting(plan, sizes)
    try:
        return plan if most == 1 else _batched(plan, sizes, most)
    except TileError as why:
        return replace(plan, single_because=str(why))


def batches_pay(device: torch.device) -> bool:
    """Whether several crops at once are quicker than one after the other.

    On a card, which one crop does not fill.  On processors it keeps all cores busy, and more at
    once no longer fit their caches: 0.9 to 1.4 times the time (docs/tile.md).
    """
    return device.type == "cuda"


def fitting(plan: TilePlan, sizes: Sizes) -> int:
    """How many crops a card holds at once beside the results, at most; 1 on the processor."""
    device = sizes.call.device
    if not batches_pay(device):
        return 1
    results = sum(nbytes(Value(out.name, out.shape, out.dtype)) for out in plan.outputs)
    return within(plan, usable_bytes(device) - results)


def within(plan: TilePlan, memory: int) -> int:
    """How many crops of a plan that has them one by one take no more than so many bytes."""
    return max(1, min(memory // max(plan.crop_bytes, 1), _MOST))


def _batched(plan: TilePlan, sizes: Sizes, most: int) -> TilePlan:
    counts = {
        lengths: equal_batches(number, most)
        for lengths, number in tiles_by_lengths(plan).items()
        if number > 1
    }
    batched = [0] * len(plan.outputs)
    for lengths, count in counts.items():
        batched = prove_batch(sizes, lengths, count)
    if not counts:
        return plan
    outputs = tuple(
        replace(output, batched=dim) for output, dim in zip(plan.outputs, batched, strict=True)
    )
    crop_bytes = max(
        plan.crop_bytes, *(sizes.peak_bytes(lengths, count) for lengths, count in counts.items())
    )
    return replace(plan, counts=counts, outputs=outputs, crop_bytes=crop_bytes)


def equal_batches(tiles: int, most: int) -> int:
    """How many go into each of the fewest batches, of one size, that take so many tiles.

    >>> equal_batches(21, 8), equal_batches(10, 8), equal_batches(3, 8)
    (7, 5, 3)
    """
    return -(-tiles // -(-tiles // most))


def tiles_by_lengths(plan: TilePlan) -> Counter[tuple[int, ...]]:
    """How many crops of a plan have which lengths along the tiled axes."""
    found = Counter[tuple[int, ...]]()
    along = [Counter(piece.length for piece in axis.pieces) for axis in plan.axes]
    for lengths in product(*along):
        number = 1
        for counter, length in zip(along, lengths, strict=True):
            number *= counter[length]
        found[lengths] = number
    return found


# -------------------------------------------------------------------- the proof


def prove_batch(sizes: Sizes, lengths: tuple[int, ...], count: int) -> list[int]:
    """Per output, the dimension along which so many crops of these lengths stand in a batch.

    Raises TileError where a crop is not proven to give there what it gives by itself.
    """
    beside = {shape[:1] for shape in sizes.call.shapes}
    if 0 in sizes.axes or len(beside) > 1 or () in beside:
        raise _refused("Its inputs have no first axis in common that is not tiled")
    one = sizes.at(lengths)
    try:
        batch = sizes.at(lengths, count)
    except CaptureError as error:
        raise _refused(f"It does not run on {count} of them: {error}") from error
    if one.output_names != batch.output_names:
        raise _refused(f"It has other outputs for {count} of them")
    (size,) = beside.pop()
    dims = [
        _grown(one.shape(alone), batch.shape(among), count)
        for alone, among in zip(one.outputs, batch.outputs, strict=True)
    ]
    for name, dim in zip(one.output_names, dims, strict=True):
        if dim is None:
            raise _refused(f"No dimension of its output '{name}' is {count} times as long")
    found = [dim for dim in dims if dim is not None]
    losses = _unlike(one, batch, size, found, count)
    if losses is not None:
        raise _refused("What a crop gives in a batch differs from what it gives by itself", losses)
    return found


def _grown(one: Sequence[int], batch: Sequence[int], count: int) -> int | None:
    """The dimension that is so many times as long, all others being alike; None without one."""
    if len(one) != len(batch):
        return None
    pairs = list(enumerate(zip(one, batch, strict=True)))
    others = [dim for dim, (each, among) in pairs if each != among]
    grown = [dim for dim, (each, among) in pairs if each != among == count * each]
    return grown[0] if grown == others and len(grown) == 1 else None


def _unlike(
    one: Graph, batch: Graph, size: int, dims: Sequence[int], count: int
) -> tuple[Reason, ...] | None:
    """Where a crop of a batch is lost; None where each is in its place as by itself."""
    lengths = [one.shape(name)[dim] for name, dim in zip(one.outputs, dims, strict=True)]
    axis = TiledAxis(
        count * size,
        size,
        [tuple((n * length, (n + 1) * length) for length in lengths) for n in range(count)],
        [((n * size, (n + 1) * size),) for n in range(count)],
    )
    bad, comparison = compare_class(
        batch, one, (0,), [(dim,) for dim in dims], [axis], [list(range(count))]
    )
    in_place = all(axis.kept(n, axis.found[n]) == _from_zero(lengths) for n in axis.found)
    if not bad and in_place:
        return None
    return comparison.losses or (Reason("", "output", "it holds the crops in another order"),)


def _from_zero(lengths: Sequence[int]) -> list[tuple[int, int]]:
    return [(0, length) for length in lengths]


def _refused(what: str, losses: Sequence[Reason] = ()) -> TileError:
    end = "" if losses else "."
    return TileError(f"Crops are not computed in batches. {what}{end}", losses, _REMEDY)


_REMEDY = "Compute them one by one: batch=1 (--batch 1)."
