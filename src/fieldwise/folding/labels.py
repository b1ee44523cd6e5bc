"""Which coefficient of an affine op belongs to which element of a value.

*Labels* are an integer array that broadcasts against the value: a dimension of size 1 says that
all of the dimension's elements are treated alike.  ``BARE`` marks elements that the op does not
touch (the other half of a split).  Labels are carried through the reads of layout ops, so that
the channel dimension is followed and never guessed from sizes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldwise.folding.refusal import Stays
from fieldwise.graph.ir import Along, Coord, Fixed, Read, Reshape, Separable, Shape

Labels = NDArray[np.int64]
BARE = -1


def channel_labels(channels: int, dim: int, rank: int) -> Labels:
    """One label per index of dimension ``dim``.

    >>> channel_labels(3, 1, 4).shape
    (1, 3, 1, 1)
    """
    return np.arange(channels).reshape([channels if d == dim else 1 for d in range(rank)])


def pulled(
    labels: Labels, read: Read, operand: Shape, result: Shape, *, shared: bool = False
) -> Labels:
    """Labels of the operand, given those of the result that reads it.

    shared: whether something else reads the elements that this read leaves out; they are then
            BARE (by default they are dead and may take any label)

    Raises Stays where elements with different labels read the same element.
    """
    for step, before, after in read.backward(operand, result):
        if isinstance(step, Reshape):
            labels = _reshaped(labels, after, before)
        else:
            labels = _pulled_step(labels, step, before, after, shared=shared)
    return labels


def pushed(labels: Labels, read: Read, operand: Shape, result: Shape) -> Labels:
    """Labels of the result, given those of the operand that it reads.

    Raises Stays where one element of the result reads elements with different labels.
    """
    for step, before, after in read.forward(operand, result):
        if isinstance(step, Reshape):
            labels = _reshaped(labels, before, after)
        else:
            labels = _pushed_step(labels, step, before, after)
    return labels


def per_channel(labels: Labels, dim: int, channels: int, value: str) -> tuple[int, ...]:
    """The label of each channel, where the labels vary along dimension ``dim`` alone.

    Raises Stays where they vary along another dimension.
    """
    for other, size in enumerate(labels.shape):
        if other != dim and size > 1:
            raise Stays(f"it varies along dimension {other} of '{value}', not along its channels")
    return tuple(np.broadcast_to(labels.reshape(-1), (channels,)).tolist())


def _reshaped(labels: Labels, before: Shape, after: Shape) -> Labels:
    if labels.size == 1:
        return labels.reshape([1] * len(after))
    full = np.broadcast_to(labels, before).reshape(after)
    for dim, size in enumerate(after):
        if size > 1 and (full == full.take([0], dim)).all():
            full = full.take([0], dim)
    return full


def _pulled_step(
    labels: Labels, step: Separable, before: Shape, after: Shape, *, shared: bool
) -> Labels:
    order: list[int | None] = []
    for size, coord in zip(before, step.coords, strict=True):
        if not isinstance(coord, Along):
            order.append(None)
            continue
        varies = labels.shape[coord.dim] > 1
        if not (varies or shared):
            order.append(None)
            continue
        if coord.dim in order:
            raise Stays("it runs along a diagonal")
        readers = _readers(coord, size, after[coord.dim], step, once=varies)
        if not varies and min(readers) >= 0:
            order.append(None)
            continue
        labels = _taken(labels, readers, coord.dim, BARE if shared else 0)
        order.append(coord.dim)
    kept = [dim for dim in order if dim is not None]
    rest = [dim for dim in range(labels.ndim) if dim not in kept]
    if any(labels.shape[dim] > 1 for dim in rest):
        raise Stays("its channels are made by a broadcast")
    sizes = [1 if dim is None else labels.shape[dim] for dim in order]
    labels = labels.transpose(kept + rest).reshape(sizes)
    return _only_fixed(labels, step, before) if shared else labels


def _only_fixed(labels: Labels, step: Separable, before: Shape) -> Labels:
    """What stands beside the places that a step picks of a dimension is not touched."""
    for dim, (size, coord) in enumerate(zip(before, step.coords, strict=True)):
        if isinstance(coord, Fixed) and coord.indices.count < size:
            picked = np.zeros([size if d == dim else 1 for d in range(len(before))], dtype=bool)
            picked.reshape(-1)[list(coord.indices)] = True
            labels = np.where(picked, labels, BARE)
    return labels


def _readers(coord: Along, size: int, results: int, step: Separable, *, once: bool) -> list[int]:
    """Per index of the operand dimension a result index that reads it, −1 where none does."""
    restricted = dict(step.where).get(coord.dim)
    readers = [-1] * size
    for index in range(results) if restricted is None else restricted:
        for source in coord.border.land(coord.map(index), size):
            if once and readers[source] >= 0:
                raise Stays("several of its channels read the same one")
            readers[source] = index
    return readers


def _taken(labels: Labels, readers: list[int], dim: int, unread: int) -> Labels:
    """Per index of the operand dimension the labels of its reader."""
    sizes = [len(readers) if d == dim else size for d, size in enumerate(labels.shape)]
    if labels.shape[dim] > 1:
        labels = labels.take([max(reader, 0) for reader in readers], dim)
    read = np.array(readers).reshape([-1 if d == dim else 1 for d in range(labels.ndim)]) >= 0
    return np.where(read, np.broadcast_to(labels, sizes), unread)


def _pushed_step(labels: Labels, step: Separable, before: Shape, after: Shape) -> Labels:
    found = labels
    driven: dict[int, int] = {}
    for dim, coord in enumerate(step.coords):
        if labels.shape[dim] == 1:
            continue
        if not isinstance(coord, Along):
            found = found.take([_only(coord)], dim)
            continue
        if coord.dim in driven:
            raise Stays("it runs along a diagonal")
        found = _gathered(found, dim, coord, before[dim], after[coord.dim])
        driven[coord.dim] = dim
    kept = list(driven.values())
    rest = [dim for dim in range(found.ndim) if dim not in kept]
    order = [driven[dim] for dim in sorted(driven)]
    sizes = [found.shape[driven[dim]] if dim in driven else 1 for dim in range(len(after))]
    found = found.transpose(order + rest).reshape(sizes)
    return _only_where(found, step, after)


def _only(coord: Coord) -> int:
    if isinstance(coord, Fixed) and coord.indices.count == 1:
        return coord.indices.first
    raise Stays("its channels are mixed")


def _gathered(labels: Labels, dim: int, coord: Along, size: int, results: int) -> Labels:
    columns = []
    bare = np.full_like(labels.take([0], dim), BARE)
    for index in range(results):
        inside = list(coord.border.land(coord.map(index), size))
        if not inside:
            columns.append(bare)
            continue
        column = labels.take([inside[0]], dim)
        if any((labels.take([other], dim) != column).any() for other in inside[1:]):
            raise Stays("its channels are mixed")
        columns.append(column)
    return np.concatenate(columns, dim)


def _only_where(labels: Labels, step: Separable, after: Shape) -> Labels:
    """What the restricted results do not read through this step is not touched."""
    for dim, indices in step.where:
        if indices.count == after[dim]:
            continue
        sizes = [after[dim] if d == dim else size for d, size in enumerate(labels.shape)]
        inside = np.zeros(after[dim], dtype=bool)
        inside[list(indices)] = True
        shape = [after[dim] if d == dim else 1 for d in range(labels.ndim)]
        labels = np.where(inside.reshape(shape), np.broadcast_to(labels, sizes), BARE)
    return labels
