"""Models with generic weights and statistics, and how what becomes of them is judged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

RIGHT = 1e-9
RIGHT_IN_SINGLE = 1e-3


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw, in place, whatever initialisation leaves constant.

    BatchNorm: mean N(0, .5), var U(.3, 3), γ U(.5, 1.5), β N(0, .3).  Other parameters with one
    and the same value throughout (LayerScale, zero biases) get generic ones of that size.

    >>> norm = randomise(nn.BatchNorm2d(3))
    >>> bool((norm.running_mean != 0).all())
    True
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: set[int] = set()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(getattr(module, "running_mean", None), Tensor):
                drawn |= _draw_norm(module, generator)
        for parameter in model.parameters():
            constant = (
                parameter.ndim > 0 and parameter.numel() > 1 and parameter.is_floating_point()
            )
            if (
                id(parameter) not in drawn
                and constant
                and bool((parameter == parameter.flatten()[0]).all())
            ):
                _draw_like(parameter, generator)
    return model


def settled(model: nn.Module, shape: Sequence[int], batches: int = 3) -> nn.Module:
    """Draw parameters, then take BatchNorm statistics from inputs, in place: as after training.

    >>> norm = settled(nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)), (1, 3, 16, 16))[1]
    >>> bool((norm.running_var != 1).all()), norm.training
    (True, False)
    """
    norms = [one for one in randomise(model).modules() if isinstance(one, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    model.train()
    with torch.no_grad():
        for _ in range(batches):
            model(torch.randn(4, *shape[1:]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def _draw_norm(norm: nn.Module, generator: torch.Generator) -> set[int]:
    def normal(tensor: Tensor, spread: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    normal(norm.running_mean, 0.5)
    uniform(norm.running_var, 0.3, 3)
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if weight is not None:
        uniform(weight, 0.5, 1.5)
    if bias is not None:
        normal(bias, 0.3)
    return {id(weight), id(bias)}


def _draw_like(parameter: Tensor, generator: torch.Generator) -> None:
    if float(parameter.flatten()[0]) == 0:
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    else:
        parameter.mul_(torch.rand(parameter.shape, generator=generator) + 0.5)


def random_model(spec: str, shape: str | None = None) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """An architecture with generic weights and statistics, and inputs for it, in float64.

    In float32 where its forward insists on that.
    """
    from fieldwise.capture.specs import load_model

    torch.manual_seed(0)
    loaded = load_model(spec, shape)
    assert isinstance(loaded.source, nn.Module)
    model = randomise(loaded.source).double()
    example = tuple(torch.randn(shape, dtype=torch.float64) for shape in loaded.shapes)
    try:
        outputs(model, example)
    except RuntimeError:
        return model.float(), tuple(tensor.float() for tensor in example)
    return model, example


def outputs(model: nn.Module, example: tuple[Tensor, ...]) -> list[Tensor]:
    """All tensors that the model returns."""
    from fieldwise.capture.torch.capture import named_tensors

    with torch.no_grad():
        return [tensor for _, tensor in named_tensors(model(*example))]


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference over the largest value, the worst over the outputs."""
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        return math.inf
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-300)) for a, b in pairs)


def count(model: nn.Module, example: tuple[Tensor, ...]) -> int:
    """How many BatchNorm ops one run takes."""
    from fieldwise.capture.torch import capture

    return sum(node.op == "batch_norm" for node in capture(model, example).nodes)
