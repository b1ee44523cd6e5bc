"""Selection and writes: elements by place, by order and by data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.refusal import NeedsDataError
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.values import integer, is_known, known


@translates("Gather", learned=(0,))
def _gather(node: NodeCall, x: Tensor, places: Tensor) -> Tensor:
    axis = node.integer("axis", 0) % x.dim()
    places = _positive(places, x.shape[axis])
    if not places.dim() and is_known(places):
        return x.select(axis, int(places))
    frames = _framed(x, axis, places)
    if frames is not None:
        return frames
    found = x.index_select(axis, places.reshape(-1))
    return found.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def _framed(x: Tensor, axis: int, places: Tensor) -> Tensor | None:
    """Windows, where a table of two dimensions says no more than that; None where it says more.

    What exporters make of an unfold: place k of window n is first + k · apart + n · step.
    """
    if places.dim() != 2 or min(places.shape) < 2 or not is_known(places):
        return None
    taps, count = places.shape
    first, apart, step = (int(places[at]) for at in ((0, 0), (1, 0), (0, 1)))
    apart, step = apart - first, step - first
    regular = first + apart * torch.arange(taps)[:, None] + step * torch.arange(count)
    if min(apart, step) < 1 or not torch.equal(places, regular):
        return None
    reach = apart * (taps - 1) + 1
    windows = x.narrow(axis, first, step * (count - 1) + reach).unfold(axis, reach, step)
    return windows[..., ::apart].movedim(-1, axis)


def _positive(places: Tensor, size: int) -> Tensor:
    """Places counted from the front, as int64."""
    wide = places.to(torch.int64)
    return torch.where(wide < 0, wide + size, wide)


@translates("GatherElements")
def _gather_elements(node: NodeCall, x: Tensor, places: Tensor) -> Tensor:
    axis = node.integer("axis", 0) % x.dim()
    return x.gather(axis, _positive(places, x.shape[axis]))


@translates("GatherND")
def _gather_nd(node: NodeCall, x: Tensor, places: Tensor) -> Tensor:
    batch = node.integer("batch_dims", 0)
    depth = places.shape[-1]
    indices = [_positive(places[..., number], x.shape[batch + number]) for number in range(depth)]
    lead = [
        torch.arange(size).reshape([-1 if dim == number else 1 for dim in range(places.dim() - 1)])
        for number, size in enumerate(x.shape[:batch])
    ]
    return x[(*lead, *indices)]


@translates("Scatter", "ScatterElements")
def _scatter_elements(node: NodeCall, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    axis = node.integer("axis", 0) % x.dim()
    at = _positive(places, x.shape[axis])
    how = node.text("reduction", "none")
    if how == "none":
        return x.scatter(axis, at, updates)
    return x.scatter_reduce(axis, at, updates, _REDUCTIONS[how])


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@translates("ScatterND")
def _scatter_nd(node: NodeCall, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    depth = places.shape[-1]
    indices = tuple(_positive(places[..., n], x.shape[n]) for n in range(depth))
    how = node.text("reduction", "none")
    if how in ("none", "add"):
        return x.index_put(indices, updates, accumulate=how == "add")
    flat = torch.zeros_like(indices[0])
    for number, one in enumerate(indices):
        flat = flat * x.shape[number] + one
    inner = math.prod(x.shape[depth:])
    rows = x.reshape(-1, inner)
    at = flat.reshape(-1, 1).expand(-1, inner)
    return rows.scatter_reduce(0, at, updates.reshape(-1, inner), _REDUCTIONS[how]).reshape(x.shape)


@translates("TensorScatter")
def _tensor_scatter(
    node: NodeCall, past: Tensor, update: Tensor, starts: Tensor | None = None
) -> Tensor:
    axis = node.integer("axis", -2) % past.dim()
    batch, size, count = past.shape[0], past.shape[axis], update.shape[axis]
    first = torch.zeros(batch, dtype=torch.int64) if starts is None else starts
    at = first.reshape(-1, 1) + torch.arange(count)
    if node.text("mode", "linear") == "circular":
        at = at % size
    shape = [batch if dim == 0 else count if dim == axis else 1 for dim in range(past.dim())]
    return past.scatter(axis, at.reshape(shape).expand(update.shape), update)


@translates("OneHot")
def _one_hot(node: NodeCall, places: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    count = integer(depth, "its depth")
    axis = node.integer("axis", -1) % (places.dim() + 1)
    at = _positive(places, count).unsqueeze(axis)
    shape = [-1 if dim == axis else 1 for dim in range(at.dim())]
    hit = at == torch.arange(count).reshape(shape)
    return torch.where(hit, values[1], values[0])


@translates("ReverseSequence")
def _reverse_sequence(node: NodeCall, x: Tensor, lengths: Tensor) -> Tensor:
    time, batch = node.integer("time_axis", 0), node.integer("batch_axis", 1)
    steps = torch.arange(x.shape[time]).reshape(-1, 1)
    size = lengths.reshape(1, -1)
    at = torch.where(steps < size, size - 1 - steps, steps)
    at = at if time < batch else at.T
    shape = [1] * x.dim()
    shape[time], shape[batch] = x.shape[time], x.shape[batch]
    return x.gather(time, at.reshape(shape).expand(x.shape))


@translates("TopK", since=1)
def _top_k_by_attribute(node: NodeCall, x: Tensor) -> tuple[Tensor, Tensor]:
    return _top(x, node.integer("k", 1), node.integer("axis", -1), largest=True)


@translates("TopK", since=10)
def _top_k(node: NodeCall, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    largest = bool(node.integer("largest", 1))
    return _top(x, integer(count, "its k"), node.integer("axis", -1), largest=largest)


def _top(x: Tensor, count: int, axis: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


# -------------------------------------------------------------------- sizes by data


@translates("NonZero")
def _non_zero(node: NodeCall, x: Tensor) -> Tensor:
    return known(x, _SIZE).nonzero().T.contiguous()


_SIZE = "its size"


@translates("Compress")
def _compress(node: NodeCall, x: Tensor, condition: Tensor) -> Tensor:
    places = known(condition, _SIZE).reshape(-1).nonzero().reshape(-1)
    if "axis" not in node.node.attributes:
        return x.reshape(-1).index_select(0, places)
    return x.index_select(node.integer("axis", 0), places)


@translates("Unique")
def _unique(node: NodeCall, x: Tensor) -> tuple[Tensor, ...]:
    known(x, _SIZE)
    axis = node.integer("axis", 0) if "axis" in node.node.attributes else None
    rows = x.reshape(-1) if axis is None else x
    dim = 0 if axis is None else axis % x.dim()
    values, inverse, counts = torch.unique(
        rows, sorted=True, return_inverse=True, return_counts=True, dim=dim
    )
    where = inverse.reshape(-1)
    first = torch.full((values.shape[dim],), len(where), dtype=torch.int64)
    first = first.scatter_reduce(0, where, torch.arange(len(where)), "amin")
    if not node.integer("sorted", 1):
        order = torch.argsort(first)
        values, first, counts = values.index_select(dim, order), first[order], counts[order]
        where = torch.argsort(order)[where]
    return values, first, where, counts


@translates("NonMaxSuppression")
def _non_max_suppression(
    node: NodeCall,
    boxes: Tensor,
    scores: Tensor,
    most: Tensor | None = None,
    overlap: Tensor | None = None,
    least: Tensor | None = None,
) -> Tensor:
    for value in (boxes, scores, most, overlap, least):
        if not is_known(value):
            raise NeedsDataError(f"{_SIZE} depends on the data")
    limit = 0 if most is None else integer(most, _SIZE)
    bound = 0.0 if overlap is None else float(overlap.reshape(-1)[0])
    floor = -math.inf if least is None else float(least.reshape(-1)[0])
    kept = [
        [batch, label, place]
        for batch in range(scores.shape[0])
        for label in range(scores.shape[1])
        for place in _survivors(
            _corners(node, boxes[batch]), scores[batch, label], limit, bound, floor
        )
    ]
    return torch.tensor(kept, dtype=torch.int64).reshape(-1, 3)


def _corners(node: NodeCall, boxes: Tensor) -> Tensor:
    if node.integer("center_point_box", 0):
        middle, half = boxes[:, :2], boxes[:, 2:] / 2
        return torch.cat([middle - half, middle + half], 1)
    first, second = boxes[:, :2], boxes[:, 2:]
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], 1)


def _survivors(
    boxes: Tensor, scores: Tensor, limit: int, bound: float, floor: float
) -> Sequence[int]:
    kept: list[int] = []
    sizes = boxes[:, 2:] - boxes[:, :2]
    areas = sizes.prod(1)
    for place in torch.argsort(scores, descending=True, stable=True).tolist():
        if len(kept) >= limit or not float(scores[place]) > floor:
            break
        low = torch.maximum(boxes[kept, :2], boxes[place, :2])
        high = torch.minimum(boxes[kept, 2:], boxes[place, 2:])
        shared = F.relu(high - low).prod(1)
        if not bool((shared / (areas[kept] + areas[place] - shared) > bound).any()):
            kept.append(place)
    return kept
