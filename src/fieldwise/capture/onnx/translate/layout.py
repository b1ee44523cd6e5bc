"""Layout: the same elements in other shapes, orders and pieces; shapes as values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.values import integer, ints, known


@translates("Shape")
def _shape(node: NodeCall, x: Tensor) -> Tensor:
    sizes = list(x.shape)
    start, end = node.integer("start", 0), node.integer("end", len(sizes))
    return torch.tensor(sizes[slice(*_clipped(start, end, len(sizes)))], dtype=torch.int64)


def _clipped(start: int, end: int, count: int) -> tuple[int, int]:
    low, high = (one + count if one < 0 else one for one in (start, end))
    return max(low, 0), max(high, 0)


@translates("Size")
def _size(node: NodeCall, x: Tensor) -> Tensor:
    return torch.tensor(math.prod(x.shape), dtype=torch.int64)


@translates("Reshape", since=1)
def _reshape_by_attribute(node: NodeCall, x: Tensor) -> Tensor:
    return _reshaped(node, x, node.integers("shape") or [])


@translates("Reshape", since=5)
def _reshape(node: NodeCall, x: Tensor, shape: Tensor) -> Tensor:
    return _reshaped(node, x, ints(shape, "its shape"))


def _reshaped(node: NodeCall, x: Tensor, shape: Sequence[int]) -> Tensor:
    if not node.integer("allowzero", 0):
        shape = [x.shape[dim] if size == 0 else size for dim, size in enumerate(shape)]
    return x.reshape(tuple(shape))


@translates("Flatten")
def _flatten(node: NodeCall, x: Tensor) -> Tensor:
    axis = node.integer("axis", 1)
    axis += x.dim() if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@translates("Squeeze", since=1)
def _squeeze_by_attribute(node: NodeCall, x: Tensor) -> Tensor:
    return _squeezed(x, node.integers("axes"))


@translates("Squeeze", since=13)
def _squeeze(node: NodeCall, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return _squeezed(x, None if axes is None else ints(axes, "its axes"))


def _squeezed(x: Tensor, axes: Sequence[int] | None) -> Tensor:
    if axes is None:
        axes = [dim for dim, size in enumerate(x.shape) if size == 1]
    gone = {axis % x.dim() for axis in axes}
    for axis in gone:
        if x.shape[axis] != 1:
            raise ValueError(f"axis {axis} of size {x.shape[axis]} cannot be squeezed")
    return x.reshape([size for dim, size in enumerate(x.shape) if dim not in gone])


@translates("Unsqueeze", since=1)
def _unsqueeze_by_attribute(node: NodeCall, x: Tensor) -> Tensor:
    return _unsqueezed(x, node.integers("axes") or [])


@translates("Unsqueeze", since=13)
def _unsqueeze(node: NodeCall, x: Tensor, axes: Tensor) -> Tensor:
    return _unsqueezed(x, ints(axes, "its axes"))


def _unsqueezed(x: Tensor, axes: Sequence[int]) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@translates("Transpose")
def _transpose(node: NodeCall, x: Tensor) -> Tensor:
    order = node.integers("perm")
    return x.permute(order if order is not None else tuple(reversed(range(x.dim()))))


@translates("Concat")
def _concat(node: NodeCall, *xs: Tensor) -> Tensor:
    axis = node.integer("axis", 1)
    rolled = _rolled(xs, axis % xs[0].dim()) if len(xs) == 2 else None
    return torch.cat(xs, axis) if rolled is None else rolled


def _rolled(xs: Sequence[Tensor], axis: int) -> Tensor | None:
    """The end of a value before its start is the value rolled, which exporters write as slices."""
    end, start = xs
    count = start.shape[axis]
    whole = list(start.shape)
    whole[axis] += end.shape[axis]
    follows = (
        end.untyped_storage()._cdata == start.untyped_storage()._cdata
        and end.stride() == start.stride()
        and end.storage_offset() == start.storage_offset() + count * start.stride(axis)
        and [*end.shape[:axis], *end.shape[axis + 1 :]] == [*whole[:axis], *whole[axis + 1 :]]
    )
    if not follows or not end.shape[axis] or not count:
        return None
    value = start.as_strided(whole, start.stride(), start.storage_offset())
    back = end.shape[axis]  # the shorter way around
    return torch.roll(value, -count if count <= back else back, axis)


@translates("Split", since=1)
def _split_by_attribute(
    node: NodeCall, x: Tensor, given: Tensor | None = None
) -> tuple[Tensor, ...]:
    sizes = ints(given, "its sizes") if given is not None else node.integers("split")
    return _split_into(node, x, sizes)


@translates("Split", since=13)
def _split(node: NodeCall, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    return _split_into(node, x, None if sizes is None else ints(sizes, "its sizes"))


def _split_into(node: NodeCall, x: Tensor, sizes: list[int] | None) -> tuple[Tensor, ...]:
    axis = node.integer("axis", 0)
    if sizes is None:
        count = node.integer("num_outputs", len(node.node.outputs))
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return tuple(x.split(sizes, axis))


@translates("Slice", since=1)
def _slice_by_attribute(node: NodeCall, x: Tensor) -> Tensor:
    starts, ends = node.integers("starts") or [], node.integers("ends") or []
    return _sliced(x, starts, ends, node.integers("axes"), None)


@translates("Slice", since=10)
def _slice(
    node: NodeCall,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    return _sliced(
        x,
        ints(starts, "where it starts"),
        ints(ends, "where it ends"),
        None if axes is None else ints(axes, "its axes"),
        None if steps is None else ints(steps, "its steps"),
    )


def _sliced(
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None,
    steps: Sequence[int] | None,
) -> Tensor:
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        taken = range(*slice(start, end if step > 0 or end >= -size else None, step).indices(size))
        if step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(taken.start, taken.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(taken), dtype=torch.int64))
    return torch.ops.aten.alias.default(x) if not len(starts) else x


@translates("Expand")
def _expand(node: NodeCall, x: Tensor, shape: Tensor) -> Tensor:
    sizes = torch.broadcast_shapes(x.shape, tuple(ints(shape, "its shape")))
    return x.expand(sizes)


@translates("Tile", since=6)
def _tile(node: NodeCall, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(ints(repeats, "how often it repeats"))


@translates("DepthToSpace")
def _depth_to_space(node: NodeCall, x: Tensor) -> Tensor:
    size, (batch, depth, high, wide) = node.integer("blocksize", 1), x.shape
    if node.text("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    split = x.reshape(batch, size, size, depth // size**2, high, wide)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(
        batch, depth // size**2, high * size, wide * size
    )


@translates("SpaceToDepth")
def _space_to_depth(node: NodeCall, x: Tensor) -> Tensor:
    size, (batch, depth, high, wide) = node.integer("blocksize", 1), x.shape
    split = x.reshape(batch, depth, high // size, size, wide // size, size)
    by_depth = node.text("mode", "DCR") == "CRD"
    order = (0, 1, 3, 5, 2, 4) if by_depth else (0, 3, 5, 1, 2, 4)
    return split.permute(order).reshape(batch, depth * size**2, high // size, wide // size)


@translates("Trilu")
def _trilu(node: NodeCall, x: Tensor, by: Tensor | None = None) -> Tensor:
    diagonal = 0 if by is None else integer(by, "its diagonal")
    return torch.triu(x, diagonal) if node.integer("upper", 1) else torch.tril(x, diagonal)


@translates("Col2Im")
def _col2im(node: NodeCall, x: Tensor, image: Tensor, block: Tensor) -> Tensor:
    sizes, kernel = tuple(ints(image, "its image")), tuple(ints(block, "its block"))
    rank = len(sizes)
    pads = tuple(node.integers("pads", [0] * 2 * rank) or ())
    steps = tuple(node.integers("strides", [1] * rank) or ())
    apart = tuple(node.integers("dilations", [1] * rank) or ())
    if rank == 2 and pads[:2] == pads[2:]:
        return F.fold(x, sizes, kernel, apart, pads[:2], steps)
    wide = [n + pads[d] + pads[rank + d] for d, n in enumerate(sizes)]
    counts = [(wide[d] - apart[d] * (kernel[d] - 1) - 1) // steps[d] + 1 for d in range(rank)]
    taps = math.prod(kernel)
    batch, channels = x.shape[0], x.shape[1] // taps
    at = torch.zeros(taps, math.prod(counts), dtype=torch.int64)
    for dim in range(rank):
        inside, across = math.prod(kernel[dim + 1 :]), math.prod(counts[dim + 1 :])
        tap = torch.arange(taps) // inside % kernel[dim] * apart[dim]
        place = torch.arange(math.prod(counts)) // across % counts[dim] * steps[dim]
        at = at * wide[dim] + tap[:, None] + place[None, :]
    flat = x.new_zeros((batch, channels, math.prod(wide)))
    summed = flat.index_add(2, at.reshape(-1), x.reshape(batch, channels, -1))
    whole = summed.reshape(batch, channels, *wide)
    return F.pad(whole, [-pads[d + rank * e] for d in reversed(range(rank)) for e in (0, 1)])


@translates("CenterCropPad")
def _center_crop_pad(node: NodeCall, x: Tensor, shape: Tensor) -> Tensor:
    axes = node.integers("axes", list(range(x.dim()))) or []
    padding = [[0, 0] for _ in range(x.dim())]
    for axis, size in zip(axes, ints(shape, "its shape"), strict=True):
        more = size - x.shape[axis]
        first = more // 2 if more >= 0 else -((-more) // 2)
        padding[axis % x.dim()] = [first, more - first]
    return F.pad(x, [amount for pair in reversed(padding) for amount in pair])


@translates("Range")
def _range(node: NodeCall, start: Tensor, limit: Tensor, step: Tensor) -> Tensor:
    for value in (start, limit, step):
        known(value, "its range")
    count = max(0, math.ceil((limit.item() - start.item()) / step.item()))
    return (start + torch.arange(count).to(start.dtype) * step).reshape(count)


@translates("ConstantOfShape")
def _constant_of_shape(node: NodeCall, shape: Tensor) -> Tensor:
    value = node.tensor("value")
    if value is None:
        value = torch.zeros(1, dtype=node.working)
    return value.reshape(()).expand(tuple(ints(shape, "its shape"))).clone()


@translates("EyeLike")
def _eye_like(node: NodeCall, x: Tensor) -> Tensor:
    rows, columns = x.shape
    code = node.integer("dtype", 0)
    dtype = node.dtype(code) if code else x.dtype
    by = node.integer("k", 0)
    return (torch.arange(columns)[None] - torch.arange(rows)[:, None] == by).to(dtype)
