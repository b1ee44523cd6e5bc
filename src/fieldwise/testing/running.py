"""Running what is checked, in double precision, on inputs of many kinds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import as_example, as_inputs
from fieldwise.capture.torch.running import in_double
from fieldwise.capture.torch.tree import map_tensors, named_tensors

Inputs = tuple[Tensor, ...]


class Function(nn.Module):
    """A function of tensors, as a module."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        """What the function gives."""
        return self.function(*inputs)


def as_module(model: Any) -> nn.Module:
    """The module itself, or a function as one; in eval mode."""
    module = model if isinstance(model, nn.Module) else Function(model)
    return module.eval()


def doubled(tree: object) -> Any:
    """The same in double precision: float64 and complex128; other tensors as they are.

    >>> doubled((torch.ones(1), torch.ones(1, dtype=torch.int32)))[1].dtype
    torch.int32
    """
    if isinstance(tree, nn.Module):
        return copy.deepcopy(tree)._apply(in_double)
    return map_tensors(in_double, tree)


def in_full(model: object, inputs: tuple[object, ...]) -> Inputs:
    """What is checked on, in double precision: the inputs, with numbers in place of shapes.

    >>> [x.shape for x in in_full(abs, ((1, 3), torch.ones(2)))]
    [torch.Size([1, 3]), torch.Size([2])]
    """
    given = as_example(inputs[0], model) if len(inputs) == 1 else inputs
    inputs = given if isinstance(given, tuple) else inputs
    found: Inputs = doubled(tuple(as_inputs(x, model) for x in inputs))
    return found


def run(model: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The outputs by name, of one run that leaves the inputs as they are."""
    with torch.no_grad():
        return {name: out.detach() for name, out in named_tensors(answer(model, inputs))}


def answer(model: nn.Module, inputs: Inputs) -> object:
    """What the model returns, on copies of the inputs."""
    return model(*(x.clone() for x in inputs))


def draws(inputs: Inputs, *, seed: int = 0) -> Iterator[Inputs]:
    """Inputs without end: those given, others in their range, uniform, normal, coarse, …"""
    dice = torch.Generator().manual_seed(seed)
    while True:
        yield inputs
        for draw in (resampled, uniform, normal, coarse, zeros, wide, alike):
            yield tuple(draw(x, x.shape, dice) for x in inputs)
        if all(map(is_whole, inputs)):
            yield tuple(near(x, dice) for x in inputs)


def near(x: Tensor, dice: torch.Generator) -> Tensor:
    """Whole numbers not far above those given: the range of a single one holds no other."""
    return x.clone() if x.dtype is torch.bool else x + torch.randint(9, x.shape, generator=dice)


def resampled(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Values in the range of those of ``x``, hardly any like another."""
    values = x.detach().reshape(-1)
    if not values.numel():
        return x.new_empty(tuple(shape))
    found = values[torch.randint(values.numel(), tuple(shape), generator=dice)]
    if is_whole(x):
        return found
    found = found * (1 + 0.01 * torch.rand(tuple(shape), generator=dice, dtype=torch.float64))
    if x.is_floating_point():
        found = found.clamp(values.min(), values.max())
    return found.to(x.dtype)


def uniform(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Positive values around one half."""
    if is_whole(x):
        return resampled(x, shape, dice)
    return (torch.rand(tuple(shape), generator=dice, dtype=torch.float64) + 0.1).to(x.dtype)


def normal(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Values of either sign."""
    if is_whole(x):
        return resampled(x, shape, dice)
    kind = torch.complex128 if x.is_complex() else torch.float64
    return torch.randn(tuple(shape), generator=dice, dtype=kind).to(x.dtype)


def coarse(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Zeros, ones and twos of either sign: what asks for equality or for zero finds it."""
    if is_whole(x):
        return resampled(x, shape, dice)
    return torch.randint(-2, 3, tuple(shape), generator=dice).to(x.dtype)


def zeros(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Nothing but zeros, beside which one other value shows (any, all, argmax, ranks)."""
    return resampled(x, shape, dice) if is_whole(x) else torch.zeros(tuple(shape), dtype=x.dtype)


def wide(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Values of either sign on both sides of bounds, and degrees of some size."""
    return resampled(x, shape, dice) if is_whole(x) else 10 * normal(x, shape, dice)


def alike(x: Tensor, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Values of either sign, but two rows are the same: such a matrix is singular."""
    found = normal(x, shape, dice)
    if found.dim() < 2 or found.shape[-2] < 2:
        return found
    one, two = torch.randperm(found.shape[-2], generator=dice)[:2].tolist()
    found[..., one, :] = found[..., two, :]
    return found


def is_whole(x: Tensor) -> bool:
    """Whether a tensor holds integers or truth values."""
    return not (x.is_floating_point() or x.is_complex())


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
