"""Translations of tensors along one axis: whole samples by rolling, fractions by FFT."""

from __future__ import annotations

from fractions import Fraction
from math import pi

import torch
from torch import Tensor

Amount = int | float | Fraction


def translated(value: Tensor, amount: Amount, dim: int) -> Tensor:
    """``value`` moved by ``amount`` samples along ``dim``, periodically; positive is forward.

    Whole amounts are rolled, which is exact.  Others multiply the spectrum by exp(−2πi·k·amount/N),
    the translation of the trigonometric interpolant; the Nyquist component of an even axis is
    multiplied by the real part, so that real values stay real.  Whatever is not a floating tensor
    can be moved by whole amounts alone (ValueError).

    >>> translated(torch.tensor([1.0, 2.0, 3.0]), -1, 0).tolist()
    [2.0, 3.0, 1.0]
    >>> wave = torch.cos(2 * pi * torch.arange(8.0) / 8)
    >>> there = translated(translated(wave, 0.25, 0), -0.25, 0)
    >>> bool(torch.allclose(there, wave, atol=1e-6))
    True
    """
    if amount == int(amount):
        return value.roll(int(amount), dim)
    if not value.is_floating_point():
        raise ValueError(f"A tensor of {value.dtype} cannot be moved by {amount} samples.")
    phase = 2 * pi * float(amount) * _frequencies(value, dim)
    factor = torch.polar(torch.ones_like(phase), -phase)
    if value.shape[dim] % 2 == 0:
        factor[-1] = factor[-1].real.clone()
    return _filtered(value, factor, dim)


def derivative(value: Tensor, dim: int) -> Tensor:
    """d/dt at t = 0 of ``value`` moved by t samples along ``dim``: minus the spatial derivative.

    >>> angle = 2 * pi * torch.arange(8.0) / 8
    >>> bool(torch.allclose(derivative(angle.sin(), 0), -pi / 4 * angle.cos(), atol=1e-6))
    True
    """
    factor = torch.complex(torch.zeros_like(k := _frequencies(value, dim)), -2 * pi * k)
    if value.shape[dim] % 2 == 0:
        factor[-1] = 0
    return _filtered(value, factor, dim)


def _frequencies(value: Tensor, dim: int) -> Tensor:
    """In cycles per sample, those that a real signal needs."""
    return torch.fft.rfftfreq(value.shape[dim], dtype=value.dtype, device=value.device)


def _filtered(value: Tensor, factor: Tensor, dim: int) -> Tensor:
    along = [1] * value.dim()
    along[dim] = -1
    spectrum = torch.fft.rfft(value, dim=dim) * factor.reshape(along)
    return torch.fft.irfft(spectrum, n=value.shape[dim], dim=dim)
