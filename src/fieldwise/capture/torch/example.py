"""The example input in one form, whatever a user gives: tensors, also where shapes were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from numbers import Integral, Number
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import UsageError
from fieldwise.graph.ir import Args, Kwargs


def as_example(example: object, model: object = None) -> object:
    """The example input: tensors, or tensors without data in place of shapes.

    example: a tensor, a tuple of positional or a dict of keyword inputs; or a shape (a tuple or
             list of integers), or a tuple or dict of shapes.  A list of shapes is one input, which
             is a list; beside tensors, integers are inputs
    model:   whose precision the tensors have that stand for shapes

    Raises UsageError for a negative size, and for an array of another library.

    >>> as_example((1, 3, 8, 8)).shape, [x.shape for x in as_example(((1, 3), (1, 4)))]
    (torch.Size([1, 3, 8, 8]), [torch.Size([1, 3]), torch.Size([1, 4])])
    """
    if any(True for _ in tensors_in(example)):
        return example
    return _made(example, precision(model))


def as_inputs(example: object, model: object = None) -> object:
    """The example input for a run: where shapes were given, normally distributed numbers."""
    dice = torch.Generator().manual_seed(0)

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_meta:
            return tensor
        return torch.randn(tensor.shape, dtype=torch.float64, generator=dice).to(tensor.dtype)

    return map_tensors(drawn, as_example(example, model))


def placed(inputs: object) -> tuple[Args, Kwargs]:
    """The positional and the keyword inputs that an example stands for."""
    if isinstance(inputs, Mapping):
        return (), inputs
    return (inputs, {}) if type(inputs) is tuple else ((inputs,), {})


def meta_tensor(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """An example input of this shape that holds no data."""
    return torch.empty(tuple(shape), device="meta", dtype=dtype)


def precision(model: object) -> torch.dtype:
    """The dtype of the first floating parameter or buffer; float32 where there is none.

    >>> precision(nn.Linear(1, 1).bfloat16()), precision(nn.ReLU())
    (torch.bfloat16, torch.float32)
    """
    if not isinstance(model, nn.Module):
        return torch.float32
    state = chain(model.parameters(), model.buffers())
    return next((t.dtype for t in state if t.is_floating_point()), torch.float32)


def home(model: object) -> torch.device:
    """The device of the first parameter or buffer that has values; the processor without one.

    >>> home(nn.Linear(1, 1)), home(nn.Linear(1, 1, device="meta"))
    (device(type='cpu'), device(type='cpu'))
    """
    if not isinstance(model, nn.Module):
        return torch.device("cpu")
    state = chain(model.parameters(), model.buffers())
    return next((t.device for t in state if not t.is_meta), torch.device("cpu"))


def declared_dtypes(model: object) -> tuple[torch.dtype, ...] | None:
    """The types of a model's inputs, where it was read from a file that says them."""
    return getattr(model, "input_dtypes", None)


def _made(example: Any, dtype: torch.dtype) -> object:
    """A tensor for every shape; what is none stays."""
    if _is_shape(example):
        sizes = tuple(int(size) for size in example)
        if min(sizes, default=0) < 0:
            raise UsageError(f"The sizes of a shape are 0 or more, and one of {sizes} is not.")
        return meta_tensor(sizes, dtype)
    if type(example) in (tuple, list):
        return type(example)(_made(one, dtype) for one in example)
    if isinstance(example, Mapping):
        return {name: _made(one, dtype) for name, one in example.items()}
    if hasattr(example, "__array__") and not isinstance(example, Number):
        raise UsageError(
            f"An example is of tensors or shapes, and this is of type "
            f"{type(example).__name__!r}; give torch.from_numpy(...) of it, or its shape."
        )
    return example


def _is_shape(example: object) -> bool:
    return isinstance(example, (tuple, list)) and all(
        isinstance(size, Integral) and not isinstance(size, bool) for size in example
    )
