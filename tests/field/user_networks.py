"""Small networks of the kinds that users bring, beyond plain chains of convolutions.

``USERS`` lists them with the shape of a fitting input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.field.networks import conv


class TemporalConvolutions(nn.Module):
    """Causal, dilated, weight-normalised, the future cut off: extent 1 + 2·(1 + 2 + 4)·2."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(2, 2, 3, dilation=d, padding=2 * d)) for d in (1, 1, 2, 2, 4, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs[::2], self.convs[1::2], strict=True):
            y = x
            for layer in (first, second):
                y = F.relu(layer(y)[..., : -layer.padding[0]])
            x = F.relu(x + y)
        return x


class AtrousPyramid(nn.Module):
    """ASPP: dilated branches and the image's mean, upsampled, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv(2, 2, 1), conv(2, 2, dilation=2), conv(2, 2, dilation=4)]
        )
        self.pooled, self.project = conv(2, 2, 1), conv(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.pooled(F.adaptive_avg_pool2d(x, 1))
        mean = F.interpolate(mean, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat([*(branch(x) for branch in self.branches), mean], 1))


class NonLocal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta, self.phi, self.g = conv(2, 1, 1), conv(2, 1, 1), conv(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        theta, phi = self.theta(x).flatten(2), F.max_pool2d(self.phi(x), 2).flatten(2)
        values = F.max_pool2d(self.g(x), 2).flatten(2)
        weights = torch.softmax(theta.transpose(1, 2) @ phi, -1)
        return x + (values @ weights.transpose(1, 2)).reshape(x.shape)


class TemporalShift(nn.Module):
    """TSM: frames in the batch; some channels from the next frame, some from the one before."""

    frames = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frames, height, width = x.shape
        x = x.transpose(1, 2)
        out = torch.zeros_like(x)
        out[:, :-1, :1] = x[:, 1:, :1]
        out[:, 1:, 1:2] = x[:, :-1, 1:2]
        out[:, :, 2:] = x[:, :, 2:]
        out = self.conv(out.reshape(batch * frames, channels, height, width))
        return out.reshape(batch, frames, channels, height, width).transpose(1, 2)


class FourierUnit(nn.Module):
    """FFC: a 1x1 convolution in the frequency domain, beside a local convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.local, self.spectral = conv(2, 2), conv(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        f = torch.fft.rfft2(x, norm="ortho")
        f = F.relu(self.spectral(torch.cat([f.real, f.imag], 1)))
        real, imaginary = f.chunk(2, 1)
        return self.local(x) + torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:])


