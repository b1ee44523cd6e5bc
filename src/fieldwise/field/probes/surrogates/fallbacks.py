"""What stands in where no surrogate is known."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldwise.capture.torch.tree import map_tensors
from fieldwise.field.probes.surrogates.operation import (
    Operation,
    added,
)


def dense(operation: Operation) -> list[Tensor]:
    """Every result reads every element of every operand."""
    total = added([tensor.sum() for tensor in operation.derived()])
    return [total.expand(shape) for shape in operation.shapes]


def generic(operation: Operation) -> list[Tensor]:
    """The op itself, nonlinear as it is, at the operands it is given and random parameters."""

    def randomised(tensor: Tensor) -> Tensor:
        if tensor.requires_grad or not tensor.is_floating_point():
            return tensor
        return torch.rand(tensor.shape, dtype=torch.float64) + 0.5

    return operation.run(map_tensors(randomised, dict(operation.args)))
