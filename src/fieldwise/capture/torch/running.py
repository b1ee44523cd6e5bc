"""Running a copy of a model, as every check by numbers does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.keeping import kept
from fieldwise.capture.torch.private import private, seeded


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; tensors that autograd made (old weight_norm) are copied as they are.

    Of what torch.compile made, the model inside.  Raises TypeError or RuntimeError for a model
    that cannot be copied.
    """
    model = getattr(model, "_orig_mod", model)
    memo: dict[int, Any] = {}
    for module in model.modules():
        for held in vars(module).values():
            if isinstance(held, Tensor) and not held.is_leaf:
                memo[id(held)] = held.detach().clone()
    return copy.deepcopy(model, memo)


def doubled(model: nn.Module) -> nn.Module:
    """The module itself with its parameters and buffers in float64 and complex128."""
    kinds = {True: torch.complex128, False: torch.float64}

    def wide(tensor: Tensor) -> Tensor:
        is_number = tensor.is_floating_point() or tensor.is_complex()
        return tensor.to(kinds[tensor.is_complex()]) if is_number else tensor

    return model._apply(wide)


def run(model: nn.Module, inputs: Any) -> Any:
    """A forward run from the same random state each time; see ``forward``."""
    with seeded():
        return forward(model, inputs)


def forward(model: nn.Module, inputs: Any) -> Any:
    """One run without gradients, on a tensor, a tuple or a mapping; the model is kept as it was.

    So are the generators of the process: what the model seeds and draws comes from copies of them.

    What a module stores while it runs is of no use afterwards, and may be in its way: a cache for
    another size, or one that no gradient passes.
    """
    with private() as own, own.dice, kept(model), torch.no_grad():
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if type(inputs) is tuple else model(inputs)
