"""More single ops: searches, writes, grids, products with constants, masks, frequencies."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.shift.proof.single import Single, broken, holds

BOUNDARIES = torch.linspace(-1, 1, 5, dtype=torch.float64)


def _index() -> Tensor:
    return torch.arange(16)


def _circulant() -> Tensor:
    """Column j holds the same as column 0, j places on."""
    return torch.stack([(1.7 * _index().double()).cos().roll(j) for j in range(16)], 1)


def _nearly_circulant() -> Tensor:
    return _circulant() + torch.diag(_index() / 16)


def _within(reach: int) -> Tensor:
    """Which positions are at most so far apart around the circle."""
    apart = (_index()[:, None] - _index()) % 16
    return (apart <= reach) | (apart >= 16 - reach)


def _written_in_halves(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    out[:, :1] = x[:, 1:]
    out[:, 1:] = x[:, :1]
    return out


def _grid(places: Tensor) -> Tensor:
    """A grid of 12 rows that looks at these columns of 16."""
    x = (2 * places.double() + 1) / 16 - 1
    y = (2 * torch.arange(12).double() + 1) / 12 - 1
    return torch.stack([x.expand(12, -1), y[:, None].expand(-1, len(x))], -1)[None]


def _sampled(x: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(x, grid, align_corners=False)


def _tokens(x: Tensor) -> Tensor:
    return x.mean(2).transpose(1, 2)


def _attended(**options: bool) -> Callable[..., Tensor]:
    def attend(x: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = _tokens(x)
        mixed = F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask, **options)
        return mixed.transpose(1, 2)

    return attend


def _grouped(x: Tensor) -> Tensor:
    """Four heads of queries share two of keys."""
    tokens = _tokens(x)
    queries = torch.stack([tokens, 2 * tokens, tokens.abs(), -tokens], 1)
    keys = torch.stack([tokens, tokens.abs()], 1)
    mixed = F.scaled_dot_product_attention(queries, keys, 3 * keys, enable_gqa=True)
    return mixed.transpose(2, 3).flatten(1, 2)


def _written(index: Callable[[Tensor], Tensor], value: float) -> Callable[[Tensor], Tensor]:
    def write(x: Tensor) -> Tensor:
        y = x.clone()
        index(y).fill_(value)
        return y

    return write


def _masked(x: Tensor, mask: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, mask] = 0
    return y


def _checkers() -> Tensor:
    return (torch.arange(12)[:, None] + _index()) % 2 == 0


def _halves(f: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: f(x[..., :8], x[..., 8:])


def _one_hot(x: Tensor) -> Tensor:
    return torch.zeros_like(x).scatter(1, x.argmax(1, keepdim=True), 1.0)


def _low_pass_by_write(x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(x)
    spectrum[..., 4:] = 0
    return torch.fft.irfft(spectrum, 16)


def _fourier_layer(x: Tensor) -> Tensor:
    """The kept frequencies of both signs, each mixed by its own matrix."""
    spectrum = torch.fft.rfft2(x)
    weights = torch.linspace(-1, 1, 2 * 2 * 4 * 5, dtype=torch.float64).cos().reshape(2, 2, 4, 5)
    found = torch.zeros_like(spectrum)
    for rows in (slice(None, 4), slice(-4, None)):
        kept = spectrum[:, :, rows, :5]
        found[:, :, rows, :5] = torch.einsum("bixy,ioxy->boxy", kept, weights.to(kept.dtype))
    return torch.fft.irfft2(found, s=(12, 16))


def _encoded(x: Tensor) -> Tensor:
    """A whole layer of a transformer, over the positions of the width, as one op."""
    tokens, width = _tokens(x), x.shape[1]
    shapes = (
        ((3 * width, width), (3 * width,), (width, width), (width,)),
        ((width,),) * 4,
        ((3, width), (3,), (width, 3), (width,)),
    )
    attention, norms, mlp = (
        [torch.arange(1, prod(shape) + 1, dtype=x.dtype).sin().reshape(shape) for shape in group]
        for group in shapes
    )
    return torch._transformer_encoder_layer_fwd(
        tokens, width, 1, *attention, True, False, 1e-5, *norms, *mlp
    )


def _noise() -> Tensor:
    return torch.randn(1, 2, 12, 16, generator=torch.Generator().manual_seed(1)).double()


def _interleaved_with(x: Tensor, old: Tensor) -> Tensor:
    y = old.clone()
    y[..., ::2] = x[..., ::2]
    return y


def _resampled(size: int) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.fft.irfft(torch.fft.rfft(x)[..., : size // 2 + 1], size)


def _one_frequency_repeated(x: Tensor) -> Tensor:
    """The second frequency as a matrix, multiplied by a batch of constant ones."""
    spectrum = torch.fft.fft(x.mean(2)).permute(2, 0, 1)
    return (spectrum[1:2] @ torch.ones(16, 2, 2, dtype=spectrum.dtype)).real


def _correlated(x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(x)
    return (spectrum * spectrum.conj()).abs()


SINGLES_OF_OPS: dict[str, Single] = {
    # ---------------------------------------------------------------- searches
    "sort over channels": holds(lambda x: x.sort(1).values),
    "sort over the axis": holds(
        lambda x: x.sort(3).values, step=0, result_axis=None, interior=None
    ),
    "the largest three": holds(
        lambda x: x.topk(3, 3).values, step=0, result_axis=None, interior=None
    ),
    "order of the axis": broken(lambda x: x.argsort(3).double(), "position", interior=None),
    "argmax over channels": holds(lambda x: x.argmax(1).double(), result_axis=2),
    "argmax over the axis": broken(
        lambda x: x.argmax(3).double(), "position", result_axis=None, interior=None
    ),
    "channel of the maximum": holds(lambda x: x.max(1).indices.double(), result_axis=2),
    "where a pool found its maximum": broken(
        lambda x: F.max_pool2d(x, 2, return_indices=True)[1].double(), "absolute", interior=None
    ),
    "median of the axis": holds(
        lambda x: x.median(3).values, step=0, result_axis=None, interior=None
    ),
    "cumulative sum over channels": holds(lambda x: x.cumsum(1)),
    "bucketize": holds(lambda x: torch.bucketize(x, BOUNDARIES).double()),
    "one-hot of buckets": holds(lambda x: F.one_hot(torch.bucketize(x, BOUNDARIES), 6).double()),
    "embedding of buckets": holds(
        lambda x, table: table(torch.bucketize(x, BOUNDARIES)), table=lambda: nn.Embedding(6, 3)
    ),
    "rank in a row of its own": broken(
        lambda x, rows: torch.searchsorted(rows, x.mean((0, 1)).t().contiguous()).double(),
        "varies", rows=lambda: torch.arange(64.0, dtype=torch.float64).reshape(16, 4) / 64 - 0.5,
        result_axis=0, interior=None,
    ),
    "histogram": holds(
        lambda x: torch.histc(x, 5, -2, 2), step=0, result_axis=None, interior=None
    ),
    # ---------------------------------------------------------------- pairs
    "distances of positions to a few points": holds(
        lambda x, points: torch.cdist(_tokens(x), points), result_axis=1,
        points=lambda: torch.eye(3, 2, dtype=torch.float64)[None],
    ),
    "distances of rows": holds(
        lambda x: torch.cdist(x[:, 0], x[:, 1]), step=0, result_axis=None, interior=None
    ),
    "cosine similarity of channels": holds(
        lambda x: F.cosine_similarity(x, x.flip(2).abs(), dim=1), result_axis=2
    ),
    "squared error to itself, flipped": holds(
        lambda x: F.mse_loss(x, x.flip(3)), period=8, step=0, result_axis=None, interior=None
    ),
    "squared error to a ramp": broken(
        lambda x: F.mse_loss(x, torch.linspace(-1, 1, 16, dtype=x.dtype).expand_as(x)), "varies",
        result_axis=None, interior=None,
    ),
    "lower triangle over channels and rows": holds(lambda x: x.movedim(3, 1).tril(), result_axis=1),
    "lower triangle along the axis": broken(lambda x: x.tril(), "varies", interior=(12, 16)),
    "diagonal matrix": holds(lambda x: torch.diag_embed(x).sum(4), interior=None),
    # ---------------------------------------------------------------- grids
    "identity grid": holds(_sampled, grid=lambda: _grid(_index())),
    "grid that wraps": holds(_sampled, grid=lambda: _grid(_index().roll(3)), interior=None),
    "grid that flips": holds(_sampled, grid=lambda: _grid(_index().flip(0)), step=-1),
    "grid of every other column": holds(
        _sampled, grid=lambda: _grid(_index()[::2]), period=2, interior=(0, 8)
    ),
    "grid that looks beyond": broken(
        _sampled, "zero padding", grid=lambda: _grid(_index() + 3), interior=(0, 13)
    ),
    "grid that stretches": broken(
        _sampled, "whole number", grid=lambda: _grid(_index() * 0.93), interior=None
    ),
    # ---------------------------------------------------------------- weights that slide
    "three of nine at a scale of 0.34": broken(
        lambda x: F.interpolate(x[..., :9], scale_factor=(1, 0.34), mode="bilinear"), "slide",
        shape=(1, 2, 12, 9), interior=None,
    ),
    "two of eight at a scale of 0.3": broken(
        lambda x: F.interpolate(x, scale_factor=(1, 0.3), mode="bicubic"), "slide",
        shape=(1, 2, 12, 8), interior=None,
    ),
    # ---------------------------------------------------------------- what is written over
    "copied over a random constant": holds(lambda x, old: old.clone().copy_(x), old=_noise),
    "every other sample copied over a random constant": broken(
        _interleaved_with, "crop", old=_noise, interior=(0, 1)
    ),
    # ---------------------------------------------------------------- channels without weights
    "group norm over the axis, no weights": holds(
        lambda x: F.group_norm(x.transpose(1, 3), 4), period=4, step=4, result_axis=1
    ),
    "group norm over the axis, with weights": broken(
        lambda x, w: F.group_norm(x.transpose(1, 3), 4, w), "own weight", result_axis=1,
        w=lambda: nn.Parameter(torch.ones(16, dtype=torch.float64)), interior=None,
    ),
    "one slope for all positions": holds(
        lambda x, slope: F.prelu(x.transpose(1, 3), slope), result_axis=1,
        slope=lambda: nn.Parameter(torch.full((1,), 0.3, dtype=torch.float64)),
    ),
    "means and deviations that a norm returns besides": holds(
        lambda x, w: torch.native_batch_norm(
            x.transpose(1, 3), w, w, None, None, training=True, momentum=0.1, eps=1e-5
        )[1],
        w=lambda: nn.Parameter(torch.ones(16, dtype=torch.float64)), result_axis=0,
    ),
    "a product added to nothing of a ramp": holds(
        lambda x, ramp, left: torch.addmm(ramp, left, x[0, 0], beta=0),
        ramp=lambda: torch.linspace(-1, 1, 16, dtype=torch.float64),
        left=lambda: torch.ones(3, 12, dtype=torch.float64), result_axis=1,
    ),
    # ---------------------------------------------------------------- a position that is repeated
    "a column added to all columns of a product": broken(
        lambda x: torch.addmm(x[0, 0, :, 3:4], x.mean((0, 3)).t(), x.mean((0, 3))),
        "single position", result_axis=None, interior=None,
    ),
    "a column as the mask of attention": broken(
        lambda x: F.scaled_dot_product_attention(
            *[x.mean(3).transpose(1, 2)] * 3, attn_mask=x[:, 0, None, :, 3]
        ),
        "a position", result_axis=None, interior=None,
    ),
    "a column, kept as one, as the mask of attention": broken(
        lambda x: F.scaled_dot_product_attention(
            *[x.mean(3).transpose(1, 2)] * 3, attn_mask=x[:, 0, :, 3:4].transpose(1, 2)
        ),
        "single position", result_axis=None, interior=None,
    ),
    "a frequency that is repeated": broken(
        _one_frequency_repeated, "single position", result_axis=None, interior=None
    ),
    # ---------------------------------------------------------------- blocks beside zeros
    "a block beside one that stays": holds(
        lambda x: torch.block_diag(x[0, 0], x[0, 1].square().mean().view(1, 1)),
        result_axis=1, parts=(0, 16), interior=None,
    ),
    "a block beside ones, and what they are multiplied with": broken(
        lambda x: torch.block_diag(torch.ones(4, 4), torch.ones(12, 12), x[0, 0])[:16, :16] * x[0],
        "varies along the axis", shape=(1, 2, 16, 16), interior=None,
    ),
    # ---------------------------------------------------------------- constant matrices
    "nearly circulant matrix": broken(
        torch.matmul, "constant matrix", other=_nearly_circulant, interior=None
    ),
    # ---------------------------------------------------------------- written sums of products
    "channels mixed, all that dots stand for kept": holds(
        lambda x, w: torch.einsum("bi...,io->bo...", x, w),
        w=lambda: nn.Parameter(torch.ones(2, 3, dtype=torch.float64)),
    ),
    "channels mixed, the labels that stay left out": holds(
        lambda x, w: torch.einsum("bchw,cd", x, w),
        w=lambda: nn.Parameter(torch.ones(2, 3, dtype=torch.float64)),
    ),
    "channels weighed by the diagonal of a matrix": holds(
        lambda x, w: torch.einsum("bchw,cc->bchw", x, w),
        w=lambda: torch.linspace(-1, 1, 4, dtype=torch.float64).reshape(2, 2),
    ),
    "positions weighed by the diagonal of a matrix": broken(
        lambda x, w: torch.einsum("bchw,ww->bchw", x, w), "diagonal of a constant",
        w=lambda: torch.linspace(-1, 1, 256, dtype=torch.float64).reshape(16, 16), interior=None,
    ),
    "products of two channels, summed": holds(
        lambda x: torch.addbmm(x[0, 0], x[0].transpose(1, 2).abs().mean(1, keepdim=True).expand(
            2, 12, 12), x[0]),
        result_axis=1, interior=None,
    ),
    # ---------------------------------------------------------------- windows of several sizes
    "windows of two and of three joined": holds(
        lambda x: (x.unflatten(2, (6, 2)).softmax(3) * 2).flatten(2, 3)
        + x.unflatten(2, (4, 3)).softmax(3).flatten(2, 3),
        period=6, step=6, axis=2, result_axis=2, interior=(0, 12),
    ),
    # ---------------------------------------------------------------- channels in another place
    "a convolution over time first, other batches": holds(
        lambda x, w, b: torch.conv_tbc(x[0].transpose(0, 1).transpose(1, 2), w, b),
        result_axis=1, w=lambda: nn.Parameter(torch.ones(3, 2, 5, dtype=torch.float64)),
        b=lambda: nn.Parameter(torch.ones(5, dtype=torch.float64)),
    ),
    "a convolution by weights that derive from the input": holds(
        lambda x: F.conv2d(x, x.mean((0, 2, 3))[:, None, None, None].expand(2, 2, 1, 1)),
        interior=None,
    ),
    "a layer of a transformer": holds(
        _encoded, shape=(1, 16, 12, 16), result_axis=1, interior=None
    ),
    "a layer of a transformer, its channels": broken(
        _encoded, "own weight", shape=(1, 16, 12, 16), axis=1, result_axis=None, interior=None
    ),
    "noise of a fixed slope that is not drawn": holds(
        lambda x, noise: torch.ops.aten.rrelu_with_noise(x, noise, 0.1, 0.3, False), noise=_noise
    ),
    # ---------------------------------------------------------------- rows below one another
    "rows below rows of a flat line": holds(
        lambda x: torch.cat([x.flatten(2), x[:, :, :2].flatten(2)], 2).unflatten(2, (14, 16))
    ),
    # ---------------------------------------------------------------- attention
    "fused attention": holds(_attended(), result_axis=2, interior=None),
    "causal attention": broken(
        _attended(is_causal=True), "causal", result_axis=2, interior=None
    ),
    "attention around the circle": holds(
        _attended(), mask=lambda: _within(3), result_axis=2, interior=None
    ),
    "attention within windows": holds(
        _attended(), mask=lambda: _index()[:, None] // 4 == _index() // 4, period=4, step=4,
        result_axis=2, interior=None,
    ),
    "attention to the past": broken(
        _attended(), "varies", mask=lambda: torch.ones(16, 16).tril().bool(), result_axis=2,
        interior=None,
    ),
    "grouped queries": holds(_grouped, result_axis=2, interior=None),
    # ---------------------------------------------------------------- writes
    "every other sample zeroed": holds(
        _written(lambda x: x[..., ::2], 0.0), period=2, step=2
    ),
    "one half zeroed": broken(_written(lambda x: x[..., :8], 0.0), "crop", interior=(8, 16)),
    "one channel filled": holds(_written(lambda x: x[:, 0], 3.0)),
    "checkers zeroed": holds(_masked, mask=_checkers, period=2, step=2),
    "one column zeroed": broken(
        _masked, "varies", mask=lambda: (_index() == 5).expand(12, 16), interior=(6, 16)
    ),
    "positions of maxima, of every channel its own": holds(
        lambda x: F.max_pool2d(x, 2, return_indices=True)[1],
        axis=1,
        result_axis=1,
        interior=(0, 2),
    ),
    "positions of maxima along the other axis": broken(
        lambda x: F.max_pool2d(x, (1, 2), return_indices=True)[1],
        "absolute positions",
        axis=2,
        result_axis=2,
        interior=None,
    ),
    "unset memory, written in halves": holds(_written_in_halves),
    "a sum written into a scalar": holds(
        lambda x: x + x.mean().scatter_add(0, torch.tensor(0), x.sum()), interior=None
    ),
    "a sum added to a scalar at its only place": holds(
        lambda x: x + x.mean().index_add(0, torch.tensor(0), x.sum()), interior=None
    ),
    "index_fill of every fourth": holds(
        lambda x: x.index_fill(3, torch.arange(0, 16, 4), 0.5), period=4, step=4
    ),
    "one-hot by scatter": holds(_one_hot),
    "halves added": holds(_halves(torch.add), interior=(0, 8)),
    "halves subtracted": broken(_halves(torch.sub), "crop", interior=(0, 8)),
    "one half rectified": broken(
        lambda x: torch.cat([x[..., :8].relu(), x[..., 8:]], -1), "crop", interior=(0, 8)
    ),
    # ---------------------------------------------------------------- what varies, though it stays
    "columns plus the channels of a conv": broken(
        lambda x, layer: x.flatten(1, 2) + layer(x).mean((2, 3))[:, None], "does not move",
        layer=lambda: nn.Conv2d(2, 16, 1), result_axis=2, interior=None,
    ),
    "columns plus a ramp on a mean": broken(
        lambda x, ramp: x + (x.mean(3, keepdim=True).expand_as(x) + ramp), "does not move",
        ramp=lambda: torch.linspace(-1, 1, 16, dtype=torch.float64), interior=None,
    ),
    # ---------------------------------------------------------------- frequencies
    "magnitudes of frequencies": holds(
        lambda x: torch.fft.rfft(x).abs(), step=0, result_axis=None, interior=None
    ),
    "power spectrum": holds(_correlated, step=0, result_axis=None, interior=None),
    "frequencies zeroed": holds(_low_pass_by_write, interior=None),
    "up to 32 samples by frequencies": holds(_resampled(32), step=2, interior=None),
    "down to 8 samples by frequencies": holds(_resampled(8), period=2, interior=None),
    "transformed forward twice": holds(
        lambda x: torch.fft.fft(torch.fft.fft(x)).real, step=-1, interior=None
    ),
    "transformed back and forward": holds(
        lambda x: torch.fft.fft(torch.fft.ifft(x)).real, interior=None
    ),
    "conjugate frequencies": holds(
        lambda x: torch.fft.irfft(torch.fft.rfft(x).conj(), 16), step=-1, interior=None
    ),
    "Fourier layer": holds(_fourier_layer, interior=None),
    "Fourier layer, the other axis": holds(
        _fourier_layer, axis=2, result_axis=2, interior=None
    ),
}  # fmt: skip
"""Name → case."""
