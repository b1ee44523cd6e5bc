"""How much memory the constants of a program may take, asked before they are made.

What derives from an input is as large as the input makes it, and a capture makes none of it.
Constants are made for real, and a few bytes of a file can ask for terabytes of them.  So each step
on constants alone is run on the meta device first, where nothing is allocated, and what it would
write is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import _disable_current_modes

from fieldwise.capture.torch.memory import storage_key
from fieldwise.capture.torch.modes import DispatchMode
from fieldwise.capture.torch.overloads import describe, map_arguments, tensors_of
from fieldwise.errors import UsageError, said_by
from fieldwise.graph.ir import Args, Kwargs

MAX_CONSTANT = 1 << 30
"""Bytes of constants that a program may make in one run, unless somebody allows more."""

_LONGEST = 1 << 17  # tensors that one step may give


class UnknownSizeError(UsageError):
    """A constant whose size nobody knows before it is made."""


class Allowance:
    """What is left of the limit in one run of the program called ``name``."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = self._left = limit

    def charge(self, func: OpOverload, args: Args, kwargs: Kwargs) -> None:
        """Count what a step on constants would write.

        Raises UsageError where that is more than is left, UnknownSizeError where it cannot be
        known beforehand.
        """
        if not any("Tensor" in str(result.type) for result in func._schema.returns):
            return
        self._left -= self._written(func, args, kwargs)
        if self._left < 0:
            raise UsageError(
                f"{self._name!r} makes constants of more than {self._limit:,} bytes "
                f"({func}); raise --max-constant if you trust it."
            )

    def _written(self, func: OpOverload, args: Args, kwargs: Kwargs) -> int:
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            bound = _by_value(func, args, kwargs)
            if bound is not None:
                return bound
            args, kwargs = map_arguments(twin, args, on_meta(func, kwargs))
            counted = _Counted()
            try:
                with counted:
                    func(*args, **kwargs)
            except (NotImplementedError, RuntimeError) as error:
                raise self._unknown(func, error) from error
        return counted.nbytes

    def _unknown(self, func: OpOverload, error: Exception) -> UnknownSizeError:
        return UnknownSizeError(
            f"{self._name!r} makes a constant by {func} whose size is not known beforehand "
            f"({said_by(error)}); name a package.module:factory instead."
        )


class _Counted(DispatchMode):
    """Counts the bytes that operators write, those within composite ones included.

    A view counts by how much larger it is than its memory: whoever reads it reads all of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        if describe(func).composite:
            return self.taken_apart(func, args, kwargs)
        made = func(*args, **kwargs)
        results = tensors_of((made,))
        if func._schema.is_mutable:
            self.nbytes += sum(result.numel() * result.element_size() for result in results)
            return made
        known = {storage_key(tensor) for tensor in tensors_of(args, kwargs)}
        for result in results:
            whole = result.untyped_storage().nbytes()
            seen = result.numel() * result.element_size()
            self.nbytes += whole if storage_key(result) not in known else max(seen - whole, 0)
            known.add(storage_key(result))
        return made


def check_count(func: OpOverload, args: Args, kwargs: Kwargs, name: str) -> None:
    """Raise UsageError for a step that would give very many tensors."""
    if not any(
        "[]" in str(result.type) or "List" in str(result.type) for result in func._schema.returns
    ):
        return
    if _count(describe(func).bind(args, kwargs)) > _LONGEST:
        raise UsageError(f"{name!r} cuts a tensor into more than {_LONGEST:,} by {func}.")


def _count(bound: Kwargs) -> int:
    """At most how many tensors a step gives, by what it cuts and into what."""
    for name in ("chunks", "sections", "indices"):
        if isinstance(bound.get(name), int):
            return int(bound[name])
    tensor, dim, size = bound.get("self"), bound.get("dim"), bound.get("split_size", 1)
    if not isinstance(tensor, Tensor) or not isinstance(dim, int) or not isinstance(size, int):
        return 0
    length = tensor.shape[dim] if -tensor.dim() <= dim < tensor.dim() else 0
    return length // max(size, 1)


def twin(tensor: Tensor) -> Tensor:
    """The same layout without data; tensors that share memory are taken to be apart."""
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def on_meta(func: OpOverload, kwargs: Kwargs) -> dict[str, object]:
    """The arguments with a device that holds no data, where the operator takes one."""
    takes = any(argument.name == "device" for argument in func._schema.arguments)
    return {**kwargs, "device": torch.device("meta")} if takes else dict(kwargs)


# -------------------------------------------------------------------- sizes that values decide


def _by_value(func: OpOverload, args: Args, kwargs: Kwargs) -> int | None:
    """At most how much an operator writes whose results are as large as values say."""
    op = describe(func)
    bound = _BY_VALUE.get(op.plain)
    if bound is None or any(tensor.is_meta for tensor in tensors_of(args, kwargs)):
        return None
    return bound(op.bind(args, kwargs))


def _positions(bound: Kwargs) -> int:
    return bound["self"].numel() * max(bound["self"].dim(), 1) * _INDEX


def _selected(bound: Kwargs) -> int:
    values = bound["self"]
    shape = torch.broadcast_shapes(values.shape, bound["mask"].shape)
    return math.prod(shape) * values.element_size()


def _repeated(bound: Kwargs) -> int | None:
    repeats, values = bound["repeats"], bound.get("self")
    if not isinstance(repeats, Tensor):
        return None
    most = int(repeats.max()) if repeats.numel() else 0
    if values is None:
        return most * repeats.numel() * _INDEX
    return most * values.numel() * values.element_size()


def _classes(bound: Kwargs) -> int:
    values, classes = bound["self"], bound["num_classes"]
    if classes < 0:
        classes = int(values.max()) + 1 if values.numel() else 0
    return values.numel() * classes * _INDEX


def _indexed(bound: Kwargs) -> int | None:
    indices = [index for index in bound["indices"] if index is not None]
    if not any(index.dtype in (torch.bool, torch.uint8) for index in indices):
        return None
    others = (index.numel() for index in indices if index.dtype not in (torch.bool, torch.uint8))
    return bound["self"].numel() * bound["self"].element_size() * max(others, default=1)


_INDEX = 8  # bytes
_BY_VALUE: Mapping[str, Callable[[Kwargs], int | None]] = {
    "nonzero": _positions,
    "argwhere": _positions,
    "masked_select": _selected,
    "repeat_interleave": _repeated,
    "one_hot": _classes,
    "index": _indexed,
}
