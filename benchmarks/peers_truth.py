"""What an output position depends on, by float64 autograd alone: no rule of any tool is asked.

A plain gradient misses what happens to be zero: a rectifier that is shut, all of a max pool but
its largest.  So the network is run with weights and inputs above zero, max pools as averages and
rectifiers as the identity; then no two contributions cancel, and the gradient is positive exactly
where there is a path.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Box = tuple[tuple[int, int], ...]
"""Per spatial axis of the input, the first index that is seen and one past the last."""

RECTIFIERS = {"relu", "relu_", "elu", "elu_", "leaky_relu", "gelu", "silu", "hardtanh"}
POOLS = {"max_pool1d": functional.avg_pool1d, "max_pool2d": functional.avg_pool2d}


class Positive(TorchFunctionMode):
    """Runs max pools as averages and rectifiers as the identity."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """See torch."""
        name, given = getattr(func, "__name__", ""), dict(kwargs or {})
        if name in RECTIFIERS:
            return args[0] * 1
        if name in POOLS:
            assert given.pop("dilation", 1) == 1
            given.pop("return_indices", None)
            return POOLS[name](*args, **given)
        return func(*args, **given)


def positive(model: nn.Module) -> nn.Module:
    """A float64 copy with all weights and statistics drawn above zero."""
    found = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*found.parameters(), *found.buffers()):
            if tensor.is_floating_point() and tensor.ndim:
                fan = max(tensor[0].numel(), 1)
                tensor.copy_(torch.rand(tensor.shape, generator=generator).add(0.5) / fan)
        for norm in (one for one in found.modules() if hasattr(one, "running_var")):
            norm.running_var.fill_(1)
            norm.running_mean.zero_()
    return found


def true_boxes(model: nn.Module, shape: Sequence[int], units: Sequence[Sequence[int]]) -> list[Box]:
    """The smallest boxes around all input positions that output positions depend on."""
    x = torch.rand(*shape, dtype=torch.float64).add(0.5).requires_grad_()
    with Positive():
        y = positive(model)(x)
    return [
        _box(torch.autograd.grad(y[(0, ..., *at)].sum(), x, retain_graph=True)[0]) for at in units
    ]


def _box(gradient: Tensor) -> Box:
    seen = (gradient[0].abs().sum(0) > 0).nonzero()
    assert len(seen), "the position depends on nothing"
    low, high = seen.min(0).values.tolist(), (seen.max(0).values + 1).tolist()
    return tuple(zip(low, high, strict=True))
