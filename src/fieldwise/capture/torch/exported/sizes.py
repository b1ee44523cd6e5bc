"""Symbolic sizes: what torch writes of them, read by a parser that can do nothing else.

An expression is made of names, numbers and a fixed list of functions, as SymPy prints them
('Mul(Integer(2), Symbol('s0', positive=True))') or as people do ('2*s0 + 1').
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from fieldwise.capture.torch.exported.refusal import foreign

SizeNumber = int | Fraction
_LONGEST, _DEEPEST, _LARGEST, _HIGHEST_POWER = 20_000, 100, 2**63, 16
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|'(?P<quoted>[\w.+-]*)'"
    r"|(?P<sign>\*\*|//|[<>=!]=|[-+*/%(),=<>&|~]))"
)


@dataclass(frozen=True, slots=True)
class Size:
    """A number, a name, or a function of sizes.

    >>> Size.parse("Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))").at({"s0": 5})
    9
    >>> Size.parse("(h - 1)//2 + 1").at({"h": 8})
    4
    >>> Size.parse("S('eval')")
    Traceback (most recent call last):
    fieldwise.capture.torch.exported.refusal.UnreadableError: holds "S('eval')" where fieldwise \
expects a plain operator, size or container; name a package.module:factory instead.
    """

    head: str | SizeNumber
    parts: tuple[Size, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read an expression.  Raises UnreadableError for anything else, and for what is huge."""
        if len(text) > _LONGEST:
            raise foreign(text)
        try:
            return _Parser(text).whole()
        except (ValueError, IndexError, RecursionError) as error:
            raise foreign(text) from error

    @property
    def name(self) -> str | None:
        """The name, if it is one alone."""
        return self.head if isinstance(self.head, str) and self.head not in _FUNCTIONS else None

    def at(self, known: Mapping[str, int]) -> SizeNumber | None:
        """Its value; None where a name is not known, or where it is none that sizes have.

        >>> Size.parse("FloorDiv(s0, 0)").at({"s0": 1}), Size.parse("s1").at({})
        (None, None)
        """
        if not isinstance(self.head, str):
            return self.head
        if self.name:
            return known.get(self.head)
        function, values = _FUNCTIONS[self.head], [part.at(known) for part in self.parts]
        if function is None or None in values:
            return None
        try:
            found: SizeNumber = function(*values)
        except (ArithmeticError, TypeError, ValueError):
            return None
        return found if -_LARGEST <= found <= _LARGEST else None


def _power(base: SizeNumber, exponent: SizeNumber) -> SizeNumber:
    if exponent.denominator != 1 or not -_HIGHEST_POWER <= exponent <= _HIGHEST_POWER:
        raise ValueError("no size has such a power")
    return Fraction(base) ** int(exponent)


def _product(*factors: SizeNumber) -> SizeNumber:
    return math.prod(factors)


def _sum(*terms: SizeNumber) -> SizeNumber:
    return sum(terms, start=0)


def _quotient(one: SizeNumber, two: SizeNumber) -> SizeNumber:
    return Fraction(one) / Fraction(two)


