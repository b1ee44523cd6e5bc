"""Unsigned integers of 16, 32 and 64 bits: torch holds them, and computes with few operators.

They are computed in 64 bits with a sign, which gives the same bits, and brought back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fieldwise.capture.onnx.registry import Translate

UNSIGNED = frozenset({torch.uint16, torch.uint32, torch.uint64})
_LOWEST = -(1 << 63)
_HIGHEST = (1 << 63) - 1


def widened(function: Translate, *, ordered: bool = False) -> Translate:
    """A translation that takes unsigned operands too; its first output is of their type, or bool.

    ordered: it compares elements, so that the last bit of 64 must weigh most
    """

    def translation(node: Any, *inputs: Any) -> Any:
        found = next((x.dtype for x in inputs if _is_unsigned(x)), None)
        if found is None:
            return function(node, *inputs)
        flips = ordered and found == torch.uint64
        wide = [_signed(x, flips) if _is_unsigned(x) else x for x in inputs]
        made = function(node, *wide)
        if isinstance(made, tuple):
            return (_back(made[0], found, flips), *made[1:])
        return _back(made, found, flips)

    return translation


def _is_unsigned(x: object) -> bool:
    return isinstance(x, Tensor) and x.dtype in UNSIGNED


def _signed(x: Tensor, flips: bool) -> Tensor:
    wide = x.to(torch.int64)
    return torch.bitwise_xor(wide, _LOWEST) if flips else wide


def _back(made: Tensor, dtype: torch.dtype, flips: bool) -> Tensor:
    if made.dtype != torch.int64:
        return made
    return (torch.bitwise_xor(made, _LOWEST) if flips else made).to(dtype)


def divided(x: Tensor, y: Tensor) -> Tensor:
    """The quotient of integers, rounded to zero."""
    if x.dtype != torch.uint64:
        return widened(lambda _, a, b: torch.div(a, b, rounding_mode="trunc"))(None, x, y)
    a, b = x.to(torch.int64), y.to(torch.int64)
    twice = torch.div(shifted_right(a, 1), b, rounding_mode="trunc") * 2
    found = twice + _at_least(a - twice * b, b)
    return torch.where(b < 0, _at_least(a, b), found).to(x.dtype)


def shifted_right(x: Tensor, by: Tensor | int) -> Tensor:
    """The bits of 64-bit integers moved down, zeros behind them."""
    amount = torch.as_tensor(by)
    kept = torch.bitwise_right_shift(torch.full_like(x, _HIGHEST), amount - 1)
    return torch.where(amount == 0, x, torch.bitwise_right_shift(x, amount) & kept)


def _at_least(x: Tensor, y: Tensor) -> Tensor:
    """Where x is not less than y, both taken without a sign: 1, else 0."""
    return (torch.bitwise_xor(x, _LOWEST) >= torch.bitwise_xor(y, _LOWEST)).to(torch.int64)
