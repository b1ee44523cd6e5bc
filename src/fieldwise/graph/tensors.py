"""What torch-free code asks of a constant tensor."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]
else:
    Values = Any
"""The elements of a constant tensor, of any type; numpy is not imported for it."""


@cache
def dtype_name(dtype: Hashable) -> str:
    """The name of an element type of torch or numpy, without the library's.

    >>> import torch
    >>> dtype_name(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


class TensorLike(Protocol):
    """A tensor of torch, or anything that can be asked the same."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    @property
    def ndim(self) -> int:
        """How many these are."""

    @property
    def dtype(self) -> ElementType:
        """The type of its elements."""

    @property
    def is_meta(self) -> bool:
        """Whether it has no values."""

    def numel(self) -> int:
        """How many elements it has."""

    def detach(self) -> TensorLike:
        """The same, apart from any derivative."""

    def cpu(self) -> TensorLike:
        """The same where numpy can read it."""

    def float(self) -> TensorLike:
        """The same in float32."""

    def double(self) -> TensorLike:
        """The same in float64."""

    def numpy(self) -> Values:
        """The same as an array."""


class ElementType(Protocol):
    """The type of a tensor's elements."""

    @property
    def is_floating_point(self) -> bool:
        """Whether these are real numbers."""

    @property
    def is_complex(self) -> bool:
        """Whether these are complex numbers."""
