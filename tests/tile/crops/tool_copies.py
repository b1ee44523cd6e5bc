"""Plain copies of what other tools document, on numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

Array = np.ndarray
Predict = Callable[[Array], Array]


def starts(size: int, window: int, step: int) -> list[int]:
    """Every step, the last pulled back to end with the image (MONAI's and TorchIO's rule)."""
    found = list(range(0, max(size - window, 0) + 1, step))
    return found if found[-1] + window >= size else [*found, size - window]


def windows(size: tuple[int, ...], window: tuple[int, ...], step: tuple[int, ...]) -> Iterator[
    tuple[slice, ...]
]:  # fmt: skip
    for corner in product(*map(starts, size, window, step)):
        yield tuple(slice(a, a + n) for a, n in zip(corner, window, strict=True))


def monai(
    predict: Predict, x: Array, *, roi_size, sw_batch_size, overlap, mode, roi_weight_map
) -> Array:
    """sliding_window_inference, as documented: weighted sums over the sum of weights."""
    assert (mode, sw_batch_size) == ("constant", 1)
    assert len(roi_size) == len(overlap) == x.ndim - 2
    assert all(0 <= one < 1 for one in overlap)
    assert all(one <= size for one, size in zip(roi_size, x.shape[2:], strict=True))
    step = tuple(
        n if n == size else max(int(n * (1 - o)), 1)
        for n, o, size in zip(roi_size, overlap, x.shape[2:], strict=True)
    )
    total = count = 0.0
    for place in windows(x.shape[2:], roi_size, step):
        found = predict(x[(..., *place)])
        if isinstance(total, float):
            total = np.zeros((*found.shape[:2], *x.shape[2:]))
            count = np.zeros(x.shape[2:])
        total[(..., *place)] += found * roi_weight_map
        count[place] += roi_weight_map
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count


def torchio(predict: Predict, x: Array, *, patch_size, patch_overlap, padding_mode, overlap_mode):
    """GridSampler and GridAggregator: half the overlap cropped, but at the volume's border."""
    assert padding_mode is None
    assert overlap_mode == "crop"
    assert (len(patch_size), len(patch_overlap)) == (3, 3)
    assert all(one < n and one % 2 == 0 for one, n in zip(patch_overlap, patch_size, strict=True))
    patch_size, patch_overlap = patch_size[: x.ndim - 2], patch_overlap[: x.ndim - 2]
    step = tuple(n - o for n, o in zip(patch_size, patch_overlap, strict=True))
    out = None
    for place in windows(x.shape[2:], patch_size, step):
        found = predict(x[(..., *place)])
        if out is None:
            out = np.zeros((*found.shape[:2], *x.shape[2:]))
        inner, target = [], []
        for side, size, overlap in zip(place, x.shape[2:], patch_overlap, strict=True):
            before = overlap // 2 if side.start > 0 else 0
            behind = overlap // 2 if side.stop != size else 0
            inner.append(slice(before, side.stop - side.start - behind))
            target.append(slice(side.start + before, side.stop - behind))
        out[(..., *target)] = found[(..., *inner)]
    return out


def careamics(predict: Predict, x: Array, *, tile_size, tile_overlap) -> Array:
    """TiledPatching and stitch_prediction: of the last tile what the one before did not give."""
    assert all(one < n for one, n in zip(tile_overlap, tile_size, strict=True))

    def along(size: int, tile: int, overlap: int) -> Iterator[tuple[int, int, int]]:
        """Where a tile starts, and from where to where of the image it is kept."""
        end = 0
        for start in range(0, max(1, size - overlap), tile - overlap):
            if start + tile < size:
                stop = start + tile - overlap // 2
                yield start, end, stop
            else:
                stop = size
                yield max(0, size - tile), end, stop
            end = stop

    out = None
    for places in product(*map(along, x.shape[2:], tile_size, tile_overlap)):
        sizes = zip(places, tile_size, strict=True)
        crop = tuple(slice(start, start + size) for (start, _, _), size in sizes)
        found = predict(x[(..., *crop)])
        if out is None:
            out = np.zeros((*found.shape[:2], *x.shape[2:]))
        target = tuple(slice(first, last) for _, first, last in places)
        inner = tuple(slice(first - start, last - start) for start, first, last in places)
        out[(..., *target)] = found[(..., *inner)]
    return out


def terratorch(
    predict: Predict, x: Array, *, delta, h_crop, w_crop, h_stride, w_stride, blend_overlaps,
    average_patches, padding,
) -> Array:  # fmt: skip
    """tiled_inference: mirrored by delta, delta cropped from every chip, means where they meet."""
    assert (blend_overlaps, average_patches) == (False, True)
    assert padding == ("reflect" if delta else False)
    assert all(2 * delta <= one for one in (h_crop - h_stride, w_crop - w_stride))
    rows, columns = x.shape[2:]
    if rows <= h_crop and columns <= w_crop:
        return predict(x)
    x = np.pad(x, [(0, 0), (0, 0), (delta, delta), (delta, delta)], mode="reflect")
    total, count = 0.0, np.zeros(x.shape[2:])
    crops, strides = (h_crop, w_crop), (h_stride, w_stride)
    corners = [
        [*range(0, size - crop - 1, stride), size - crop]
        for size, crop, stride in zip(x.shape[2:], crops, strides, strict=True)
    ]
    for corner in product(*corners):
        chip = tuple(slice(a, a + n) for a, n in zip(corner, crops, strict=True))
        core = tuple(slice(a + delta, a + n - delta) for a, n in zip(corner, crops, strict=True))
        found = predict(x[(..., *chip)])
        if isinstance(total, float):
            total = np.zeros((*found.shape[:2], *x.shape[2:]))
        total[(..., *core)] += found[..., delta : h_crop - delta, delta : w_crop - delta]
        count[core] += 1
    inner = (..., slice(delta, delta + rows), slice(delta, delta + columns))
    with np.errstate(invalid="ignore"):
        return (total / count)[inner]