class GlobalFilter(nn.Module):
    """GFNet along one axis only: columns stay apart."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 2, 5, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        f = torch.fft.rfft(x, dim=2) * torch.view_as_complex(self.weight)
        return torch.fft.irfft(f, n=x.shape[2], dim=2)


class FixedWarp(nn.Module):
    """grid_sample by a constant affine grid: half the image, enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("theta", torch.tensor([[[0.45, 0.0, 0.1], [0.0, 0.35, -0.2]]]))
        self.conv = conv(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        grid = F.affine_grid(self.theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class NestedUNet(nn.Module):
    """U-Net++ of depth 2: every level sees all those before it."""

    def __init__(self) -> None:
        super().__init__()
        self.x00, self.x10, self.x20 = conv(2, 2), conv(2, 2), conv(2, 2)
        self.x01, self.x11, self.x02 = conv(4, 2), conv(4, 2), conv(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        x00 = F.relu(self.x00(x))
        x10 = F.relu(self.x10(F.max_pool2d(x00, 2)))
        x01 = F.relu(self.x01(torch.cat([x00, up(x10)], 1)))
        x20 = F.relu(self.x20(F.max_pool2d(x10, 2)))
        x11 = F.relu(self.x11(torch.cat([x10, up(x20)], 1)))
        return self.x02(torch.cat([x00, x01, up(x11)], 1))


class UpFirDn(nn.Module):
    """StyleGAN2: zeros put between the samples, a blur, and a modulated convolution."""

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(taps, taps) / 64)
        self.weight = nn.Parameter(torch.rand(2, 2, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        y = F.conv2d(x, self.weight, padding=1)
        y = y.reshape(batch, channels, height, 1, width, 1)
        y = F.pad(y, [0, 1, 0, 0, 0, 1]).reshape(batch, channels, height * 2, width * 2)
        y = F.pad(y, [2, 1, 2, 1])
        kernel = self.kernel.flip([0, 1])[None, None].repeat(channels, 1, 1, 1)
        return F.conv2d(y, kernel, groups=channels)


class Involution(nn.Module):
    """The kernel of a pixel comes from that pixel; unfold gathers what it is applied to."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.span = conv(4, 2, 1), conv(2, 9 * 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        kernel = self.span(F.relu(self.reduce(x))).view(batch, 2, 1, 9, height, width)
        patches = F.unfold(x, 3, padding=1).view(batch, 2, channels // 2, 9, height, width)
        return (kernel * patches).sum(3).view(x.shape)


class Gram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(2, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x).flatten(2)
        return features @ features.transpose(1, 2) / features.shape[-1]


class SuperResolution(nn.Sequential):
    """Two convolutions, a 3x pixel shuffle, a convolution: period 3."""

    def __init__(self) -> None:
        super().__init__(conv(2, 4, 5), nn.Tanh(), conv(4, 9), nn.PixelShuffle(3), conv(1, 1))


class FusedPyramid(nn.Module):
    """BiFPN: maps of three strides, fused by normalised weights, top-down and bottom-up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleList([conv(2, 2), conv(2, 2, stride=2), conv(2, 2, stride=2)])
        self.fuse = nn.ModuleList(conv(2, 2, groups=2) for _ in range(4))
        self.weights = nn.Parameter(torch.ones(4, 3))

    def mixed(self, number: int, *maps: Tensor) -> Tensor:
        weights = F.relu(self.weights[number, : len(maps)])
        weights = weights / (weights.sum() + 1e-4)
        stacked = torch.stack([w * m for w, m in zip(weights, maps, strict=True)], -1)
        return self.fuse[number](F.silu(stacked.sum(-1)))

    def forward(self, x: Tensor) -> Tensor:
        p3 = self.stem[0](x)
        p4 = self.stem[1](p3)
        p5 = self.stem[2](p4)
        t4 = self.mixed(0, p4, F.interpolate(p5, scale_factor=2))
        o3 = self.mixed(1, p3, F.interpolate(t4, scale_factor=2))
        o4 = self.mixed(2, p4, t4, F.max_pool2d(o3, 3, 2, 1))
        return self.mixed(3, p5, F.max_pool2d(o4, 3, 2, 1))


class Capsules(nn.Module):
    """Primary capsules, squashed; then one round of routing over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.primary = nn.Conv2d(2, 2 * 4, 3, 2)
        self.votes = nn.Parameter(torch.rand(2, 18, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        u = self.primary(x).view(x.shape[0], 2, 4, -1).permute(0, 1, 3, 2).flatten(1, 2)
        norm = u.norm(dim=-1, keepdim=True)
        u = u * norm / (1 + norm**2)
        votes = torch.einsum("okdc,bkc->bokd", self.votes, u)
        agreement = (votes * votes.mean(2, keepdim=True)).sum(-1, keepdim=True)
        return (agreement.softmax(1) * votes).sum(2)


class CoordinateAttention(nn.Module):
    """Gates pooled along one axis each, computed together: a cross."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.rows, self.columns = conv(2, 2, 1), conv(2, 2, 1), conv(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
        y = F.hardswish(self.shared(torch.cat([rows, columns], 2)))
        rows, columns = y.split([height, width], 2)
        gates = self.rows(rows).sigmoid() * self.columns(columns.transpose(2, 3)).sigmoid()
        return x * gates


class AxialAttention(nn.Module):
    """Attention along the rows, heads apart, by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = conv(2, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(1, (3, 2, 2)).unbind(1)
        weights = torch.einsum("bnchi,bnchj->bnhij", q, k).softmax(-1)
        return torch.einsum("bnhij,bnchj->bnchi", weights, v).flatten(1, 2)


class CostVolume(nn.Module):
    """PWC-Net: correlations with shifted copies, stacked as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv(2, 2), conv(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        left, right = self.left(x), F.pad(self.right(x), (2, 2, 2, 2))
        return torch.stack(
            [
                (left * right[..., dy : dy + height, dx : dx + width]).mean(1)
                for dy in range(0, 5, 2)
                for dx in range(0, 5, 2)
            ],
            1,
        )


class Wavelets(nn.Module):
    """Haar analysis by slices, a convolution on the bands, and synthesis by assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = (x[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
        bands = self.conv(torch.cat([a + b + c + d, a - b, a - c, a - d], 1)).chunk(4, 1)
        out = x.new_empty(x.shape)
        for number, band in enumerate(bands):
            out[..., number // 2 :: 2, number % 2 :: 2] = band
        return out


class WaveNet(nn.Module):
    """Gated causal convolutions by padding on the left, with skips that are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Conv1d(2, 4, 2, dilation=d) for d in (1, 2, 4))
        self.skips = nn.ModuleList(nn.Conv1d(2, 2, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(())
        for gate, skip in zip(self.gates, self.skips, strict=True):
            y = F.glu(gate(F.pad(x, (gate.dilation[0], 0))), 1)
            total = total + skip(y)
            x = x + y
        return total


class RecurrentConvolutions(nn.Module):
    """ConvLSTM: over time, the past; over space, wider the longer ago."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = conv(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], 2, *x.shape[3:])
        states = []
        for t in range(x.shape[2]):
            i, f, o, g = self.cell(torch.cat([x[:, :, t], h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states, 2)


class DynamicConvolution(nn.Module):
    """One kernel per image, made from its mean; the batch runs as groups."""

    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Linear(2, 2 * 2 * 9)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        kernel = self.make(x.mean((2, 3))).view(batch * 2, channels, 3, 3)
        y = F.conv2d(x.reshape(1, -1, height, width), kernel, padding=1, groups=batch)
        return y.view(batch, 2, height, width)


class LinearAttention(nn.Module):
    """Causal linear attention by running sums."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Conv1d(2, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).transpose(1, 2).chunk(3, -1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        states = torch.einsum("bnd,bne->bnde", k, v).cumsum(1)
        norm = (q * k.cumsum(1)).sum(-1, keepdim=True)
        return (torch.einsum("bnd,bnde->bne", q, states) / norm).transpose(1, 2)


class Deformed(nn.Module):
    """Deformable convolution: where it looks is data."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.ops import DeformConv2d

        self.offsets, self.conv = conv(2, 18), DeformConv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, self.offsets(x))


USERS = {
    TemporalConvolutions: (1, 2, 40),
    AtrousPyramid: (1, 2, 10, 9),
    NonLocal: (1, 2, 4, 6),
    TemporalShift: (1, 4, 4, 5, 5),
    FourierUnit: (1, 2, 6, 8),
    GlobalFilter: (1, 2, 8, 5),
    FixedWarp: (1, 2, 12, 12),
    NestedUNet: (1, 2, 24, 24),
    UpFirDn: (1, 2, 7, 8),
    Involution: (1, 4, 6, 5),
    Gram: (1, 2, 8, 8),
    SuperResolution: (1, 2, 11, 11),
    FusedPyramid: (1, 2, 32, 32),
    Capsules: (1, 2, 7, 7),
    CoordinateAttention: (1, 2, 5, 6),
    AxialAttention: (1, 2, 4, 5),
    CostVolume: (1, 2, 10, 10),
    Wavelets: (1, 1, 12, 12),
    WaveNet: (1, 2, 24),
    RecurrentConvolutions: (1, 1, 4, 9, 9),
    DynamicConvolution: (1, 2, 6, 6),
    LinearAttention: (1, 2, 10),
    Deformed: (1, 2, 7, 7),
}
