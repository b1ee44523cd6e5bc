"""Random chains of ops on sequences: streamed, pushed, tiled and emitted, they are the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.errors import CaptureError, Refused
from fieldwise.tile import streamed, tiled

CHANNELS = 4
ROOM = 512
"""Positions that tables have."""

Op = Callable[[Random], nn.Module]


class Made(nn.Module):
    """A function of the input, (1, channels, time), and of layers."""

    def __init__(self, label: str, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.label, self.function, self.layers = label, function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)

    def extra_repr(self) -> str:
        return self.label


@pytest.fixture(autouse=True)
def _doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------------------ what is drawn


def _convolution(draw: Random) -> nn.Module:
    size, stride = draw.randint(1, 5), draw.choice([1, 1, 2])
    left, right = draw.randint(0, size - 1), draw.randint(0, 2)
    conv = nn.Conv1d(CHANNELS, CHANNELS, size, stride, dilation=draw.choice([1, 2]))
    return Made(
        f"conv {size} {stride} {left} {right}", lambda x, conv: conv(F.pad(x, (left, right))), conv
    )


def _transposed(draw: Random) -> nn.Module:
    size = draw.randint(2, 4)
    return nn.ConvTranspose1d(CHANNELS, CHANNELS, size, 2, padding=draw.randint(0, 1))


def _spectral(draw: Random) -> nn.Module:
    window, centred = torch.hann_window(8), draw.random() < 0.7

    def changed(x: Tensor) -> Tensor:
        y = torch.stft(x[0], 8, 2, window=window, center=centred, return_complex=True)
        if not centred:
            return y.abs().mean(1)[None]
        y = y * torch.sigmoid(y.abs())
        return torch.istft(y, 8, 2, window=window, length=x.shape[2])[None]

    return Made(f"stft {centred}", changed)


def _framed(draw: Random) -> nn.Module:
    size = draw.randint(2, 5)
    hop, weights = draw.randint(1, size), torch.rand(size) + 0.5

    def laid(x: Tensor) -> Tensor:
        frames = x[0].unfold(1, size, hop) * weights
        length = (frames.shape[1] - 1) * hop + size
        return (
            F.fold(frames.transpose(1, 2), (1, length), (1, size), stride=(1, hop))
            .squeeze(2)
            .transpose(0, 1)
        )

    return Made(f"fold {size} {hop}", laid)


def _attended(draw: Random) -> nn.Module:
    kind, past = draw.choice(["band", "chunk", "causal"]), draw.randint(1, 5)
    ahead, fused = draw.randint(0, 2), draw.random() < 0.5

    def looked(x: Tensor) -> Tensor:
        tokens, at = x.transpose(1, 2), torch.arange(x.shape[2])
        back = at[:, None] - at
        if kind == "chunk":
            seen = at[:, None] // (past + 1) == at // (past + 1)
        else:
            seen = (back <= (past if kind == "band" else ROOM)) & (
                back >= (-ahead if kind == "band" else 0)
            )
        if fused:
            found = F.scaled_dot_product_attention(tokens, tokens.sin(), tokens, attn_mask=seen)
        else:
            scores = (tokens @ tokens.sin().transpose(1, 2)).masked_fill(~seen, -torch.inf)
            found = scores.softmax(-1) @ tokens
        return found.transpose(1, 2)

    return Made(f"attention {kind} {past} {ahead} {fused}", looked)


def _in_batch(draw: Random) -> nn.Module:
    layer = nn.LayerNorm(CHANNELS)

    def each(x: Tensor, layer: nn.Module) -> Tensor:
        return layer(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (1, -1)).transpose(1, 2).tanh()

    return Made("time in the batch", each, layer)


def _pooled(draw: Random) -> nn.Module:
    return Made("gate", lambda x: x * torch.sigmoid(F.adaptive_avg_pool1d(x, 1)))


def _recurrent(draw: Random) -> nn.Module:
    both = draw.random() < 0.2
    lstm = nn.LSTM(CHANNELS, CHANNELS // (1 + both), batch_first=True, bidirectional=both)
    return Made(f"lstm {both}", lambda x, lstm: lstm(x.transpose(1, 2))[0].transpose(1, 2), lstm)


def _scanned(draw: Random) -> nn.Module:
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "cummax": lambda x: x.cummax(2).values,
        "cumsum": lambda x: x.cumsum(2) / 9,
        "reversed": lambda x: x.flip(2).cumsum(2).flip(2) / 9,
    }
    label = draw.choice(sorted(functions))
    return Made(label, functions[label])


def _triangle(draw: Random) -> nn.Module:
    by = draw.randint(-3, 3)
    cut = draw.choice([torch.triu, torch.tril])
    return Made(f"{cut.__name__} {by}", lambda x: cut(x.transpose(1, 2), by).transpose(1, 2) + x)


def _resized(draw: Random) -> nn.Module:
    factor = draw.choice([2, 3])

    def smaller(x: Tensor) -> Tensor:
        size = (max(x.shape[2] // factor, 1), CHANNELS)
        image = x.transpose(1, 2)[:, None]
        return F.interpolate(image, size, mode="bilinear", antialias=True)[:, 0].transpose(1, 2)

    return Made(f"antialias {factor}", smaller)


def _positions(draw: Random) -> nn.Module:
    table = torch.randn(CHANNELS, ROOM, generator=torch.Generator().manual_seed(draw.randint(0, 9)))
    scales = draw.random() < 0.5
    return Made(
        f"positions {scales}",
        lambda x: x * table[:, : x.shape[2]] if scales else x + table[:, : x.shape[2]],
    )


def _normed(draw: Random) -> nn.Module:
    return nn.GroupNorm(2, CHANNELS)


OPS: tuple[Op, ...] = (
    _convolution, _convolution, _transposed, _spectral, _framed, _attended, _in_batch, _pooled,
    _recurrent, _scanned, _triangle, _resized, _positions, _normed,
)  # fmt: skip


def network(draw: Random) -> nn.Sequential:
    """A chain of one to four ops."""
    torch.manual_seed(draw.randint(0, 1 << 20))
    return nn.Sequential(*(draw.choice(OPS)(draw) for _ in range(draw.randint(1, 4)))).eval()


# ------------------------------------------------------------------------------ what is asked


def _partition(draw: Random, rows: int) -> list[int]:
    """One sample at a time, or cut anywhere."""
    if draw.random() < 0.3:
        return [1] * rows
    cuts = sorted({0, rows, *(draw.randint(0, rows) for _ in range(draw.randint(0, 6)))})
    return [hi - lo for lo, hi in pairwise(cuts)]


def _assert_close(found: Tensor, wanted: Tensor, model: nn.Module) -> None:
    atol = 1e-10 * max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(
        found, wanted, rtol=0, atol=atol, equal_nan=True, msg=lambda said: f"{model}: {said}"
    )


def held_against_the_whole(seed: int) -> list[str]:
    """One random network, every way; what was done with it."""
    draw = Random(seed)
    model = network(draw)
    x = torch.randn(1, CHANNELS, draw.randint(24, 60))
    try:
        with torch.no_grad():
            wanted = model(x)
    except (RuntimeError, IndexError):
        return []
    if not wanted.numel() or not wanted.isfinite().all():
        return []
    return [
        *_in_bands(draw, model, x, wanted),
        *_in_a_session(draw, model, x, wanted),
        *_in_tiles(draw, model, x, wanted),
        *_emitted(draw, model),
    ]


def _in_bands(draw: Random, model: nn.Module, x: Tensor, wanted: Tensor) -> Iterator[str]:
    for global_ops in ("refuse", "multipass", "auto"):
        try:
            run = streamed(model, x, axis=2, band=draw.randint(1, 9), global_ops=global_ops)
            found = run(x)
        except Refused:
            yield "refused in bands"
            continue
        _assert_close(found, wanted, model)
        yield f"streamed, {global_ops}"
        return


def _in_a_session(draw: Random, model: nn.Module, x: Tensor, wanted: Tensor) -> Iterator[str]:
    length = draw.choice([None, x.shape[2]])
    try:
        session = streamed(model, x, axis=2).session(length=length)
        pieces = [session.push(one) for one in x.split(_partition(draw, x.shape[2]), 2)]
        pieces.append(session.close())
    except (Refused, CaptureError):
        yield "refused in a session"
        return
    _assert_close(torch.cat(pieces, 2), wanted, model)
    yield f"pushed, {'announced' if length else 'endless'}"


def _in_tiles(draw: Random, model: nn.Module, x: Tensor, wanted: Tensor) -> Iterator[str]:
    try:
        found = tiled(model, x, tile=draw.choice([4, 8, 12, 24]))(x)
    except Refused:
        yield "refused in tiles"
        return
    _assert_close(found, wanted, model)
    yield "tiled"


def _emitted(draw: Random, model: nn.Module) -> Iterator[str]:
    if draw.random() < 0.8:
        return
    try:
        stream = streamed(model, torch.empty(1, CHANNELS, 48), axis=2, band=12).emit()
    except (Refused, CaptureError):
        yield "refused to be emitted"
        return
    x = torch.randn(1, CHANNELS, stream.first + 2 * stream.chunk)
    (found,) = stream.run(x)
    with torch.no_grad():
        _assert_close(found, model(x), model)
    yield "emitted"


SELDOM_RED = [pytest.param(part, marks=[pytest.mark.slow]) for part in range(3, 12)]


@pytest.mark.parametrize("part", [0, 1, 2, *SELDOM_RED])
def test_random_chains_of_ops_on_sequences_are_the_whole(part):
    done = Counter(one for seed in range(50 * part, 50 * part + 50) for one in
                   held_against_the_whole(seed))  # fmt: skip
    assert done["tiled"] > 2
    assert done["pushed, announced"] + done["pushed, endless"] > 15
    assert sum(done[name] for name in done if name.startswith("streamed")) > 35
