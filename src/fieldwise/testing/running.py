"""Running what is checked, in double precision, on inputs of many kinds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.capture import named_tensors
from fieldwise.capture.torch.tree import map_tensors

Inputs = tuple[Tensor, ...]

DRAWS = 4
"""Kinds of inputs that ``draws`` goes through in turn."""


class Function(nn.Module):
    """A function of tensors, as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        """What the function gives."""
        return self.function(*inputs)


def as_module(model: Any) -> nn.Module:
    """The module itself, or a function as one; in eval mode."""
    module = model if isinstance(model, nn.Module) else Function(model)
    return module.eval()


def doubled(tree: Any) -> Any:
    """The same in double precision: float64 and complex128; other tensors as they are.

    >>> doubled((torch.ones(1), torch.ones(1, dtype=torch.int32)))[1].dtype
    torch.int32
    """

    def double(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(torch.complex128)
        return tensor.double() if tensor.is_floating_point() else tensor

    if isinstance(tree, nn.Module):
        return copy.deepcopy(tree)._apply(double)
    return map_tensors(double, tree)


def run(model: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The outputs by name, of one run that leaves the inputs as they are."""
    with torch.no_grad():
        return {name: out.detach() for name, out in named_tensors(answer(model, inputs))}


def answer(model: nn.Module, inputs: Inputs) -> Any:
    """What the model returns, on copies of the inputs."""
    return model(*(x.clone() for x in inputs))


def draws(inputs: Inputs, *, seed: int = 0) -> Iterator[Inputs]:
    """Inputs without end: those given, shuffled ones near them, uniform ones, and normal ones."""
    dice = torch.Generator().manual_seed(seed)
    yield inputs
    while True:
        for draw in (_shuffled, _uniform, _normal):
            yield tuple(draw(x, x.shape, dice) for x in inputs)


def resampled(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Values like those of ``x`` in another shape: of the same range, and none like another."""
    return _shuffled(x, shape, dice)


def _shuffled(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    values = x.detach().reshape(-1)
    if not values.numel():
        return x.new_empty(tuple(shape))
    found = values[torch.randint(values.numel(), tuple(shape), generator=dice)]
    if x.is_floating_point() or x.is_complex():
        found = found * (1 + 0.01 * torch.rand(tuple(shape), generator=dice, dtype=torch.float64))
    return found.to(x.dtype)


def _uniform(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    if not (x.is_floating_point() or x.is_complex()):
        return _shuffled(x, shape, dice)
    return (torch.rand(tuple(shape), generator=dice, dtype=torch.float64) + 0.1).to(x.dtype)


def _normal(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    if not (x.is_floating_point() or x.is_complex()):
        return _shuffled(x, shape, dice)
    kind = torch.complex128 if x.is_complex() else torch.float64
    return torch.randn(tuple(shape), generator=dice, dtype=kind).to(x.dtype)


def apart(one: Tensor, two: Tensor) -> Tensor:
    """Element by element, how far two results of one shape are apart; NaN beside NaN is not.

    >>> apart(torch.tensor([1.0, torch.nan]), torch.tensor([3.0, torch.nan]))
    tensor([2., 0.], dtype=torch.float64)
    """
    kind = torch.complex128 if one.is_complex() or two.is_complex() else torch.float64
    left, right = one.to(kind), two.to(kind)
    same = (left == right) | (left.isnan() & right.isnan())
    far = (left - right).abs()
    return torch.where(same, 0.0, far.nan_to_num(nan=torch.inf))


def scale(values: Tensor) -> float:
    """One, or the largest finite magnitude if it is larger."""
    if not values.numel():
        return 1.0
    finite = values.to(torch.complex128 if values.is_complex() else torch.float64).abs()
    return max(1.0, finite.nan_to_num(nan=0.0, posinf=0.0).max().item())


def same(one: Tensor, two: Tensor) -> bool:
    """Whether two results are alike in shape, and in value up to the rounding of their dtype."""
    if one.shape != two.shape or not one.numel():
        return one.shape == two.shape
    return apart(one, two).max().item() <= slack(one.dtype) * scale(one)


def slack(dtype: torch.dtype) -> float:
    """What rounding may leave of a difference, relative to the largest value.

    >>> slack(torch.float64) < slack(torch.float32) < slack(torch.float16)
    True
    """
    if not (dtype.is_floating_point or dtype.is_complex):
        return 0.0
    return float(torch.finfo(dtype).eps) ** 0.75
