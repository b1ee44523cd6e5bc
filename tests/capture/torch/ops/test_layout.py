"""Ops that move elements, against the Jacobian."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from fieldwise.testing import check_kinds, check_reads
from tests.capture.torch.ops.oracle import agree

CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "view": (lambda x: x.view(2, 6, 2), (4, 6)),
    "reshape of a transposed": (lambda x: x.t().reshape(3, 8), (4, 6)),
    "flatten": (lambda x: x.flatten(1, 2), (2, 3, 2, 2)),
    "unflatten": (lambda x: x.unflatten(1, (2, 3)), (2, 6)),
    "squeeze": (lambda x: x.squeeze(), (1, 3, 1)),
    "squeeze one": (lambda x: x.squeeze(1), (2, 3)),
    "unsqueeze": (lambda x: x.unsqueeze(-1), (2, 3)),
    "ravel": (torch.ravel, (2, 3)),
    "view_as": (lambda x: x.view_as(torch.empty(3, 2)), (2, 3)),
    "permute": (lambda x: x.permute(2, 0, -2), (2, 3, 4)),
    "transpose": (lambda x: x.transpose(0, -1), (2, 3, 4)),
    "movedim": (lambda x: x.movedim(0, 2), (2, 3, 4)),
    "swapaxes": (lambda x: x.swapaxes(0, 1), (2, 3, 4)),
    "t": (lambda x: x.t(), (2, 3)),
    "mT": (lambda x: x.mT, (2, 3, 4)),
    "T of a matrix": (lambda x: x.T, (2, 3)),
    "adjoint": (lambda x: x.adjoint(), (2, 3, 4)),
    "diagonal": (lambda x: x.diagonal(1), (3, 4)),
    "diagonal below, of a batch": (lambda x: x.diagonal(-1, 0, 2), (4, 2, 3)),
    "as_strided": (lambda x: x.as_strided((2, 3), (6, 2), 1), (4, 6)),
    "select": (lambda x: x[:, -1], (2, 3, 2)),
    "unbind": (lambda x: x.unbind(1), (2, 3)),
    "slice": (lambda x: x[1:-1, ::2, None], (4, 5)),
    "alias_copy": (lambda x: torch.alias_copy(x), (2, 3)),
    "as_strided_copy": (lambda x: torch.as_strided_copy(x, (2, 3), (2, 1)), (2, 4)),
    "diagonal_scatter": (lambda x: x.diagonal_scatter(x[0, :, :2] * 2, 1, 0, 2), (2, 2, 3)),
    "diagonal_scatter below": (lambda x: x.diagonal_scatter(x[0, :2] * 2, -1), (3, 3)),
    "a write to the diagonal": (lambda x: x.clone().fill_diagonal_(2.0) * x.sum(), (3, 3)),
    "narrow": (lambda x: x.narrow(1, -3, 2), (2, 5)),
    "split": (lambda x: x.split([1, 3], 1), (2, 4)),
    "chunk": (lambda x: x.chunk(3, -1), (2, 7)),
    "tensor_split": (lambda x: x.tensor_split(3), (7,)),
    "tensor_split at": (lambda x: x.tensor_split((1, 4)), (7,)),
    "hsplit": (lambda x: torch.hsplit(x, 2), (2, 4)),
    "unsafe_chunk": (lambda x: x.unsafe_chunk(2), (4, 2)),
    "stack with itself": (lambda x: torch.stack([x, x + 1], 1), (2, 3)),
    "cat with a constant": (lambda x: torch.cat([x, torch.ones(1, 3), x], 0), (2, 3)),
    "cat with nothing": (lambda x: torch.cat([torch.empty(0), x], -1), (2, 3)),
    "hstack": (lambda x: torch.hstack([x, x]), (2, 3)),
    "vstack": (lambda x: torch.vstack([x, x]), (3,)),
    "dstack": (lambda x: torch.dstack([x, x]), (2, 2)),
    "column_stack": (lambda x: torch.column_stack([x, x]), (3,)),
    "diag": (torch.diag, (3, 4)),
    "diag of a vector": (lambda x: torch.diag(x, -1), (3,)),
    "diag_embed": (lambda x: torch.diag_embed(x, 1, 0, 2), (2, 3)),
    "block_diag": (lambda x: torch.block_diag(x, x), (2, 3)),
    "expand": (lambda x: x.expand(4, -1, 3), (2, 1)),
    "expand_as": (lambda x: x.expand_as(torch.empty(4, 2)), (1, 2)),
    "broadcast_to": (lambda x: torch.broadcast_to(x, (3, 2)), (2,)),
    "repeat": (lambda x: x.repeat(2, 1, 3), (1, 2)),
    "repeat windows": (lambda x: x.repeat(3, 2), (2, 3)),
    "tile": (lambda x: torch.tile(x, (2,)), (2, 3)),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, 1), (2, 3)),
    "repeat_interleave flat": (lambda x: x.repeat_interleave(2), (2, 3)),
    "roll": (lambda x: x.roll((1, -2), (0, 1)), (3, 5)),
    "roll flat": (lambda x: x.roll(4), (2, 3)),
    "roll twice": (lambda x: x.roll((1, 2), (1, 1)), (2, 5)),
    "flip": (lambda x: x.flip(0, 2), (2, 2, 3)),
    "fliplr": (torch.fliplr, (2, 3)),
    "flipud": (torch.flipud, (2, 3)),
    **{f"rot90 {k}": (lambda x, k=k: x.rot90(k, (1, 2)), (2, 3, 4)) for k in range(-1, 4)},
    "slice_scatter": (lambda x: torch.ones(3, 6).slice_scatter(x, 1, 1, 6, 2), (3, 3)),
    "select_scatter": (lambda x: torch.ones(3, 4).select_scatter(x, 1, -2), (3,)),
    "slice_scatter over": (lambda x: x.slice_scatter(x[:, :2] * 2, 1, 1, 3), (2, 4)),
    "slice assignment": (lambda x: _assign(x), (3, 4)),
    "meshgrid": (lambda x: torch.meshgrid(x, x + 1, indexing="ij"), (3,)),
    "diff": (lambda x: x.diff(dim=1), (2, 4)),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (1, 8, 2, 3)),
    "pixel_shuffle of a stack": (lambda x: F.pixel_shuffle(x, 3), (9, 1, 2)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (1, 2, 4, 2)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 3), (1, 6, 2, 2)),
    "ChannelShuffle": (nn.ChannelShuffle(2), (1, 4, 2)),
    "view_as_complex": (lambda x: torch.view_as_real(torch.view_as_complex(x) * (2 + 1j)), (3, 2)),
    "complex": (lambda x: torch.view_as_real(torch.complex(x, x + 1)), (3, 2)),
    "constant_pad": (lambda x: F.pad(x, (1, 2, 0, 1)), (2, 3)),
    "crop": (lambda x: F.pad(x, (-1, 1, 2, -2)), (3, 4)),
    "reflect": (lambda x: F.pad(x, (2, 3), mode="reflect"), (1, 2, 4)),
    "reflect 2-D": (lambda x: F.pad(x, (2, 1, 0, 2), mode="reflect"), (1, 3, 4)),
    "reflect 3-D": (lambda x: F.pad(x, (1, 1, 0, 1, 1, 0), mode="reflect"), (1, 1, 2, 2, 2)),
    "replicate": (lambda x: F.pad(x, (3, 4), mode="replicate"), (1, 2, 3)),
    "replicate 2-D, crop": (lambda x: F.pad(x, (2, -1, 1, 1), mode="replicate"), (1, 1, 3, 4)),
    "replicate 3-D": (lambda x: F.pad(x, (1, 1, 0, 1, 1, 0), mode="replicate"), (1, 1, 2, 2, 2)),
    "circular": (lambda x: F.pad(x, (3, 2), mode="circular"), (1, 2, 3)),
    "circular 2-D, crop": (lambda x: F.pad(x, (2, -1, 1, 2), mode="circular"), (1, 1, 3, 4)),
    "ZeroPad3d": (nn.ZeroPad3d((1, 0, 0, 1, 2, 0)), (1, 1, 2, 2, 1)),
}


def _assign(x: torch.Tensor) -> torch.Tensor:
    out = x * 2
    out[1:, ::2] = x[:2, 1:3]
    return out


@pytest.mark.parametrize("name", CASES)
def test_elements_come_from_where_the_jacobian_says(name):
    function, shape = CASES[name]
    agree(function, shape)


def test_what_has_no_gradient_in_every_torch_has_a_pattern():
    agree(lambda x: torch.native_channel_shuffle(x, 2), (2, 4, 1, 2), inputs="basis")
    agree(lambda x: torch.narrow_copy(x, 1, 1, 2), (2, 4), inputs="basis")


def test_chunks_of_several_tensors_lie_beside_each_other():
    chunked = torch.ops.aten._chunk_cat.default
    agree(lambda x: chunked([x, x.new_zeros(2, 3, 2)], 1, 2), (2, 5), inputs="basis")
    agree(lambda x: chunked([x.new_zeros(2, 4), x], 1, 2), (2, 3, 2), inputs="basis")


def test_a_tensor_that_only_gives_its_shape_is_not_read():
    agree(lambda x, y: x.expand_as(y) + x.view_as(y[:1]), (1, 3), (2, 3))
    agree(lambda x, y: x.type_as(y), (3,), (2,))


@settings(max_examples=60)
@given(
    size=st.integers(1, 9),
    start=st.none() | st.integers(-10, 10),
    stop=st.none() | st.integers(-10, 10),
    step=st.integers(1, 4),
)
def test_any_slice_takes_what_python_takes(size, start, stop, step):
    taken = slice(start, stop, step)
    assume(len(range(size)[taken]) > 0)
    agree(lambda x: x[:, taken], (2, size))


@settings(max_examples=60)
@given(
    size=st.integers(1, 7),
    before=st.integers(-3, 6),
    after=st.integers(-3, 6),
    mode=st.sampled_from(["constant", "reflect", "replicate", "circular"]),
)
def test_any_padding_lays_around_what_the_jacobian_says(size, before, after, mode):
    assume(size + before + after > 0)
    left = size + min(before, 0) + min(after, 0)
    assume(left > 0)
    assume(mode != "circular" or max(before, after) <= left)
    assume(mode != "reflect" or (before < size and after < size))
    assume(mode not in ("reflect", "replicate") or (min(before, after) >= 0))
    agree(lambda x: F.pad(x, (before, after), mode=mode), (1, 1, size))


@pytest.mark.parametrize(("size", "step"), [(1, 1), (3, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_tensor_unfold_lays_windows_out_in_a_new_dimension(size, step, dim):
    agree(lambda x: x.unfold(dim, size, step), (4, 7, 5))


@settings(max_examples=40)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    shape=st.sampled_from([(1, 2, 4, 3), (2, 1, 5, 2), (2, 3, 4)]),
)
def test_windows_laid_out_as_channels_and_added_back(
    kernel,
    dilation,
    padding,
    stride,
    shape,
):
    sizes = zip(shape[-2:], kernel, strict=True)
    assume(all(n + 2 * padding > dilation * (k - 1) for n, k in sizes))
    how = {"dilation": dilation, "padding": padding, "stride": stride}
    agree(lambda x: F.unfold(x, kernel, **how), shape)
    columns = F.unfold(torch.zeros(shape), kernel, **how).shape
    agree(lambda x: F.fold(x, shape[-2:], kernel, **how), columns)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(torch.int64),
        lambda x: x.view(torch.int16),
        lambda x: x.view(torch.int32).view(torch.int64),
    ],
)
def test_bits_taken_as_other_numbers_are_read_along_the_last_dimension(function):
    x = torch.randn(3, 4, dtype=torch.float64)
    assert check_reads(function, x).verdict == "exact"
    assert check_kinds(function, x).verdict == "exact"
