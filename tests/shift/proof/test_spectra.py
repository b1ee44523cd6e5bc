"""Spectra whose frequencies are put in another order and back: phases stand with frequencies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fieldwise.shift import certify, measure

SWAP = torch.tensor([3, 1, 2, 0, 4, 5, 6, 7])


class Op(nn.Module):
    """A function of a tensor."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class SpectralConv(nn.Module):
    """As in the package neuraloperator: the lowest modes of a shifted spectrum, weighted."""

    def __init__(self, back) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2, 6, 4, dtype=torch.cfloat))
        self.back = back

    def forward(self, x: Tensor) -> Tensor:
        found = torch.fft.fftshift(torch.fft.rfftn(x, dim=(-2, -1)), dim=(-2,))
        out, centre = torch.zeros(found.shape, dtype=torch.cfloat), found.shape[-2] // 2
        part = (slice(None), slice(None), slice(centre - 3, centre + 3), slice(None, 4))
        out[part] = torch.einsum("bi...,io...->bo...", found[part], self.weight)
        return torch.fft.irfftn(self.back(out, dim=(-2,)), s=x.shape[-2:], dim=(-2, -1))


def _verdicts(model: nn.Module, shape: tuple[int, ...]) -> list[tuple[bool, bool, str]]:
    """Per axis: proven, undecided, and what is measured."""
    axes = certify(model.eval(), torch.zeros(shape)).outputs[0].axes
    measured = measure(model.eval(), torch.zeros(shape)).outputs
    return [
        (axis.circular.holds, axis.circular.undecided, moved.verdict)
        for axis, moved in zip(axes, measured, strict=True)
    ]


PROVEN, UNDECIDED = (True, False, "holds"), (False, True, "broken")


@pytest.mark.parametrize(
    ("back", "shape", "expected"),
    [
        (torch.fft.ifftshift, (1, 2, 16, 16), [PROVEN, PROVEN]),
        (torch.fft.ifftshift, (1, 2, 15, 17), [PROVEN, PROVEN]),
        (torch.fft.fftshift, (1, 2, 16, 16), [PROVEN, PROVEN]),
        (torch.fft.fftshift, (1, 2, 15, 17), [UNDECIDED, PROVEN]),
    ],
)
def test_a_spectral_layer_in_two_dimensions_is_proven_where_the_shift_is_undone(
    back, shape, expected
):
    assert _verdicts(SpectralConv(back), shape) == expected


@pytest.mark.parametrize(
    "there_and_back",
    [
        lambda f: f.flip(-1).flip(-1),
        lambda f: f.roll(3, -1).roll(-3, -1),
        lambda f: f.roll(5, -1).roll(3, -1),
        lambda f: f[..., SWAP][..., SWAP],
        lambda f: f.index_select(-1, SWAP).index_select(-1, SWAP),
        lambda f: f.flip(-1).roll(1, -1).flip(-1).roll(1, -1),
    ],
)
def test_frequencies_that_are_put_back_keep_their_phases(there_and_back):
    model = Op(lambda x: torch.fft.ifft(there_and_back(torch.fft.fft(x))).real)
    assert _verdicts(model, (1, 2, 8)) == [PROVEN]


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda f: f.flip(-1),
        lambda f: f.roll(1, -1),
        lambda f: f[..., SWAP],
        lambda f: f[..., [0, 0, 2, 3, 4, 5, 6, 7]],
        lambda f: f + f.roll(1, -1),
    ],
)
def test_frequencies_in_another_place_are_never_said_to_hold(elsewhere):
    model = Op(lambda x: torch.fft.ifft(elsewhere(torch.fft.fft(x))).real)
    assert _verdicts(model, (1, 2, 8)) == [UNDECIDED]
