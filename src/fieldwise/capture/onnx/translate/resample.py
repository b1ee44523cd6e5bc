"""Resizing, padding and sampling at places: by torch where it means the same, else by table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.translate.tables import (
    COORDINATES,
    NEAREST,
    ResizedAxis,
    TapTable,
    as_fraction,
    cubic,
    linear,
    nearest_table,
    padded_places,
    weighted_table,
)
from fieldwise.capture.onnx.values import floats, ints, known

_TORCH_MODES = {
    "nearest": {1: "nearest", 2: "nearest", 3: "nearest"},
    "linear": {1: "linear", 2: "bilinear", 3: "trilinear"},
    "cubic": {2: "bicubic"},
}


@translates("Upsample", since=7)
def _upsample_by_attribute(node: NodeCall, x: Tensor) -> Tensor:
    return _upsampled(node, x, node.numbers("scales") or [])


@translates("Upsample", since=9)
def _upsample(node: NodeCall, x: Tensor, scales: Tensor) -> Tensor:
    return _upsampled(node, x, floats(scales, "its scales"))


def _upsampled(node: NodeCall, x: Tensor, scales: Sequence[float]) -> Tensor:
    return resized_by_scales(node, x, scales, "asymmetric", "floor")


def resized_by_scales(
    node: NodeCall, x: Tensor, scales: Sequence[float], coordinate: str, rounding: str
) -> Tensor:
    """Resized by a scale per dimension, in the mode of the node."""
    axes = [_scaled(size, scale) for size, scale in zip(x.shape, scales, strict=True)]
    return _resized(node, x, dict(enumerate(axes)), coordinate, rounding)


@translates("Resize", since=10)
def _resize_simple(node: NodeCall, x: Tensor, scales: Tensor) -> Tensor:
    found = floats(scales, "its scales")
    axes = {dim: _scaled(x.shape[dim], scale) for dim, scale in enumerate(found)}
    shrinks = any(axis.scale < 1 for axis in axes.values())
    return _resized(node, x, axes, "asymmetric", "ceil" if shrinks else "floor")


@translates("Resize", since=11)
def _resize(
    node: NodeCall,
    x: Tensor,
    region: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    dims = [axis % x.dim() for axis in node.integers("axes", list(range(x.dim()))) or []]
    if sizes is not None and sizes.numel():
        axes = _sized(node, [x.shape[dim] for dim in dims], ints(sizes, "its sizes"))
    elif scales is not None:
        found = floats(scales, "its scales")
        axes = [_scaled(x.shape[dim], s) for dim, s in zip(dims, found, strict=True)]
    else:
        raise node.refusal("it has neither scales nor sizes")
    coordinate = node.text("coordinate_transformation_mode", "half_pixel")
    if coordinate == "tf_crop_and_resize" and region is not None:
        bounds = [as_fraction(one) for one in floats(region, "its region")]
        axes = [
            ResizedAxis(one.before, one.after, one.scale, bounds[n], bounds[len(axes) + n])
            for n, one in enumerate(axes)
        ]
    rounding = node.text("nearest_mode", "round_prefer_floor")
    return _resized(node, x, dict(zip(dims, axes, strict=True)), coordinate, rounding)


def _scaled(size: int, scale: float) -> ResizedAxis:
    exact = as_fraction(scale)
    return ResizedAxis(size, math.floor(size * exact), exact)


def _sized(node: NodeCall, before: Sequence[int], after: Sequence[int]) -> list[ResizedAxis]:
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    scales = [Fraction(new, old) for old, new in zip(before, after, strict=True)]
    if policy == "stretch":
        return [ResizedAxis(*one) for one in zip(before, after, scales, strict=True)]
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [ResizedAxis(old, math.floor(old * scale + Fraction(1, 2)), scale) for old in before]


def _resized(
    node: NodeCall, x: Tensor, axes: dict[int, ResizedAxis], coordinate: str, rounding: str
) -> Tensor:
    mode = node.text("mode", "nearest")
    mode = "linear" if mode == "bilinear" else mode
    tables = {dim: _table(node, axis, mode, coordinate, rounding) for dim, axis in axes.items()}
    tables = {dim: table for dim, table in tables.items() if not table.is_identity(x.shape[dim])}
    if not tables:
        return torch.ops.aten.alias.default(x)
    found = _by_torch(x, mode, {dim: axes[dim] for dim in tables}, tables)
    if found is not None:
        return found
    wide = x if x.is_floating_point() or mode == "nearest" else x.to(node.working)
    for dim, table in tables.items():
        wide = table.apply(wide, dim)
    if coordinate == "tf_crop_and_resize":
        fill = node.number("extrapolation_value", 0.0)
        for dim, table in tables.items():
            if table.outside is not None and bool(table.outside.any()):
                shape = [-1 if one == dim else 1 for one in range(x.dim())]
                wide = torch.where(table.outside.reshape(shape), fill, wide)
    return wide.to(x.dtype)


def _table(
    node: NodeCall, axis: ResizedAxis, mode: str, coordinate: str, rounding: str
) -> TapTable:
    if coordinate not in COORDINATES:
        raise node.refusal(f"its coordinates are {coordinate!r}")
    where = COORDINATES[coordinate]
    if axis.before == axis.after and axis.scale == 1 and coordinate != "tf_crop_and_resize":
        return TapTable(torch.arange(axis.after).reshape(-1, 1), None)
    if mode == "nearest":
        if rounding not in NEAREST:
            raise node.refusal(f"its rounding is {rounding!r}")
        return nearest_table(axis, where, NEAREST[rounding])
    coefficient = as_fraction(node.number("cubic_coeff_a", -0.75))
    kernel, support = (linear, 1) if mode == "linear" else (cubic(coefficient), 2)
    return weighted_table(
        axis,
        where,
        kernel,
        support,
        antialias=bool(node.integer("antialias", 0)),
        exclude=bool(node.integer("exclude_outside", 0)),
    )


def _by_torch(
    x: Tensor, mode: str, axes: dict[int, ResizedAxis], tables: dict[int, TapTable]
) -> Tensor | None:
    """By ``F.interpolate``, if its tables are these; None where they are not."""
    count = len(axes)
    name = _TORCH_MODES.get(mode, {}).get(count)
    if name is None or x.dim() - count > 2 or not x.is_floating_point():
        return None
    corners = _corners(name, axes, tables)
    if corners is False:
        return None
    options = {} if corners is None else {"align_corners": corners == "corners"}
    lead = [dim for dim in range(x.dim()) if dim not in axes]
    order = [*lead, *axes]
    moved = x if order == list(range(x.dim())) else x.permute(order)
    for _ in range(2 - len(lead)):
        moved = moved.unsqueeze(0)
    found = F.interpolate(moved, [axis.after for axis in axes.values()], mode=name, **options)
    for _ in range(2 - len(lead)):
        found = found.squeeze(0)
    if moved is x:
        return found
    back = [order.index(dim) for dim in range(x.dim())]
    return found.permute(back)


def _corners(
    name: str, axes: dict[int, ResizedAxis], tables: dict[int, TapTable]
) -> str | bool | None:
    """How torch is to align corners so that its tables are these; False where it cannot."""
    ways: tuple[str | None, ...] = (None,) if name == "nearest" else ("halves", "corners")
    for way in ways:
        if all(_is_torchs(name, way, axes[dim], tables[dim]) for dim in axes):
            return way
    return False


def _is_torchs(name: str, way: str | None, axis: ResizedAxis, table: TapTable) -> bool:
    """Whether torch makes the same of a row of generic numbers."""
    if table.outside is not None:
        return False
    row = torch.sin(torch.arange(1, axis.before + 1, dtype=torch.float64) * 12.9898) * 43758.5453
    row = row - row.floor()
    plain = {"bilinear": "linear", "trilinear": "linear"}.get(name, name)
    given = row.reshape(1, 1, -1, *([1] if plain == "bicubic" else []))
    size = [axis.after, *([1] if plain == "bicubic" else [])]
    options = {} if way is None else {"align_corners": way == "corners"}
    found = F.interpolate(given, size, mode=plain, **options).reshape(-1)
    return bool(torch.allclose(found, table.apply(row, 0), rtol=0, atol=1e-9))


# -------------------------------------------------------------------- padding


@translates("Pad", since=1)
def _pad_by_attribute(node: NodeCall, x: Tensor) -> Tensor:
    pads = node.integers("pads") or node.integers("paddings") or []
    return _padded(node, x, pads, node.number("value", 0.0), list(range(x.dim())))


@translates("Pad", since=11)
def _pad(
    node: NodeCall,
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    chosen = list(range(x.dim())) if axes is None else ints(axes, "its axes")
    fill = 0.0 if value is None or not value.numel() else known(value, "its fill").item()
    return _padded(node, x, ints(pads, "its pads"), fill, chosen)


def _padded(
    node: NodeCall, x: Tensor, pads: Sequence[int], fill: float, axes: Sequence[int]
) -> Tensor:
    count = len(axes)
    around = [(0, 0)] * x.dim()
    for number, axis in enumerate(axes):
        around[axis % x.dim()] = (pads[number], pads[count + number])
    mode = node.text("mode", "constant")
    if not any(map(any, around)):
        return torch.ops.aten.alias.default(x)
    flat = [amount for pair in reversed(around) for amount in pair]
    if mode == "constant":
        while flat[-2:] == [0, 0]:
            flat = flat[:-2]
        return F.pad(x, flat, value=fill)
    if mode not in ("reflect", "edge", "wrap"):
        raise node.refusal(f"its mode is {mode!r}")
    name = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    if _torch_pads(x, around, mode):
        return F.pad(x, flat[: 2 * (x.dim() - 2)], name)
    for dim, (before, behind) in enumerate(around):
        if before or behind:
            places = padded_places(x.shape[dim], before, behind, mode)
            x = x.index_select(dim, torch.tensor(places, dtype=torch.int64))
    return x


def _torch_pads(x: Tensor, around: Sequence[tuple[int, int]], mode: str) -> bool:
    """Whether ``F.pad`` does that: spatial axes alone, all of them, less than once around."""
    limit = {"reflect": 1, "edge": -(1 << 40), "wrap": 0}[mode]
    return (
        3 <= x.dim() <= 5
        and x.is_floating_point()
        and not any(map(any, around[:2]))
        and all(
            0 <= amount <= size - limit
            for pair, size in zip(around[2:], x.shape[2:], strict=True)
            for amount in pair
        )
    )


# -------------------------------------------------------------------- sampling at places


@translates("GridSample", since=16)
def _grid_sample(node: NodeCall, x: Tensor, grid: Tensor) -> Tensor:
    mode = node.text("mode", "linear" if node.version >= 20 else "bilinear")
    name = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    padding = node.text("padding_mode", "zeros")
    return F.grid_sample(x, grid, name, padding, bool(node.integer("align_corners", 0)))


@translates("AffineGrid")
def _affine_grid(node: NodeCall, theta: Tensor, size: Tensor) -> Tensor:
    corners = bool(node.integer("align_corners", 0))
    return F.affine_grid(theta, ints(size, "its size"), align_corners=corners)


@translates("RoiAlign", since=10)
def _roi_align(node: NodeCall, x: Tensor, boxes: Tensor, images: Tensor) -> Tensor:
    half = node.text("coordinate_transformation_mode", "half_pixel" if node.version >= 16 else "")
    shift = 0.5 if half == "half_pixel" else 0.0
    scale = node.number("spatial_scale", 1.0)
    high, wide = node.integer("output_height", 1), node.integer("output_width", 1)
    ratio = node.integer("sampling_ratio", 0)
    corners = boxes * scale - shift
    first, sizes = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not shift:
        sizes = torch.clamp(sizes, min=1.0)
    if ratio:
        return _aligned(node, x, images, first, sizes, (high, wide), (ratio, ratio))
    counts = known(sizes, "how many samples it takes")
    rows = []
    for box in range(len(boxes)):
        per = [math.ceil(float(counts[box, 1]) / high), math.ceil(float(counts[box, 0]) / wide)]
        one = slice(box, box + 1)
        rows.append(
            _aligned(
                node, x, images[one], first[one], sizes[one], (high, wide),
                (max(per[0], 1), max(per[1], 1)),
            )
        )  # fmt: skip
    return torch.cat(rows) if rows else x.new_zeros((0, x.shape[1], high, wide))


def _aligned(
    node: NodeCall,
    x: Tensor,
    images: Tensor,
    first: Tensor,
    sizes: Tensor,
    out: tuple[int, int],
    per: tuple[int, int],
) -> Tensor:
    """The mean, or the maximum, of bilinear samples on a grid in each box."""
    ys = _samples(first[:, 1], sizes[:, 1], out[0], per[0])
    xs = _samples(first[:, 0], sizes[:, 0], out[1], per[1])
    taps_y, taps_x = _bilinear(ys, x.shape[2]), _bilinear(xs, x.shape[3])
    parts = [
        (
            x[images.reshape(-1, 1, 1), :, at_y[:, :, None], at_x[:, None, :]],
            wy[:, :, None] * wx[:, None, :],
        )
        for (at_y, wy), (at_x, wx) in itertools.product(taps_y, taps_x)
    ]
    shape = (len(first), out[0], per[0], out[1], per[1], x.shape[1])
    if node.text("mode", "avg") == "avg":
        found = sum(part * weight.unsqueeze(-1) for part, weight in parts)
        return found.reshape(shape).mean((2, 4)).permute(0, 3, 1, 2)  # type: ignore[union-attr]
    largest = [(part * weight.unsqueeze(-1)) for part, weight in parts]
    found = torch.stack(largest).amax(0)
    return found.reshape(shape).amax((2, 4)).permute(0, 3, 1, 2)


def _samples(first: Tensor, size: Tensor, out: int, per: int) -> Tensor:
    steps = (torch.arange(out * per) + 0.5).to(first.dtype) / per
    return first[:, None] + steps[None] * (size / out)[:, None]


def _bilinear(at: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """Two taps and their weights; nothing beyond one element outside."""
    inside = ((at >= -1) & (at <= size)).to(at.dtype)
    at = torch.clamp(at, 0, size - 1)
    low = at.floor()
    high = torch.clamp(low + 1, max=size - 1)
    part = at - low
    return [
        (low.to(torch.int64), (1 - part) * inside),
        (torch.where(part == 0, low, high).to(torch.int64), part * inside),
    ]


@translates("MaxRoiPool")
def _max_roi_pool(node: NodeCall, x: Tensor, boxes: Tensor) -> Tensor:
    high, wide = node.integers("pooled_shape") or [1, 1]
    scale = node.number("spatial_scale", 1.0)
    rows = []
    for image, *corners in known(boxes, "where it looks").tolist():
        left, top, right, bottom = (math.floor(one * scale + 0.5) for one in corners)
        height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
        cells = [
            _cell(x[int(image)], (top, height, high, row), (left, width, wide, column))
            for row in range(high)
            for column in range(wide)
        ]
        rows.append(torch.stack(cells, 1).reshape(x.shape[1], high, wide))
    return torch.stack(rows)


def _cell(
    image: Tensor, row: tuple[int, int, int, int], column: tuple[int, int, int, int]
) -> Tensor:
    bounds = []
    for (first, size, count, number), limit in zip((row, column), image.shape[1:], strict=True):
        low = first + math.floor(number * size / count)
        high = first + math.ceil((number + 1) * size / count)
        bounds.append((min(max(low, 0), limit), min(max(high, 0), limit)))
    (top, bottom), (left, right) = bounds
    if bottom <= top or right <= left:
        return image.new_zeros(image.shape[0])
    return image[:, top:bottom, left:right].amax((1, 2))


@translates("DeformConv", learned=(1, 3))
def _deform_conv(
    node: NodeCall,
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """A convolution whose taps lie where the offsets say, read bilinearly, with zeros outside."""
    kernel = node.integers("kernel_shape") or list(weight.shape[2:])
    if len(kernel) != 2:
        raise node.refusal("it is no image convolution")
    step, apart = node.integers("strides", [1, 1]) or [], node.integers("dilations", [1, 1]) or []
    pads = node.integers("pads", [0] * 4) or []
    groups, shared = node.integer("group", 1), node.integer("offset_group", 1)
    batch, channels, height, width = x.shape
    out, taps = offset.shape[2:], kernel[0] * kernel[1]
    shifts = offset.reshape(batch, shared, taps, 2, *out)
    at = []
    for dim in (0, 1):
        tap = torch.arange(taps) // (kernel[1] if dim == 0 else 1) % kernel[dim] * apart[dim]
        base = torch.arange(out[dim]) * step[dim] - pads[dim]
        shape = [1, 1, -1, 1, 1], [1, 1, 1, -1, 1] if dim == 0 else [1, 1, 1, 1, -1]
        at.append(shifts[:, :, :, dim] + tap.reshape(shape[0]) + base.reshape(shape[1]))
    planes = x.reshape(batch, shared, channels // shared, height * width)
    read = _read_bilinearly(planes, at[0].flatten(2), at[1].flatten(2), height, width)
    if mask is not None:
        read = read * mask.reshape(batch, shared, 1, -1)
    columns = read.reshape(batch, groups, channels // groups * taps, out[0] * out[1])
    rows = weight.reshape(groups, weight.shape[0] // groups, -1)
    found = torch.matmul(rows, columns).reshape(batch, weight.shape[0], *out)
    return found if bias is None else found + bias.reshape(-1, 1, 1)


def _read_bilinearly(planes: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """Of a tap that has no weight the zero is taken that stands behind each plane."""
    total: Tensor | None = None
    planes = F.pad(planes, (0, 1))
    for dy, dx in itertools.product((0, 1), (0, 1)):
        row, column = y.floor() + dy, x.floor() + dx
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        weight = (1 - (y - row).abs()) * (1 - (x - column).abs()) * inside
        flat = torch.where(weight == 0, height * width, row * width + column)
        index = flat.to(torch.int64).unsqueeze(2).expand(-1, -1, planes.shape[2], -1)
        part = planes.gather(3, index) * weight.unsqueeze(2)
        total = part if total is None else total + part
    assert total is not None
    return total
