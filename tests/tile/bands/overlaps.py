"""Spectra and windows: framing, transforms of frames, overlap-add."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tile.bands.laws import Law, laws

HANN = torch.hann_window(16)
AUDIO, FRAMES, IMAGE = (2, 97), (2, 9, 24, 2), (1, 2, 24, 12)


def magnitudes(x: Tensor, window: Tensor, hop: int = 4, **options: object) -> Tensor:
    """Of the short-time spectrum."""
    return torch.stft(x, 16, hop, window=window, return_complex=True, **options).abs()


def samples(x: Tensor, window: Tensor, hop: int = 4, **options: object) -> Tensor:
    """Of short-time spectra."""
    return torch.istft(torch.view_as_complex(x), 16, hop, window=window, **options)


def denoised(x: Tensor, conv: nn.Module, window: Tensor) -> Tensor:
    """A mask on the spectrum, made of its magnitudes."""
    spectrum = torch.stft(x, 16, 4, window=window, return_complex=True)
    mask = conv(spectrum.abs()).sigmoid()
    return torch.istft(spectrum * mask, 16, 4, window=window, length=x.shape[-1])


def vocoded(x: Tensor, conv: nn.Module, window: Tensor) -> Tensor:
    """Vocos' head with padding 'same': its own inverse transform, by folds, and its envelope."""
    size, hop, count = len(window), 4, x.shape[-1]
    magnitude, phase = conv(x).chunk(2, 1)
    spectrum = magnitude.exp().clip(max=100) * torch.exp(1j * phase)
    length, pad = (count - 1) * hop + size, (size - hop) // 2

    def added(frames: Tensor) -> Tensor:
        return F.fold(frames, (1, length), (1, size), stride=(1, hop))[:, 0, 0, pad:-pad]

    y = added(torch.fft.irfft(spectrum, size, dim=1) * window[None, :, None])
    return y / added(window.square().expand(1, count, -1).transpose(1, 2))


def blocks(x: Tensor, conv: nn.Module, size: int, **options: int) -> Tensor:
    """Windows of an image, mixed, and laid on one another."""
    windows = conv(F.unfold(x, size, **options))
    return F.fold(windows, tuple(x.shape[-2:]), size, **options)


OVERLAPS = laws(
    stft_centred=Law(magnitudes, AUDIO, 1, (HANN,)),
    stft_with_zeros=Law(partial(magnitudes, pad_mode="constant"), AUDIO, 1, (HANN,)),
    stft_circular=Law(
        partial(magnitudes, pad_mode="circular"), AUDIO, 1, (HANN,), live="it reads the far end"
    ),
    stft_from_the_start=Law(partial(magnitudes, center=False), AUDIO, 1, (HANN,)),
    stft_of_a_short_window=Law(
        partial(magnitudes, hop=5, win_length=10, center=False), AUDIO, 1, (torch.hann_window(10),),
        tile=5,
    ),
    stft_with_gaps=Law(partial(magnitudes, hop=20, onesided=False), (97,), 0, (HANN,), tile=20),
    istft=Law(samples, FRAMES, 2, (HANN,)),
    istft_of_a_length=Law(
        partial(samples, length=85), FRAMES, 2, (HANN,), live="depends on the total length"
    ),
    istft_longer_than_it_is=Law(
        partial(samples, length=97), FRAMES, 2, (HANN,), live="depends on the total length"
    ),
    istft_of_a_short_window=Law(
        partial(samples, win_length=11, hop=3, normalized=True), FRAMES, 2,
        (torch.hann_window(11),),
    ),
    istft_from_the_start=Law(
        partial(samples, center=False), FRAMES, 2, (torch.hamming_window(16),)
    ),
    istft_of_both_sides=Law(
        lambda x, w: torch.istft(
            torch.view_as_complex(x), 16, 4, window=w, onesided=False, return_complex=True
        ).abs(),
        (16, 24, 2), 1, (HANN,),
    ),
    denoiser=Law(denoised, AUDIO, 1, (nn.Conv1d(9, 9, 3, padding=1), HANN)),
    vocoder=Law(vocoded, (1, 8, 30), 2, (nn.Conv1d(8, 18, 3, padding=1), HANN)),
    fourier_across=Law(lambda x: torch.fft.rfft(x, dim=1).abs(), (2, 16, 40), 2),
    fourier_across_and_back=Law(
        lambda x: torch.fft.irfft2(torch.fft.rfft2(x).exp(), s=x.shape[-2:]), (1, 2, 24, 6, 6), 2
    ),
    frames=Law(lambda x: x.unfold(1, 8, 4).square().mean(-1), AUDIO, 1),
    frames_with_gaps=Law(lambda x: x.unfold(1, 3, 5).amax(-1), AUDIO, 1, tile=5),
    blocks=Law(partial(blocks, size=4, stride=4), IMAGE, 2, (nn.Conv1d(32, 32, 1),)),
    windows=Law(partial(blocks, size=3, padding=1), IMAGE, 2, (nn.Conv1d(18, 18, 1),)),
    windows_apart=Law(
        partial(blocks, size=3, stride=2, padding=4, dilation=3), IMAGE, 2, (nn.Conv1d(18, 18, 1),)
    ),
    folds_with_gaps=Law(
        lambda x: F.fold(x, (1, 5 * x.shape[2] - 1), (1, 3), stride=(1, 5)), (2, 6, 19), 2
    ),
)  # fmt: skip
