"""Parameters drawn at random: what does not change with them is a part of the structure."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.running import copied


def redrawn(model: nn.Module, names: Collection[str], *, seed: int = 0, sign: int = 1) -> nn.Module:
    """A copy, like the model in all but the parameters of these names, drawn as ``drawn`` does.

    sign: −1 for the same numbers with the other sign

    >>> net = redrawn(nn.BatchNorm1d(2), ["bias"])
    >>> bool(net.weight.eq(1).all()), bool(net.bias.eq(0).any())
    (True, False)
    """
    result = copied(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in result.named_parameters(remove_duplicate=False):
            if name in names:
                tensor.copy_(sign * drawn(name, tensor, generator))
    return result


def drawn(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Values for a parameter of this name, in double precision.

    Weights: N(0, 2 / fan-in).  Vectors and scalars (γ, LayerScale, temperatures): U(0.5, 1.5).
    Biases and means: N(0, 0.3).  Variances: U(0.5, 2).
    """
    if tensor.is_complex():
        parts = torch.view_as_real(tensor)
        real, imaginary = (drawn(name, part, generator) for part in parts.unbind(-1))
        return torch.complex(real, imaginary)
    shape = tuple(tensor.shape)
    if name == "running_var":
        return _uniform(shape, generator, 0.5, 2.0)
    if name.endswith("bias") or name == "running_mean":
        return _normal(shape, generator) * 0.3
    if sum(size > 1 for size in shape) < 2:
        return _uniform(shape, generator, 0.5, 1.5)
    fan_in = tensor.numel() / shape[0] if shape[0] > 1 else 2.0
    return _normal(shape, generator) * (2 / fan_in) ** 0.5


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, low: float, high: float) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low
