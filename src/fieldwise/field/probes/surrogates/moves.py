"""Ops that move elements, or average them with fixed weights: the op itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fieldwise.capture.torch.calls import WriteThrough
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.field.probes.surrogates.operation import (
    Operation,
    UnknownDependence,
    register,
)


@register(
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "_unsafe_view", "view_as",
    "reshape_as", "_reshape_alias", "ravel", "alias", "atleast_1d", "atleast_2d", "atleast_3d",
    "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "numpy_T", "mT",
    "mH", "matrix_H", "adjoint",
    "select", "slice", "narrow", "split", "split_with_sizes", "chunk", "tensor_split", "unbind",
    "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "hsplit", "vsplit",
    "diagonal", "diag_embed", "diag",
    "cat", "concat", "concatenate", "_chunk_cat", "stack", "_stack", "hstack", "vstack", "dstack",
    "column_stack", "meshgrid",
    "expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave",
    "roll", "flip", "fliplr", "flipud", "rot90", "tril", "triu",
    "pad", "constant_pad_nd", "_pad_circular", "_pad_enum",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
    "unfold", "im2col", "col2im", "as_strided", "slice_scatter", "select_scatter",
    "diagonal_scatter", "view_copy", "permute_copy", "squeeze_copy", "slice_copy",
    "index", "_unsafe_index", "index_select", "gather", "take", "take_along_dim",
    "index_put", "_unsafe_index_put", "_index_put_impl", "index_fill", "index_add",
    "index_copy", "scatter", "scatter_add",
    "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
    "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)  # fmt: skip
def _itself(op: Operation) -> Sequence[Tensor]:
    for name in ("index", "indices"):
        for tensor in tensors_in(op.args.get(name)):
            if tensor.requires_grad:
                raise UnknownDependence(f"{op.name} with indices that depend on the data")
            if tensor.device.type == "meta":
                raise UnknownDependence(f"{op.name} with indices on the meta device")
    return op.run(map_tensors(_as_float64, dict(op.args)))


@register("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def _grid_sample(op: Operation) -> Sequence[Tensor]:
    if op.args["grid"].requires_grad:
        raise UnknownDependence(f"{op.name} with a grid that depends on the data")
    return _itself(op)


def _as_float64(tensor: Tensor) -> Tensor:
    if tensor.requires_grad or not tensor.is_floating_point():
        return tensor
    if tensor.device.type == "meta":
        return torch.ones(tensor.shape, dtype=torch.float64)
    return tensor.detach().to("cpu", torch.float64)


def write_through(target: WriteThrough, operands: Sequence[Tensor]) -> Tensor:
    """A base with a view of it overwritten.

    The write is done on the elements' numbers, as torch lets no derivative pass a write to one
    view of several (split, chunk); the numbers then say where each element comes from.
    """
    numbers, first = [], 0
    for operand in operands:
        numbers.append(torch.arange(first, first + operand.numel()).reshape(operand.shape))
        first += operand.numel()
    return torch.cat([operand.reshape(-1) for operand in operands])[target(*numbers)]
