"""The table of op rules of the torch frontend: one decorator, one rule per op.

A rule takes an ``OpCall`` and returns, per result of the op, the tuple of reads by which that
result depends on the operands.  Registering an op twice is an error at import.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch

from fieldwise.graph.ir import Kwargs, Read, Ref, Shape
from fieldwise.graph.kinds import UNKNOWN_KIND, Kind

Reads = tuple[tuple[Read, ...], ...]
Rule = Callable[["OpCall"], Reads]
Kinds = Kind | tuple[Kind, ...]
"""Of all results of an op alike, or of one after the other; the last holds for those behind it."""


@dataclass(frozen=True, slots=True)
class OpCall:
    """One call of an op, as a rule sees it.

    op:       the name in the registry ('conv2d')
    args:     every argument by its name in the op's schema, defaults filled in; a ``Ref``
              stands where the tensor derives from the input, constants are real tensors
              (on the meta device where the model was built there: see ``constant``)
    operands: shapes of the operands, by operand number
    results:  shapes of the results
    training: whether the innermost running module is in training mode
    renews:   whether the op's schema says that it makes new running statistics
    complex:  whether a result is complex
    dtypes:   gives those of the operands and of the results; None where they are not known
    operator: of a model from a file, what the file calls it; else ''
    """

    op: str
    args: Kwargs
    operands: tuple[Shape, ...]
    results: tuple[Shape, ...]
    training: bool = False
    renews: bool = False
    complex: bool = False
    dtypes: Callable[[], tuple[Sequence[str], Sequence[str]]] | None = None
    operator: str = ""

    @property
    def called(self) -> str:
        """What a sentence calls the op: as the file does that it is from, else by its name here."""
        return self.named(self.op)

    def named(self, plain: str) -> str:
        """The same, with a plain word for the op where it is from no file."""
        return self.operator or plain

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def operand(self, name: str) -> int | None:
        """The operand number of an argument; None if it is a constant or absent."""
        value = self.args.get(name)
        return value.operand if isinstance(value, Ref) else None

    def shape(self, name: str) -> Shape:
        """The shape of a tensor argument, operand or constant."""
        return self.shape_of(self.args[name])

    def shape_of(self, item: Ref | torch.Tensor) -> Shape:
        """The shape of a tensor among the arguments (of one in a list)."""
        return self.operands[item.operand] if isinstance(item, Ref) else tuple(item.shape)

    def derived(self) -> tuple[tuple[str, int], ...]:
        """The arguments that are operands: (argument name, operand number), lists flattened."""
        found = []
        for name, value in self.args.items():
            for item in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(item, Ref):
                    found.append((name, item.operand))
        return tuple(found)

    def constant(self, name: str) -> np.ndarray | None:
        """The values of a constant tensor argument; None where there are none to look at."""
        return known_values(self.args[name])

    @property
    def result(self) -> Shape:
        """The shape of the only result."""
        return self.results[0]

    def keeps_numbers(self, name: str) -> bool:
        """Whether the first result's dtype holds every number of an argument's, up to rounding."""
        number = self.operand(name)
        if number is None or self.dtypes is None:
            return False
        given, made = self.dtypes()
        return _holds(given[number], made[0])


def known_values(tensor: Ref | torch.Tensor) -> np.ndarray | None:
    """A constant tensor's values; None for an operand, and where it lives on the meta device."""
    if isinstance(tensor, Ref):
        return None
    _looks.count = looks() + 1
    if tensor.device.type == "meta":
        return None
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


_looks = threading.local()


def looks() -> int:
    """How often rules have asked for the values of constants on this thread."""
    return getattr(_looks, "count", 0)


def _holds(given: str, made: str) -> bool:
    """Whether the numbers of one dtype are numbers of another one, up to rounding.

    >>> _holds("float32", "float16"), _holds("int64", "float32"), _holds("float32", "int64")
    (True, True, False)
    >>> _holds("uint8", "int32"), _holds("int64", "int32"), _holds("bool", "uint8")
    (True, False, True)
    """
    if given == made:
        return True
    order = ("bool", "int", "float", "complex")
    one, other = (next((n for n, k in enumerate(order) if k in d), 4) for d in (given, made))
    if (one, other) != (1, 1):
        return one <= other
    inner, outer = (torch.iinfo(getattr(torch, dtype)) for dtype in (given, made))
    return outer.min <= inner.min and inner.max <= outer.max


_RULES: dict[str, tuple[str, Rule]] = {}


def rule(
    *ops: str,
    name: str | None = None,
    kind: Kinds | Callable[[OpCall], Kinds] = UNKNOWN_KIND,
    asks: Sequence[str] = (),
) -> Callable[[Rule], Rule]:
    """Register a rule for these ops, named as in torch.ops without overload ('aten::conv2d').

    A bare name means the aten namespace.  ``name`` is the canonical op name in graphs; by
    default it is the op's own.  ``kind`` says how the results are made of what is read, for all
    reads to which the rule gives no kind of their own; it may be told from the call.  The arguments
    in ``asks`` decide which elements of the others are taken: their kind is 'asked'.
    Raises ValueError where an op already has a rule.
    """

    def register(plain: Rule) -> Rule:
        function = plain if kind is UNKNOWN_KIND else _with_kinds(plain, kind, asks)
        for op in ops:
            key = op if "::" in op else f"aten::{op}"
            if key in _RULES:
                raise ValueError(f"The op {key} already has the rule {_RULES[key][1].__name__}.")
            _RULES[key] = (name or key.split("::")[1], function)
        return plain

    return register


def _with_kinds(plain: Rule, kind: Kinds | Callable[[OpCall], Kinds], asks: Sequence[str]) -> Rule:
    """The rule, its reads with these kinds."""

    @wraps(plain)
    def stamped(call: OpCall) -> Reads:
        given = kind(call) if callable(kind) else kind
        asked = {number for name, number in call.derived() if name in asks} if asks else ()
        kinds = repeat(given) if isinstance(given, Kind) else chain(given, repeat(given[-1]))
        return tuple([_with_kind(reads, next(kinds), asked) for reads in plain(call)])

    return stamped


def _with_kind(reads: tuple[Read, ...], kind: Kind, asked: Collection[int]) -> tuple[Read, ...]:
    """The reads of one result, those that have no kind with this one."""
    return tuple(
        [
            r
            if r.kind.combines != "unknown"
            else Read(r.operand, r.steps, r.shapes, kind.asked() if r.operand in asked else kind)
            for r in reads
        ]
    )


def find_rule(op: str) -> tuple[str, Rule] | None:
    """The canonical name and rule of an op ('aten::conv2d'), or None."""
    return _RULES.get(op)


def one(*reads: Read) -> Reads:
    """The reads of an op with one result."""
    return (tuple(reads),)


def normal_dim(dim: int, rank: int) -> int:
    """A dimension counted from the front (a scalar counts as one dimension)."""
    return dim % max(rank, 1)


def normal_dims(dims: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Dimensions counted from the front; all of them for None or an empty list."""
    if dims is None or (not isinstance(dims, int) and len(dims) == 0):
        return tuple(range(rank))
    if isinstance(dims, int):
        dims = (dims,)
    return tuple(sorted(normal_dim(dim, rank) for dim in dims))
