"""One row by itself, a first frame or a first sample, streams with the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.tile import streamed
from fieldwise.tile.bands.early import seats
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.errors import StreamError
from fieldwise.tile.jobs.banded import BandedInput
from fieldwise.tile.jobs.streams import stream_work

VIDEO = (1, 4, 9, 6, 4)


class Function(nn.Module):
    """A function of the input and a convolution."""

    def __init__(self, call, *, kernel=(3, 3, 3)) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, 4, kernel, padding=(0, 1, 1))
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def _replicated(net: Function, x: Tensor) -> Tensor:
    """A causal convolution behind its first frame, again and again (Cosmos, LTX, Mochi)."""
    for _ in range(2):
        x = net.conv(torch.cat([x[:, :, :1].repeat(1, 1, 2, 1, 1), x], 2)).relu()
    return x


def _expanded(net: Function, x: Tensor) -> Tensor:
    return net.conv(torch.cat([x[:, :, :1].expand(-1, -1, 2, -1, -1), x], 2))


def _first_apart(net: Function, x: Tensor) -> Tensor:
    """The first frame is enlarged in space alone, all others in time too (HunyuanVideo 1.5)."""
    first, others = x[:, :, :1], x[:, :, 1:]
    first = first.reshape(1, 2, 2, 1, 6, 4).permute(0, 1, 3, 4, 2, 5).reshape(1, 2, 1, 12, 4)
    others = others.reshape(1, 2, 2, 8, 6, 4).permute(0, 1, 3, 4, 2, 5).reshape(1, 2, 8, 12, 4)
    return torch.cat([first, others], 2)


def _frame_by_frame(net: Function, x: Tensor) -> Tensor:
    """A loop over frames with a cache, as in Wan and Magvit."""
    cache, found = x.new_zeros(1, 4, 2, 6, 4), []
    for frame in x.split(1, 2):
        cache = torch.cat([cache, frame], 2)[:, :, -3:]
        y = net.conv(cache)
        y = F.layer_norm(y.permute(0, 2, 3, 4, 1).reshape(24, 4), [4])
        found.append(y.reshape(1, 1, 6, 4, 4).permute(0, 4, 1, 2, 3))
    return torch.cat(found, 2)


def _from_the_first(net: Function, x: Tensor) -> Tensor:
    return (x - x[:, :, :1]) * x[:, :, 1].unsqueeze(2).sigmoid()


def _beside_the_first(net: Function, x: Tensor) -> Tensor:
    """The first frame stands beside every frame, as what a video is made of does."""
    return torch.cat([x, x[:, :, :1].repeat(1, 1, 9, 1, 1)], 1)


def _normalised_first(net: Function, x: Tensor) -> Tensor:
    """What reads all of a frame reads all of the first one."""
    first = F.group_norm(x[:, :, 0], 2).mean((2, 3), keepdim=True)
    return x + first.unsqueeze(2)


def _padded_first(net: Function, x: Tensor) -> Tensor:
    """A frame that was no video for a while is padded as one."""
    first = F.group_norm(x[:, :, 0], 2).unsqueeze(2)
    return net.conv(torch.cat([F.pad(first, (0, 0, 0, 0, 2, 0)), x], 2))


def _waited_for(net: Function, x: Tensor) -> Tensor:
    """Of one frame two are made, and one again, before which others are added."""
    one = x[:, :, 1:2]
    one = torch.stack([one, one], 2).flatten(1, 2)
    size = [1, *x.shape[3:]]
    return F.pad(F.interpolate(one, size=size, mode="nearest"), [0, 0, 0, 0, 2, 2])


CALLS = [
    _replicated, _expanded, _first_apart, _frame_by_frame, _from_the_first, _beside_the_first,
    _normalised_first, _padded_first, _waited_for,
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__.strip("_"))
@pytest.mark.parametrize("band", [1, 2, 4, 9])
def test_any_band_gives_the_whole(call, band):
    torch.manual_seed(0)
    model, x = Function(call).eval().double(), torch.randn(VIDEO, dtype=torch.float64)
    run = streamed(model, x, axis=2, band=band)
    with torch.no_grad():
        wanted = model(x)
        torch.testing.assert_close(run(x), wanted, atol=1e-12, rtol=1e-12)
        kept = streamed(model, x, axis=2, band=band, global_ops="auto")
        torch.testing.assert_close(kept(x), wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__.strip("_"))
def test_sections_begin_anywhere(call):
    torch.manual_seed(0)
    model, x = Function(call).eval().double(), torch.randn(VIDEO, dtype=torch.float64)
    work = stream_work(BandedInput(model, VIDEO, x.dtype, band=1), section=3)
    assert len(work.plan.pieces) > 1
    with torch.no_grad():
        wanted = model(x)
        blocks = [b for piece in work.plan.pieces for b in work.blocks(piece, x)]
    for _, start, values in (block for block in blocks if isinstance(block, tuple)):
        place = tuple(slice(lo, lo + n) for lo, n in zip(start, values.shape, strict=True))
        np.testing.assert_allclose(values, wanted[place].numpy(), atol=1e-12)


def test_several_samples_have_their_first_rows_in_one():
    torch.manual_seed(0)
    for call in (_replicated, _expanded, _from_the_first, _beside_the_first, _padded_first):
        model, x = Function(call).eval().double(), torch.randn(2, *VIDEO[1:], dtype=torch.float64)
        with torch.no_grad():
            found = streamed(model, x, axis=2, band=2)(x)
            torch.testing.assert_close(found, model(x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__.strip("_"))
def test_a_session_of_known_length_gives_the_whole(call):
    torch.manual_seed(0)
    model, x = Function(call).eval().double(), torch.randn(VIDEO, dtype=torch.float64)
    session = streamed(model, x, axis=2).session(length=9)
    chunks = [session.push(chunk) for chunk in x.split([1, 3, 1, 4], 2)]
    chunks.append(session.close())
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(chunks, 2), model(x), atol=1e-12, rtol=1e-12)


def test_what_broadcasts_a_first_row_waits_for_it_alone():
    model = Function(lambda _, x: x - x[:, :, :1])
    plan = streamed(model, VIDEO, axis=2, band=1).plan((1, 4, 900, 6, 4))
    assert plan.state_bytes <= 2 * 4 * 6 * 4 * 4
    assert not plan.held_whole


def test_what_broadcasts_a_last_row_is_refused():
    model = Function(lambda _, x: x - x[:, :, -1:])
    with pytest.raises(StreamError, match="it needs a row that is made of late ones"):
        streamed(model, VIDEO, axis=2)


def test_one_row_of_all_rows_is_refused_as_a_whole():
    model = Function(lambda _, x: x * x.mean(2, keepdim=True).flatten(1).reshape(1, 4, 1, 6, 4))
    with pytest.raises(StreamError, match="every result reads the whole streamed axis"):
        streamed(model, VIDEO, axis=2)


def test_random_numbers_for_one_row_are_refused():
    model = Function(lambda _, x: x + F.dropout(x[:, :, 0], training=True).unsqueeze(2))
    with pytest.raises(StreamError, match="random"):
        streamed(model, VIDEO, axis=2)


def test_one_row_may_lie_wherever_nothing_else_does():
    assert seats((1, 8, 1)) == [AxisPlace(0), AxisPlace(2)]
    assert seats((4, 8)) == [AxisPlace(0, 4)]
    assert seats(()) == []
