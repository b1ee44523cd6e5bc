"""The constants of a recorded call, by their values.

A constant is judged by its values.  A parameter counts as generic, whatever it holds today, and
so does one without values (a model on the meta device).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from fieldwise.graph.calls import tensors_among
from fieldwise.graph.ir import Kwargs
from fieldwise.graph.tensors import TensorLike, Values


def tensors(given: Kwargs) -> Iterator[tuple[str, TensorLike]]:
    """The constant tensors among arguments, each with the name of its argument."""
    return ((name, tensor) for name, value in given.items() for tensor in tensors_among((value,)))


@dataclass(frozen=True, eq=False, slots=True)
class Constant:
    """A constant tensor: its shape, what to call it, and its values; None for generic ones."""

    shape: tuple[int, ...]
    what: str
    values: Values | None

    def as_dims(self, shape: Sequence[int]) -> Constant:
        """The same elements in another shape."""
        values = None if self.values is None else self.values.reshape(tuple(shape))
        return Constant(tuple(shape), self.what, values)

    def of_rank(self, rank: int) -> Constant:
        """The same with dimensions of size 1 in front, as it is broadcast to a value of a rank."""
        return self.as_dims((1,) * (rank - len(self.shape)) + self.shape)

    def spread(self, shape: Sequence[int]) -> Constant:
        """Repeated along the dimensions in which it has but one index."""
        values = None if self.values is None else np.broadcast_to(self.values, tuple(shape))
        return Constant(tuple(shape), self.what, values)

    def by_rows_of(self, places: Sequence[int | None]) -> Constant:
        """Numbers of its rows: along these of its dimensions, and alike in all others.

        places: per dimension of the result the one that it is, None for one that it does not have
        """
        kept = [place for place in places if place is not None]
        shape = tuple(1 if place is None else self.shape[place] for place in places)
        if self.values is None:
            return Constant(shape, self.what, None)
        rows = np.moveaxis(self.values, kept, range(len(kept))).reshape(prod(shape), -1)
        numbers = np.unique(rows, axis=0, return_inverse=True)[1]
        return Constant(shape, self.what, numbers.reshape(shape))

    def uniform_along(self, dim: int) -> bool:
        """Whether it is the same at every index of a dimension."""
        if self.shape[dim] <= 1:
            return True
        if self.values is None:
            return False
        return bool((self.values == self.values.take([0], dim)).all())


def constant(tensor: TensorLike, what: str) -> Constant:
    """A constant tensor as an array."""
    shape = tuple(tensor.shape)
    generic = type(tensor).__name__ == "Parameter" or tensor.is_meta
    if generic:
        return Constant(shape, what, None)
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return Constant(shape, what, tensor.detach().cpu().numpy())


def told_apart(tensor: TensorLike) -> Hashable:
    """What tells one constant from another: its values, for a generic or a large one itself."""
    known = constant(tensor, "")
    if known.values is None or known.values.size > _LARGE:
        return ("itself", id(tensor))
    return (known.shape, str(tensor.dtype), known.values.tobytes())


_LARGE = 1 << 16


def is_flat(known: Constant) -> bool:
    """Whether all of its elements are known to be the same."""
    if known.values is None or not known.values.size:
        return max(known.shape, default=1) <= 1
    return bool((known.values == known.values.flat[0]).all())
