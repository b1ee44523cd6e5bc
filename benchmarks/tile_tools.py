"""Tilers of other packages, each called as it documents; shared by tile.py and peers_tiles.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]


def by_monai(model: Model, x: Tensor, **settings: Any) -> Tensor:
    """``sliding_window_inference``; a weight map of its own may be an array."""
    from monai.inferers import sliding_window_inference

    weights = settings.pop("roi_weight_map", None)
    if weights is not None:
        weights = torch.as_tensor(weights, dtype=x.dtype)
    return sliding_window_inference(x, predictor=model, roi_weight_map=weights, **settings)


def by_torchio(
    model: Model,
    x: Tensor,
    *,
    patch_size: Sequence[int],
    patch_overlap: Sequence[int] = (0, 0, 0),
    padding_mode: str | None = None,
    overlap_mode: str = "crop",
) -> Tensor:
    """``GridSampler`` and ``GridAggregator``, which know volumes: an image is one sample deep."""
    from torchio import GridAggregator, GridSampler, ScalarImage, Subject

    subject = Subject(image=ScalarImage(tensor=x[0, ..., None]))
    sampler = GridSampler(subject, tuple(patch_size), tuple(patch_overlap), padding_mode)
    aggregator = GridAggregator(sampler, overlap_mode=overlap_mode)
    for patch in sampler:
        location = torch.as_tensor(np.asarray(patch["location"]))[None]
        found = model(patch["image"].data[None, ..., 0])
        aggregator.add_batch(found[..., None], location)
    return aggregator.get_output_tensor()[None, ..., 0]


def by_dask(model: Model, x: Tensor, *, chunks: Sequence[int], **settings: Any) -> Tensor:
    """``map_overlap`` over an array of chunks."""
    import dask.array

    def block(array: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(np.ascontiguousarray(array))).numpy()

    array = x.numpy()
    lazy = dask.array.from_array(array, chunks=tuple(chunks)).map_overlap(
        block, meta=array[:0], **settings
    )
    return torch.from_numpy(lazy.compute(scheduler="synchronous"))


def by_patchly(model: Model, x: Tensor, *, patch_size: int, step_size: int | None) -> Tensor:
    """``GridSampler`` and ``Aggregator``, means where patches overlap."""
    from patchly.aggregator import Aggregator
    from patchly.sampler import GridSampler

    size, rank = tuple(x.shape[2:]), x.ndim - 2
    sampler = GridSampler(
        x[0].numpy(), size, (patch_size,) * rank,
        None if step_size is None else (step_size,) * rank, spatial_first=False,
    )  # fmt: skip
    aggregator = None
    for patch, place in sampler:
        found = model(torch.from_numpy(np.ascontiguousarray(patch))[None])[0].numpy()
        if aggregator is None:
            whole = (found.shape[0], *size)
            aggregator = Aggregator(sampler, output_size=whole, spatial_first=False)
        aggregator.append(found, place)
    assert aggregator is not None
    return torch.from_numpy(np.asarray(aggregator.get_output()))[None]
