"""Random networks for the prover: those of the field tests, and what matters to shifts besides.

Half of them are made circular, and sizes have many divisors, so that both verdicts are common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.field.random_networks import CHANNELS, Drawn, Function, networks

SIZES = {1: (12, 16, 24), 2: (6, 8, 12), 3: (4, 6)}


class Padded(nn.Module):
    """A pool whose padding is wrapped around."""

    def __init__(self, pool: nn.Module, padding: int) -> None:
        super().__init__()
        self.pool, self.padding = pool, padding
        pool.padding = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(F.pad(x, [self.padding] * 2 * (x.ndim - 2), mode="circular"))


class Constant(nn.Module):
    """Adds or multiplies a constant that varies along the last axis, in every channel otherwise."""

    def __init__(self, kind: str, values: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.kind, self.values = kind, values

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.tensor([0.3, -0.8, 1.7, 0.9] * 3, dtype=x.dtype)[: x.shape[1]]
        weights = weights.reshape(-1, *[1] * (x.ndim - 2))
        values = 1 + weights * self.values(x.shape[-1]).to(x.dtype)
        return x * values if self.kind == "mul" else x + values

    def extra_repr(self) -> str:
        return self.kind


def made_circular(module: nn.Module) -> nn.Module:
    """Convolutions and pools wrap around; transposed ones are left alone."""
    for name, child in module.named_children():
        if isinstance(child, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            child.padding_mode = "circular"
        elif isinstance(getattr(child, "padding", None), int) and "Pool" in type(child).__name__:
            if child.padding:
                setattr(module, name, Padded(child, child.padding))
        else:
            made_circular(child)
    return module


def generic(module: nn.Module) -> nn.Module:
    """Without what hides a dependence: dead ReLUs, holes of transposed kernels and of pools."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softsign())
        elif isinstance(child, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            setattr(module, name, _without_holes(child))
        elif isinstance(child, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)):
            child.dilation = 1
        else:
            generic(child)
    return module


def _without_holes(layer: nn.Module) -> nn.Module:
    kernel = tuple(map(max, layer.kernel_size, layer.stride))
    return type(layer)(
        CHANNELS, CHANNELS, kernel, stride=layer.stride, padding=layer.padding,
        output_padding=layer.output_padding, groups=layer.groups,
    )  # fmt: skip


def _attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(tokens, tokens, tokens)
    return x + mixed.transpose(1, 2).reshape(x.shape)


def _classed_attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.ones(1, 1, x.shape[1], dtype=x.dtype), tokens], 1)
    mixed = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
    return mixed[:, 1:].transpose(1, 2).reshape(x.shape)


def _window_attention(x: Tensor) -> Tensor:
    """Windows of two along the last axis, each with its own softmax and its own weights."""
    x = x[..., : x.shape[-1] // 2 * 2]
    windows = x.unflatten(-1, (-1, 2))
    return (windows.softmax(-1) * torch.tensor([1.0, 2.0], dtype=x.dtype)).flatten(-2)


def _shifted_windows(x: Tensor) -> Tensor:
    return _window_attention(x.roll(-1, -1)).roll(1, -1)


def _wrapped_crop(x: Tensor) -> Tensor:
    """Wrapped, then averaged with zeros around, then cropped."""
    wide = torch.cat([x[..., -2:], x, x[..., :2]], -1)
    flat = wide.flatten(0, -2).unsqueeze(1)
    return F.avg_pool1d(flat, 3, 1, 1).reshape(wide.shape)[..., 2:-2]


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "flip_sum": lambda x: x + x.flip(-1),
    "minus_mean": lambda x: x - x.mean(-1, keepdim=True),
    "softmax": lambda x: x.softmax(-1),
    "attention": _attention,
    "classed_attention": _classed_attention,
    "window_attention": _window_attention,
    "shifted_windows": _shifted_windows,
    "wrapped_crop": _wrapped_crop,
    "zero_pad_crop": lambda x: F.pad(x, (2, 1))[..., 2:-1],
    "channels_rolled": lambda x: x.roll(1, 1),
    "shuffled": lambda x: x.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)
    if x.shape[-1] % 2 == 0
    else x,
    "unfolded": lambda x: x.unfold(-1, 2, 1).sum(-1),
    "mean": lambda x: x.mean(-1, keepdim=True).expand_as(x) * x,
    "std": lambda x: x / (1 + x.std(-1, keepdim=True)),
    "pixel_shuffle": lambda x: x.unflatten(1, (2, -1)).movedim(1, -1).flatten(-2).repeat(
        1, 2, *[1] * (x.ndim - 2)
    ),
    "rolled_index": lambda x: x[..., (torch.arange(x.shape[-1]) + 3) % x.shape[-1]],
    "cumsum": lambda x: x.cumsum(-1),
    "gram": lambda x: x + (x @ x.transpose(-1, -2)) @ x if x.ndim > 3 else x,
}  # fmt: skip

CONSTANTS: dict[str, Callable[[int], Tensor]] = {
    "alternating": lambda n: (torch.arange(n) % 2).double() + 0.5,
    "every third": lambda n: (torch.arange(n) % 3 == 0).double() + 0.5,
    "ramp": lambda n: torch.linspace(0.5, 2, n),
    "window": lambda n: ((torch.arange(n) > 1) & (torch.arange(n) < n - 1)).double() + 0.25,
    "uniform": lambda n: torch.full((n,), 0.7),
}


def _extra(draw: st.DrawFn) -> nn.Module:
    if draw(st.integers(0, 3)) == 0:
        label = draw(st.sampled_from(sorted(CONSTANTS)))
        return Constant(draw(st.sampled_from(["add", "mul"])), CONSTANTS[label])
    label = draw(st.sampled_from(sorted(FUNCTIONS)))
    return Function(FUNCTIONS[label], label)


@st.composite
def shift_networks(draw: st.DrawFn) -> Drawn:
    """A network of the field tests with up to two layers more, circular or not."""
    drawn = draw(networks())
    axes = len(drawn.shape) - 2
    layers = list(drawn.model)
    for _ in range(draw(st.integers(0, 2))):
        layers.insert(draw(st.integers(0, len(layers))), _extra(draw))
    model = generic(nn.Sequential(*layers))
    if draw(st.booleans()):
        model = made_circular(model)
    sizes = (draw(st.sampled_from(SIZES[axes])) for _ in range(axes))
    return Drawn(model.double().eval(), (1, CHANNELS, *sizes))


def randomised(model: nn.Module) -> Iterator[None]:
    """Every parameter drawn anew."""
    for parameter in model.parameters():
        parameter.data.normal_()
        yield
