"""A generic stand-in for a model: same structure, nothing that hides a path, float64.

Initialisation hides much: the last BatchNorm weight of a residual block is 0, LayerScale is
1e-6, biases and means are 0.  A model that is judged by its structure is judged with all of them
drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.redrawn import drawn
from fieldwise.capture.torch.running import copied, doubled, is_inexact


def generic(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """A copy in float64, eval mode and on the CPU, parameters and statistics drawn at random.

    Weights: N(0, 2 / fan-in).  Vectors and scalars (γ, LayerScale, temperatures): U(0.5, 1.5).
    Biases and means: N(0, 0.3).  Variances: U(0.5, 2).  Other buffers (masks, grids, blur kernels)
    are part of the structure and are kept.

    >>> net = generic(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    >>> net[0].weight.dtype, bool((net[1].running_mean != 0).all()), bool(net[1].bias.any())
    (torch.float64, True, True)
    """
    result = doubled(copied(model).cpu()).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in _drawable(result):
            tensor.copy_(drawn(name, tensor, generator))
    return result


def settle(model: nn.Module, run: Callable[[], object]) -> None:
    """Let a generic model scale what it is given, as a trained one does.

    Statistics that were drawn blindly let activations grow from layer to layer, until a softmax
    saturates and hides what is added before it.  So in one ``run`` the statistics of every
    normalisation are multiplied by the power of what it is given: one number for all channels,
    since one channel that happens to be small must not become large.

    >>> net = generic(nn.Sequential(nn.BatchNorm1d(1)))
    >>> settle(net, lambda: net(1000 * torch.randn(64, 1, 8, dtype=torch.float64)))
    >>> bool(net[0].running_var > 1e5)
    True
    """

    def fit(module: Any, args: tuple[Tensor, ...]) -> None:
        power = args[0].abs().square().mean() if args else 0.0
        if power:
            module.running_mean *= power**0.5
            module.running_var *= power
            fitted.append((module, module.running_mean.clone(), module.running_var.clone()))

    fitted: list[tuple[Any, Tensor, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(fit)
        for module in model.modules()
        if _keeps_variance(module)
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    for module, mean, variance in fitted:  # a run puts buffers back
        module.running_mean.copy_(mean)
        module.running_var.copy_(variance)


def _keeps_variance(module: nn.Module) -> bool:
    return isinstance(getattr(module, "running_var", None), Tensor)


def _drawable(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The real and complex parameters, and the buffers of whatever keeps a running variance."""
    found: dict[int, tuple[str, Tensor]] = {}
    for module in model.modules():
        tables: list[Mapping[str, Tensor | None]] = [module._parameters]
        if _keeps_variance(module):
            tables.append(module._buffers)
        for table in tables:
            for name, tensor in table.items():
                if tensor is not None and is_inexact(tensor):
                    found.setdefault(id(tensor), (name, tensor))
    return list(found.values())