_FUNCTIONS: Mapping[str, Callable[..., SizeNumber] | None] = {
    "Add": _sum,
    "Mul": _product,
    "Pow": _power,
    "PowByNatural": _power,
    "Max": lambda *values: max(values),
    "Min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "FloorDiv": lambda one, two: one // two,
    "CleanDiv": lambda one, two: one // two,
    "CeilDiv": lambda one, two: -(-one // two),
    "Mod": lambda one, two: one % two,
    "PythonMod": lambda one, two: one % two,
    "IntTrueDiv": _quotient,
    "FloatTrueDiv": _quotient,
    "TrueDiv": _quotient,
    "TruncToInt": math.trunc,
    "FloorToInt": math.floor,
    "CeilToInt": math.ceil,
    "floor": math.floor,
    "ceiling": math.ceil,
    "ToFloat": lambda one: one,
    "Identity": lambda one: one,
    "Neg": lambda one: -one,
    "Sub": lambda one, two: one - two,
    **dict.fromkeys(
        (
            "Abs", "And", "BitwiseFn_bitwise_and", "BitwiseFn_bitwise_or", "Eq", "Equality",
            "ExprCondPair", "FloatPow", "Ge", "GreaterThan", "Gt",
            "IsNonOverlappingAndDenseIndicator", "Le", "LessThan", "LShift", "Lt",
            "ModularIndexing", "Ne", "Not", "Or", "Piecewise", "RShift", "RoundDecimal",
            "RoundToInt", "StrictGreaterThan", "StrictLessThan", "TruncToFloat", "Unequality",
            "Where",
        )
    ),
}  # fmt: skip
"""What may stand in an expression; None for what sizes of inputs are never made of."""

_INFIX = {
    "|": (0, "Or"), "&": (1, "And"),
    "==": (2, "Eq"), "!=": (2, "Ne"), "<": (2, "Lt"), "<=": (2, "Le"),
    ">": (2, "Gt"), ">=": (2, "Ge"),
    "+": (3, "Add"), "-": (3, "Sub"),
    "*": (4, "Mul"), "/": (4, "TrueDiv"), "//": (4, "FloorDiv"), "%": (4, "Mod"),
}  # fmt: skip
"""Signs between two operands: how tightly they bind, and what they stand for."""

_PREFIX = {"-": "Neg", "+": "Identity", "~": "Not"}


class _Parser:
    """Recursive descent; ValueError and IndexError for what is no expression."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), ("end", "")]
        self._next = self._depth = self._signs = 0

    def whole(self) -> Size:
        found = self._infix()
        if self._tokens[self._next][0] != "end":
            raise ValueError("more than one expression")
        return found

    def _take(self, *expected: str) -> str | None:
        """The next sign, if it is one of these."""
        kind, text = self._tokens[self._next]
        if kind != "sign" or text not in expected:
            return None
        self._next += 1
        return text

    def _infix(self, loosest: int = 0) -> Size:
        """Operands and the signs between them that bind at least so tightly."""
        left = self._operand()
        while True:
            kind, sign = self._tokens[self._next]
            binding, head = _INFIX.get(sign, (-1, "")) if kind == "sign" else (-1, "")
            if binding < loosest:
                return left
            self._count_sign()
            left = _of(head, left, self._infix(binding + 1))

    def _operand(self) -> Size:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError("too deep")
        if sign := self._take(*_PREFIX):
            found = _of(_PREFIX[sign], self._operand())
        else:
            found = self._atom()
            if self._tokens[self._next] == ("sign", "**"):
                self._count_sign()
                found = _of("Pow", found, self._operand())
        self._depth -= 1
        return found

    def _count_sign(self) -> None:
        self._next += 1
        self._signs += 1
        if self._signs > _DEEPEST:
            raise ValueError("too long")

    def _atom(self) -> Size:
        if self._take("("):
            found = self._infix()
            self._close()
            return found
        kind, text = self._tokens[self._next]
        self._next += 1
        if kind == "number":
            return Size(_number(text))
        if kind != "name":
            raise ValueError("no operand")
        return self._call(text) if self._take("(") else _named(text)

    def _call(self, head: str) -> Size:
        """A function of what stands up to its closing parenthesis."""
        quoted, parts = "", []
        while not self._take(")"):
            kind, text = self._tokens[self._next]
            if kind == "quoted":
                quoted, self._next = text, self._next + 1
            elif kind == "name" and self._tokens[self._next + 1] == ("sign", "="):
                self._next += 3  # an option of a symbol, as integer=True
            else:
                parts.append(self._infix())
            if not self._take(","):
                self._close()
                break
        return _applied(head, quoted, tuple(parts))

    def _close(self) -> None:
        if not self._take(")"):
            raise ValueError("no closing parenthesis")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, text = 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise ValueError("no token")
        yield match.lastgroup, match[match.lastgroup]
        position = match.end()


def _applied(head: str, quoted: str, parts: tuple[Size, ...]) -> Size:
    if head in ("Symbol", "Dummy"):
        return _named(quoted)
    if head == "Integer":
        (whole,) = parts
        return whole
    if head == "Rational":
        return _of("TrueDiv", *parts)
    if head == "Float":
        return Size(_number(quoted)) if quoted else parts[0]
    if head not in _FUNCTIONS:
        raise ValueError("no such function")
    return _of(head, *parts)


def _of(head: str, *parts: Size) -> Size:
    """A function of sizes; of numbers alone, the number, which must be one that a size can have."""
    made = Size(head, parts)
    if _FUNCTIONS[head] is None or not all(isinstance(part.head, int | Fraction) for part in parts):
        return made
    value = made.at({})
    if value is None:
        raise ValueError("no size")
    return Size(value)


def _named(text: str) -> Size:
    if not text.isidentifier() or text in _FUNCTIONS:
        raise ValueError("no name")
    return Size(text)


def _number(text: str) -> SizeNumber:
    """An integer of at most 64 bits, or a fraction near a decimal number."""
    if len(text) > 40:
        raise ValueError("too long")
    found = int(text) if text.isdigit() else Fraction(float(text))
    if found > _LARGEST:
        raise ValueError("too large")
    return found
