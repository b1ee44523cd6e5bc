"""Functional calls by the names of their arguments, and a registry of what to do with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (as torch calls it)

from fieldwise.graph.ir import Args, Kwargs

AnyFunction = Callable[..., Any]
Family = dict[AnyFunction, int]
"""Functions that take the same arguments, each with the number of its spatial axes; 0 for any."""

_CONV = "input weight bias stride padding dilation groups"
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_MAX_POOL = "input kernel_size stride padding dilation ceil_mode return_indices"
_AVG_POOL = "input kernel_size stride padding ceil_mode count_include_pad divisor_override"
_UNFOLD = "input kernel_size dilation padding stride"
_FOLD = "input output_size kernel_size dilation padding stride"
_PAD = "input pad mode value"
_INTERPOLATE = "input size scale_factor mode align_corners recompute_scale_factor antialias"

CONV: Family = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
TRANSPOSED: Family = {
    torch.conv_transpose1d: 1,
    torch.conv_transpose2d: 2,
    torch.conv_transpose3d: 3,
}
_INDEXED: Family = {
    F.max_pool1d_with_indices: 1, F.max_pool2d_with_indices: 2, F.max_pool3d_with_indices: 3,
}  # fmt: skip
MAX_POOL: Family = _INDEXED | {
    F.max_pool1d: 1, F.max_pool2d: 2, F.max_pool3d: 3,
    torch.max_pool1d: 1, torch.max_pool2d: 2, torch.max_pool3d: 3,
}  # fmt: skip
AVG_POOL: Family = {F.avg_pool1d: 1, F.avg_pool2d: 2, F.avg_pool3d: 3}
UNFOLD: Family = {F.unfold: 2}
FOLD: Family = {F.fold: 2}
PAD: Family = {F.pad: 0, torch.constant_pad_nd: 0}
INTERPOLATE: Family = {F.interpolate: 0, F.upsample: 0}

_FAMILIES: tuple[tuple[Family, str], ...] = (
    (CONV, _CONV),
    (TRANSPOSED, _TRANSPOSED),
    (MAX_POOL, _MAX_POOL),
    (AVG_POOL, _AVG_POOL),
    (UNFOLD, _UNFOLD),
    (FOLD, _FOLD),
    ({F.pad: 0}, _PAD),
    ({torch.constant_pad_nd: 0}, "input pad value"),
    (INTERPOLATE, _INTERPOLATE),
)
_SIGNATURES: dict[AnyFunction, tuple[str, ...]] = {
    func: tuple(names.split()) for family, names in _FAMILIES for func in family
}


@dataclass(frozen=True)
class FunctionCall:
    """A call of a known function: its arguments by name, those that were given."""

    func: AnyFunction
    given: Kwargs

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def get(self, name: str, default: object) -> Any:
        """An argument, or what it is where it was not given (None counts as not given)."""
        found = self.given.get(name)
        return default if found is None else found

    def sizes(self, name: str, count: int, default: object) -> tuple[int, ...]:
        """An argument that holds one integer per spatial axis, or one for all.

        >>> FunctionCall(torch.conv2d, {"stride": 2}).sizes("stride", 2, 1)
        (2, 2)
        """
        found = self.get(name, default)
        if found == ():
            found = default
        if isinstance(found, int):
            return (found,) * count
        return tuple(found) if len(found) == count else tuple(found) * count

    @property
    def gives_indices(self) -> bool:
        """Whether it is a pool that also returns where in its operand the maxima stand."""
        return self.func in _INDEXED or bool(self.get("return_indices", False))

    def but(self, **changes: object) -> FunctionCall:
        """The same call with some arguments changed."""
        return replace(self, given={**self.given, **changes})

    def run(self) -> Any:
        """Execute it; the first argument by position, as every one of these functions takes it."""
        given = dict(self.given)
        return self.func(given.pop("input"), **given)


def known_call(func: AnyFunction, args: Args, kwargs: Kwargs) -> FunctionCall | None:
    """The call with its arguments by name; None for a function that is not one of these.

    >>> call = known_call(F.pad, (torch.zeros(2), (1, 1)), {"mode": "constant"})
    >>> call["pad"], call["mode"]
    ((1, 1), 'constant')
    """
    names = _SIGNATURES.get(func)
    if names is None:
        return None
    return FunctionCall(func, {**dict(zip(names, args, strict=False)), **kwargs})
