"""Networks made to mislead the prover: shared sizes, halves of different maps, writes into views.

All dimensions but the first are of one size, so that a transposition is never refused, and the
last axis is shifted.  What each of them answers is found by brute force, not written down.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

N = 8
SHAPE = (1, N, N, N)


def _drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


RAMP = torch.linspace(-1, 1, N, dtype=torch.float64)
KERNEL, MIX, MATRIX = _drawn(N, N, 3, 3), _drawn(N, N, 1, 1), _drawn(N, N)
EVEN = torch.arange(0, N, 2)
MASK = (torch.arange(N)[:, None] + torch.arange(N)) % 4 == 0


def conv(x: Tensor) -> Tensor:
    """A circular convolution, 3 wide."""
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), KERNEL)


def mixed(x: Tensor) -> Tensor:
    """A convolution that only mixes channels."""
    return F.conv2d(x, MIX)


def joined(left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor]) -> Callable:
    """The left half of one map beside the right half of another one."""
    return lambda x: torch.cat([left(x[..., :4]), right(x[..., 4:])], -1)


def _same(x: Tensor) -> Tensor:
    return x


def _blocks(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :4, :, :4] = x[:, :4, :, :4]
    y[:, 4:, :, 4:] = x[:, 4:, :, 4:]
    return y


def _all_blocks(x: Tensor) -> Tensor:
    y = _blocks(x)
    y[:, :4, :, 4:] = x[:, :4, :, 4:]
    y[:, 4:, :, :4] = x[:, 4:, :, :4]
    return y


def _half_written(x: Tensor) -> Tensor:
    y = x.clone()
    y[..., :4] = y[..., :4].tanh()
    return y


def _view_written(x: Tensor) -> Tensor:
    y = x.clone()
    y.transpose(1, 3)[:, :4].mul_(2)
    return y


def _masked_by_mean(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, MASK] = x.mean()
    return y


def _masked_at_random(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, MATRIX > 0] = x.mean()
    return y


def _beside(x: Tensor) -> Tensor:
    """Two folded maps side by side, transformed as if they were one."""
    left, right = x.chunk(2, -1)
    return torch.fft.fft(torch.cat([left * right, left + right], -1)).abs()


def _misplaced(x: Tensor) -> Tensor:
    """Frequencies that are put back one place off."""
    spectrum = torch.fft.rfft(x)
    moved = torch.zeros_like(spectrum)
    moved[..., 1:4] = spectrum[..., :3]
    return torch.fft.irfft(moved, N)


def _wrapped(x: Tensor) -> Tensor:
    y = torch.zeros(*x.shape[:-1], N + 2, dtype=x.dtype)
    y[..., 1:-1], y[..., 0], y[..., -1] = x, x[..., -1], x[..., 0]
    return y


def _wrapped_by_slices(x: Tensor) -> Tensor:
    y = F.pad(x, (1, 1))
    y[..., :1], y[..., -1:] = x[..., -1:], x[..., :1]
    return y


ODD: dict[str, Callable[[Tensor], Tensor]] = {
    "a conv and its transpose": lambda x: conv(x) + conv(x).transpose(1, 3),
    "channels of a conv on columns": lambda x: x + conv(x).mean((2, 3))[:, None, None, :],
    "a mean over columns, transposed": lambda x: x + conv(x).mean(3, keepdim=True).transpose(1, 3),
    "channels of a pooled conv on columns": lambda x: (
        x + F.adaptive_avg_pool2d(conv(x), 1).transpose(1, 3)
    ),
    "mixed means on columns": lambda x: x + mixed(x.mean((2, 3), keepdim=True)).transpose(1, 3),
    "transposed conv of means on columns": lambda x: (
        x + F.conv_transpose2d(x.mean((2, 3), keepdim=True), MIX).transpose(1, 3)
    ),
    "slopes of a PReLU on columns": lambda x: (
        x + F.prelu(x.mean((1, 2, 3), keepdim=True).expand(1, N, 1, 1), RAMP).transpose(1, 3)
    ),
    "softmax of means on columns": lambda x: x + conv(x).mean((2, 3)).softmax(1)[:, None, None],
    "a ramp on a mean on columns": lambda x: x + (x.mean() * torch.ones_like(RAMP) + RAMP),
    "a ramp chosen by a mask": lambda x: x + torch.where(RAMP > 0, x.mean(), x.amax()),
    "real and imaginary parts on columns": lambda x: (
        x + torch.view_as_real(torch.complex(x, 2 * x)).mean((0, 1, 2, 3)).repeat(N // 2)
    ),
    "half rectified": joined(torch.relu, _same),
    "half doubled": joined(lambda x: 2 * x, _same),
    "half plus a mean of itself": joined(lambda x: x + x.mean(), _same),
    "halves of two channels": joined(lambda x: x[:, 0], lambda x: x[:, 1]),
    "halves flipped along the rows": joined(lambda x: x.flip(2), _same),
    "halves of a sum and a mean": joined(lambda x: x.sum(1), lambda x: x.mean(1)),
    "half mixed": joined(mixed, _same),
    "both halves mixed": joined(mixed, mixed),
    "both halves rectified": joined(torch.relu, torch.relu),
    "halves swapped": lambda x: torch.cat([x[..., 4:].tanh(), x[..., :4].tanh()], -1),
    "halves of x and of its roll": lambda x: torch.cat([x[..., :4], x.roll(1, -1)[..., 4:]], -1),
    "halves of x and of its flip": lambda x: torch.cat([x[..., :4], x.flip(-1)[..., 4:]], -1),
    "pieces that overlap": lambda x: torch.cat([x[..., :5], x[..., 4:7]], -1),
    "pieces that leave a gap": lambda x: torch.cat([x[..., :3], x[..., 4:]], -1),
    "halves in two casts": joined(lambda x: x.float().double(), _same),
    "two blocks written": _blocks,
    "four blocks written": _all_blocks,
    "half written": _half_written,
    "a write through a transposed view": _view_written,
    "a periodic mask set to the mean": _masked_by_mean,
    "a random mask set to the mean": _masked_at_random,
    "every other sample of another map": lambda x: x.index_copy(3, EVEN, x[..., ::2].tanh()),
    "odd samples into even places": lambda x: x.index_copy(3, EVEN, x[..., 1::2]),
    "evens and odds interleaved": lambda x: torch.stack(
        [x[..., ::2].tanh(), x[..., 1::2]], -1
    ).flatten(-2),
    "evens and odds swapped": lambda x: torch.stack([x[..., 1::2], x[..., ::2]], -1).flatten(-2),
    "a block diagonal of halves": lambda x: torch.block_diag(x[0, 0, :, :4], x[0, 0, :, 4:]),
    "the lower triangle of a gram matrix": lambda x: (x.transpose(2, 3) @ x).tril(),
    "the two triangles of two matrices": lambda x: x.tril() + conv(x).triu(1),
    "a gram matrix less its diagonal": lambda x: (
        (x.transpose(2, 3) @ x) * (1 - torch.eye(N, dtype=x.dtype))
    ),
    "a quarter turn": lambda x: x.rot90(1, (2, 3)),
    "a product with the transpose": lambda x: x * x.transpose(2, 3),
    "a matrix on the right": lambda x: x @ MATRIX,
    "a matrix on the left": lambda x: MATRIX @ x,
    "folded halves, then a conv": lambda x: conv((x[..., :4] + x[..., 4:]).repeat(1, 1, 1, 2)),
    "halves subtracted": lambda x: (x[..., :4] - x[..., 4:]).repeat(1, 1, 1, 2),
    "a half that is repeated": lambda x: x[..., :4].repeat(1, 1, 1, 2),
    "two folded maps, transformed": _beside,
    "frequencies one place off": _misplaced,
    "windows within windows": lambda x: (
        x.unflatten(-1, (2, 4)).softmax(-1).flatten(-2).unflatten(-1, (4, 2)).cumsum(-1).flatten(-2)
    ),
    "stride, roll and flip": lambda x: x[..., ::2].roll(1, -1).flip(-1).repeat_interleave(2, -1),
    "nearest up, then odd samples": lambda x: F.interpolate(x, scale_factor=2)[..., 1::2],
    "nearest up, then every third": lambda x: F.interpolate(x, scale_factor=3)[..., ::2],
    "tokens of which some are mixed": lambda x: torch.cat(
        [x.flatten(2)[..., :32].tanh(), x.flatten(2)[..., 32:]], -1
    ).reshape(x.shape),
    "tokens cut inside a row": lambda x: torch.cat(
        [x.flatten(2)[..., :30].tanh(), x.flatten(2)[..., 30:]], -1
    ).reshape(x.shape),
    "one-hot along the axis": lambda x: torch.zeros_like(x).scatter(3, x.argmax(3, True), 1.0),
    "an index of another axis": lambda x: x.gather(1, x.argsort(1)),
    "columns taken apart and stacked": lambda x: torch.stack([c.tanh() for c in x.unbind(3)], 3),
    "convolved tile by tile": lambda x: torch.cat([conv(tile) for tile in x.chunk(2, 3)], 3),
    "tiles convolved apart, padded with zeros": lambda x: torch.cat(
        [F.conv2d(tile, KERNEL, padding=1) for tile in x.chunk(2, 3)], 3
    ),
    "halves of a difference's size": lambda x: (x[..., :4] - x[..., 4:]).abs(),
    "four quarters added": lambda x: x[..., :2] + x[..., 2:4] + x[..., 4:6] + x[..., 6:],
    "borders written from the other side": lambda x: F.conv2d(_wrapped(x), KERNEL),
    "slices written from the other side": lambda x: F.conv2d(_wrapped_by_slices(x), KERNEL),
    "a difference of neighbours": lambda x: x[..., 1:] - x[..., :-1],
    "the last column alone": lambda x: x[..., -1].tanh(),
    "channels unbound, halves of two": lambda x: torch.cat(
        [x.unbind(1)[0][..., :4], x.unbind(1)[1][..., 4:]], -1
    ),
    "positions times values": lambda x: x * x.argmax(1, keepdim=True),
    "the diagonal of every map": lambda x: x.diagonal(dim1=2, dim2=3),
    "a pool over a token and a crop": lambda x: (
        x * F.avg_pool1d(torch.cat([torch.ones_like(x[0, ..., :1]), x[0, ..., 1:]], -1), N)
    ),
    "the last of a token and two maps": lambda x: torch.cat(
        [torch.ones_like(x[..., :1]), x, x.tanh()], -1
    )[..., -1:],
    "a bilinear form of means on columns": lambda x: (
        x + F.bilinear(x.mean((2, 3)), x.mean((2, 3)), MIX[..., 0] * MATRIX)[:, None, None, :]
    ),
    "distances of means on columns": lambda x: x + torch.cdist(x.mean(3), x.mean(3).cos())[:, :1],
    "windows of four joined with windows of two": lambda x: (
        x.unflatten(-1, (2, 4)).softmax(-1).flatten(-2)
        * x.unflatten(-1, (4, 2)).softmax(-1).flatten(-2)
    ),
    "a ramp on every channel of means": lambda x: (
        x * (x.mean(3).transpose(1, 2).reshape(1, N, N, 1) + RAMP).movedim(1, 2)
    ),
    "a ramp in place of all of it": lambda x: x * torch.where(RAMP.max() < RAMP, x, RAMP),
    "a norm with a bias for each column": lambda x: F.group_norm(
        x.transpose(1, 3), 1, None, RAMP
    ).transpose(1, 3),
    "a mean put into a ramp nowhere": lambda x: x * RAMP.masked_fill(RAMP.max() < RAMP, x.mean()),
    "ones in place of all of it": lambda x: x * torch.where(RAMP.max() < RAMP, x, RAMP / RAMP),
}
"""Name → network."""
