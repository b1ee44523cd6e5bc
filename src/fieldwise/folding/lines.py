"""Functions a·x + b with constants a and b, made by writing down what an op computes.

An op of one operand and constants is affine where its formula can be computed with ``Line`` in the
operand's place; what multiplies the operand by itself, or divides by it, cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldwise.folding.calls import Doubles, is_float, values
from fieldwise.graph.calls import arguments, is_tensor, op_name
from fieldwise.graph.ir import Kwargs, Node, Ref

Coefficient = float | Doubles


@dataclass(frozen=True, slots=True)
class Line:
    """x ↦ scale·x + shift, element by element.

    >>> 3 - Line() * 2
    Line(scale=-2.0, shift=3.0)
    """

    scale: Coefficient = 1.0
    shift: Coefficient = 0.0

    __array_ufunc__ = None  # an array leaves it to the line

    def __add__(self, other: Coefficient) -> Line:
        return Line(self.scale, self.shift + _constant(other))

    def __mul__(self, other: Coefficient) -> Line:
        return Line(self.scale * _constant(other), self.shift * _constant(other))

    def __truediv__(self, other: Coefficient) -> Line:
        if np.any(_constant(other) == 0):
            raise ZeroDivisionError("A line divided by zero is no line.")
        return Line(self.scale / other, self.shift / other)

    def __neg__(self) -> Line:
        return Line(-self.scale, -self.shift)

    def __sub__(self, other: Coefficient) -> Line:
        return self + -_constant(other)

    def __rsub__(self, other: Coefficient) -> Line:
        return -self + other

    __radd__, __rmul__ = __add__, __mul__


def line_of(node: Node) -> Line | None:
    """What an op of one operand does to it; None where that is no line, or not known to be one."""
    formula = FORMULAS.get(op_name(node))
    given = arguments(node)
    refs = [name for name, item in given.items() if isinstance(item, Ref)]
    if formula is None or len(refs) != 1 or not all(map(_is_known, given.values())):
        return None
    try:
        found = formula({name: _term(item) for name, item in given.items()})
    except (TypeError, ZeroDivisionError):
        return None
    return found if isinstance(found, Line) else None


def _is_known(item: object) -> bool:
    real = isinstance(item, (Ref, int, float)) and not isinstance(item, bool)
    return item is None or real or (is_tensor(item) and is_float(item))


def _term(item: object) -> object:
    if isinstance(item, Ref):
        return Line()
    return values(item) if is_tensor(item) else item


def _constant(item: object) -> Any:
    if isinstance(item, Line):
        raise TypeError("A product or a sum of lines is not looked at.")
    return item


def _lerp(given: Kwargs) -> object:
    weight = given["weight"]
    if isinstance(given["self"], Line):
        return given["self"] * (1 - weight) + given["end"] * weight
    return given["end"] * weight + given["self"] * (1 - weight)


FORMULAS: Mapping[str, Callable[[Kwargs], object]] = {
    "add": lambda given: given["self"] + given["other"] * given["alpha"],
    "rsub": lambda given: given["other"] - given["self"] * given["alpha"],
    **dict.fromkeys(("neg", "negative"), lambda given: -given["self"]),
    **dict.fromkeys(
        ("sub", "subtract"), lambda given: given["self"] - given["other"] * given["alpha"]
    ),
    **dict.fromkeys(("mul", "multiply"), lambda given: given["self"] * given["other"]),
    **dict.fromkeys(("div", "divide", "true_divide"), lambda given: given["self"] / given["other"]),
    "lerp": _lerp,
    "addcmul": lambda given: given["tensor1"] * given["tensor2"] * given["value"] + given["self"],
    "addcdiv": lambda given: given["tensor1"] / given["tensor2"] * given["value"] + given["self"],
}
"""By op, what it computes of its arguments."""
