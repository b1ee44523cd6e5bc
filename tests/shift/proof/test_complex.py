"""Complex networks in double precision: parameters, inputs, and what a forward makes of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fieldwise import tiled
from fieldwise.shift import circular, measure
from fieldwise.shift.generic import generic


class Spectral(nn.Module):
    """One layer of a Fourier neural operator: complex weights on the lowest frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(2, 2, 5, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        found = torch.fft.rfft(x)
        out = torch.zeros(*found.shape, dtype=torch.cfloat)
        out[..., :5] = torch.einsum("bif,iof->bof", found[..., :5], self.weight)
        return torch.fft.irfft(out, n=x.shape[-1])


class Complex(nn.Module):
    """A complex convolution, written into zeros of the default dtype on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2, 3, dtype=torch.cfloat))
        self.bias = nn.Parameter(torch.randn(2, dtype=torch.cfloat))

    def forward(self, z: Tensor) -> Tensor:
        z = torch.nn.functional.conv1d(z, self.weight, self.bias, padding=1)
        real = torch.zeros(z.shape)
        real[:] = z.real.tanh()
        return torch.complex(real, z.imag)


CASES = [
    (Spectral, torch.zeros(1, 2, 16)),
    (Complex, torch.zeros(1, 2, 16, dtype=torch.cfloat)),
]


@pytest.mark.parametrize(("network", "example"), CASES)
def test_a_complex_network_is_measured_and_repaired_in_double_precision(network, example):
    model = network().eval()
    (before,) = measure(model, example).outputs
    (after,) = circular(model, example).measurement.outputs
    assert (before.verdict, after.verdict) == ("broken", "holds")
    assert after.error < 1e-13


def test_complex_parameters_are_drawn_in_both_parts():
    weight = generic(nn.ParameterList([nn.Parameter(torch.zeros(3, 4, dtype=torch.cfloat))]))[0]
    assert weight.dtype == torch.complex128
    assert (weight.real != 0).all()
    assert (weight.imag != 0).all()


def test_tiles_of_a_complex_network_are_compared_in_double_precision_too():
    x = torch.randn(1, 2, 24, dtype=torch.cfloat)
    found = tiled(nn.Sequential(Conv()).eval(), x, tile=8).verify(x)
    assert found.double
    assert found.double[0].error <= 1e-12 * found.double[0].scale


class Conv(nn.Module):
    """A complex convolution alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2, 3, dtype=torch.cfloat))

    def forward(self, z: Tensor) -> Tensor:
        return torch.nn.functional.conv1d(z, self.weight, padding=1)
