"""Networks whose weights are masked: pull, closed form, gradients and the real derivative."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fieldwise.axes import Region
from fieldwise.field import receptive_fields
from fieldwise.field.probes import GradientProbe


class Causal(nn.Conv2d):
    """A kernel that sees what was drawn before, and with ``own`` its own place."""

    def __init__(self, read: int, made: int, size: int, *, own: bool, write: bool) -> None:
        super().__init__(read, made, size, padding=size // 2)
        mask = torch.ones(size, size)
        mask[size // 2, size // 2 + own :] = 0
        mask[size // 2 + 1 :] = 0
        self.register_buffer("mask", mask)
        self.write = write

    def forward(self, x):
        if self.write:
            self.weight.data *= self.mask
            return super().forward(x)
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class PixelCNN(nn.Sequential):
    def __init__(self, *, write: bool) -> None:
        super().__init__(
            Causal(1, 2, 5, own=False, write=write),
            nn.SiLU(),
            Causal(2, 2, 3, own=True, write=write),
        )


class Edges(nn.Module):
    """Sobel filters, fixed, before what is learned."""

    def __init__(self) -> None:
        super().__init__()
        kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        self.register_buffer("kernels", torch.stack([kernel, kernel.T])[:, None])
        self.conv = nn.Conv2d(2, 1, 1)

    def forward(self, x):
        return self.conv(F.conv2d(x, self.kernels, padding=1))


class Coupled(nn.Module):
    """Two steps of a flow on a checkerboard."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nn.Conv2d(1, 2, 3, padding=1) for _ in range(2))
        self.register_buffer("mask", (torch.arange(6)[:, None] + torch.arange(6)) % 2 * 1.0)

    def forward(self, x):
        for net, mask in zip(self.nets, (self.mask, 1 - self.mask), strict=True):
            scale, shift = net(x * mask).chunk(2, 1)
            x = x * mask + (1 - mask) * (x * scale.exp() + shift)
        return x


class Polyphase(nn.Module):
    """Subbands, laid three apart by a convolution with one tap that is not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.analyse, self.join = nn.Conv1d(1, 3, 6, stride=3), nn.Conv1d(3, 1, 5, padding=2)
        apart = torch.zeros(3, 3, 3)
        apart[range(3), range(3), 0] = 3
        self.register_buffer("apart", apart)

    def forward(self, x):
        return self.join(F.conv_transpose1d(self.analyse(x), self.apart, stride=3))


class LinearAttention(nn.Module):
    """Scores of the past, multiplied by a mask (Katharopoulos et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(2, 6, 1) for _ in range(2))
        self.register_buffer("past", torch.ones(7, 7).tril())

    def forward(self, x):
        for layer in self.layers:
            query, key, value = layer(x).chunk(3, 1)
            scores = (query.mT @ key).exp() * self.past
            x = x + value @ (scores / scores.sum(-1, keepdim=True)).mT
        return x


NETWORKS = {
    "masked as it runs": (lambda: PixelCNN(write=False), (1, 1, 8, 8)),
    "masked in place": (lambda: PixelCNN(write=True), (1, 1, 8, 8)),
    "edges": (Edges, (1, 1, 6, 6)),
    "coupled": (Coupled, (1, 1, 6, 6)),
    "polyphase": (Polyphase, (1, 1, 21)),
    "linear attention": (LinearAttention, (1, 2, 7)),
}


def derivative(model: nn.Module, shape: tuple[int, ...], unit: tuple[int, ...]) -> np.ndarray:
    """What an output position depends on: plain autograd through the real model."""
    x = torch.rand(shape, dtype=torch.float64).requires_grad_()
    out = model(x)[(0, slice(None), *unit)].sum()
    (found,) = torch.autograd.grad(out, x)
    return (found != 0)[0].any(0).numpy()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_four_answers_agree_on_what_a_mask_hides(network):
    make, shape = network
    torch.manual_seed(0)
    model = make().double().eval()
    report = receptive_fields(model, shape)
    probe = GradientProbe(model, torch.empty(shape, dtype=torch.float64))
    [output] = report.graph.outputs
    for unit in np.ndindex(*report.graph.shape(output)[2:]):
        seen, measured = report[output].at(*unit), probe.field(output, unit)
        assert (seen.exact, measured.exact) == (True, True)
        np.testing.assert_array_equal(seen.mask(), derivative(model, shape, unit))
        np.testing.assert_array_equal(seen.mask(), measured.mask)
        assert Region(seen.products).issubset(Region(report[output].unbounded(*unit)))


@pytest.mark.parametrize("write", [False, True])
def test_a_pixelcnn_has_the_blind_spot_of_the_paper(write):
    """van den Oord et al. 2016: what lies above, far on the right, is never seen."""
    row = receptive_fields(PixelCNN(write=write).eval(), (1, 1, 32, 32)).rows[-1]
    assert (row.exact, row.extent, row.stride, row.products) == (True, (4, 7), (1, 1), 3)
    seen = receptive_fields(PixelCNN(write=write).eval(), (1, 1, 32, 32))["2"].at(16, 16).mask()
    assert seen[13:17, 13:20].astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 0, 0],
    ]


def test_a_made_sees_the_features_before():
    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 5)
            inputs, hidden = torch.arange(5), torch.arange(8) % 4
            self.register_buffer("into", (hidden[:, None] >= inputs).float())
            self.register_buffer("out", (inputs[:, None] > hidden).float())

        def forward(self, x):
            x = F.silu(F.linear(x, self.first.weight * self.into, self.first.bias))
            return F.linear(x, self.last.weight * self.out, self.last.bias)

    report = receptive_fields(Made().eval(), (1, 5))
    assert [report["output"].at(n).count for n in range(5)] == [0, 1, 2, 3, 4]
