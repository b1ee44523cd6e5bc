"""The operators that a file may name: looked up in torch's own tables, and only those allowed here.

What may be called follows from an operator's schema and from what fieldwise knows of it; no list of
harmful names is kept, which could never be complete.  An operator is allowed

- of the namespaces aten, prims and torchvision, and as the dispatcher knows it, so that nothing is
  looked up by attribute that is no operator;
- whose arguments are tensors, numbers, truth values, types, layouts and devices: no storages,
  streams, generators or objects; and no text for what makes a tensor of nothing, so no file names;
- that returns what it makes: nothing is called for its effect alone, and nothing writes to an
  ``out=`` argument, or replaces the memory of a tensor (set_, resize_);
- that fieldwise can describe: by a rule, as element-wise, as a fill, or as made of its numbers
  alone (zeros, arange); in-place forms where the plain form is allowed, and copies of views where
  the view is; or that torch makes of such operators and that belongs to its documented functions;
- if its name is private, only with a rule, or as torch.nn.utils has it, and not sparse.

Assertions, which return nothing and change nothing, are not called at all.  Random operators are
allowed: they draw from torch's generators, whose state is put back after a capture.  Devices in the
file are read as the CPU, where its weights are.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import nn

from fieldwise.capture.torch import rules as _rules  # noqa: F401  (fills the registry)
from fieldwise.capture.torch.exported.refusal import foreign
from fieldwise.capture.torch.overloads import TorchOp, describe, is_fill, out_of_place

Callee = Callable[..., object]

_NAMESPACES = ("aten", "prims", "torchvision")
_ARGUMENTS = {
    "Tensor", "number", "int", "float", "bool", "str", "Device", "SymInt", "Layout", "NoneType",
    "Generator",
}  # fmt: skip
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Operator:
    """What a step calls: an operator of torch, or arithmetic on sizes.

    target:  as the file names it, by which it is found again when it is unpickled
    ignored: whether it only asserts something, and is not called
    """

    target: str
    function: Callee
    ignored: bool = False

    @property
    def overload(self) -> torch._ops.OpOverload | None:
        """The operator of torch; None for arithmetic."""
        return self.function if isinstance(self.function, torch._ops.OpOverload) else None

    def __reduce__(self) -> tuple[object, ...]:
        return find_operator, (self.target,)

    def __deepcopy__(self, memo: dict[int, object]) -> Operator:
        return self


@lru_cache(maxsize=4096)
def find_operator(target: str) -> Operator:
    """The operator of this name.  Raises UnreadableError where it is none that is allowed.

    >>> find_operator("torch.ops.aten.relu.default").function
    <OpOverload(op='aten.relu', overload='default')>
    >>> find_operator("torch.ops.aten.from_file.default")
    Traceback (most recent call last):
    fieldwise.capture.torch.exported.refusal.UnreadableError: holds \
'torch.ops.aten.from_file.default' where fieldwise expects a plain operator, size or container; \
name a package.module:factory instead.
    """
    if target in _ARITHMETIC:
        return Operator(target, _ARITHMETIC[target])
    func = _overload(target)
    if func is None:
        raise foreign(target)
    schema = func._schema
    if not schema.returns and not schema.is_mutable:
        return Operator(target, func, ignored=True)
    if not _is_allowed(func):
        raise foreign(target)
    return Operator(target, func)


def _overload(target: str) -> torch._ops.OpOverload | None:
    """What the dispatcher knows by this name, of the namespaces that are allowed."""
    parts = target.split(".")
    if len(parts) != 5 or parts[:2] != ["torch", "ops"] or parts[2] not in _NAMESPACES:
        return None
    namespace, name, overload = parts[2:]
    if namespace == "torchvision":
        _register_torchvision()
    known = f"{namespace}::{name}" + ("" if overload == "default" else f".{overload}")
    if known not in _dispatched(len(torch.ops.loaded_libraries), namespace):
        return None
    func = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    return func if isinstance(func, torch._ops.OpOverload) else None


@cache
def _dispatched(libraries: int, namespace: str) -> frozenset[str]:
    """The names of a namespace, as of now."""
    names = torch._C._dispatch_get_all_op_names()
    return frozenset(name for name in names if name.startswith(f"{namespace}::"))


def _register_torchvision() -> None:
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return


# -------------------------------------------------------------------- what is allowed


def _is_allowed(func: torch._ops.OpOverload) -> bool:
    schema = func._schema
    arguments = list(schema.arguments)
    if not schema.returns or any(argument.is_out for argument in arguments):
        return False
    if not all(_kind(argument.type) in _ARGUMENTS for argument in arguments):
        return False
    op = describe(func)
    if op.writes:
        return op.rule is not None or is_fill(op) or _is_allowed_twin(func)
    if op.rule is not None:
        return True
    return _is_described(func, op) or _is_documented(op)


def _is_described(func: torch._ops.OpOverload, op: TorchOp) -> bool:
    """Whether what it makes is known without a rule."""
    if _is_private(op) or _is_sparse(op):
        return False
    schema = func._schema
    kinds = {_kind(argument.type) for argument in schema.arguments}
    gives = [str(result.type) for result in schema.returns]
    makes = kinds.isdisjoint(("Tensor", "str")) and gives == ["Tensor"]
    return op.pointwise or makes or bool(op.lends) or _is_copied_view(func, op)


def _is_copied_view(func: torch._ops.OpOverload, op: TorchOp) -> bool:
    """A view of a tensor, or a copy of such a view."""
    plain = op.plain.removesuffix("_copy")
    return op.plain in _VIEWS or (plain in _VIEWS and torch.Tag.view_copy in func.tags)


_VIEWS = ("alias", "as_strided", "detach", "lift_fresh")
"""Views that the recorder follows by the memory that they look at."""


def _is_allowed_twin(func: torch._ops.OpOverload) -> bool:
    twin = out_of_place(func)
    return twin is not None and _is_allowed(twin)


def _is_documented(op: TorchOp) -> bool:
    """Whether torch makes it of other operators, and tells people what it does."""
    if not op.composite or _is_sparse(op):
        return False
    if _is_private(op):
        return _has_words(nn.utils, op.plain.strip("_"))
    if op.plain in _CELLS or op.plain in _OPERATORS:
        return True
    rooms = ((torch, ""), (torch.Tensor, ""), (nn.functional, ""), *_ROOMS)
    return any(
        op.plain.startswith(prefix) and _has_words(room, op.plain.removeprefix(prefix))
        for room, prefix in rooms
    )


_ROOMS = ((torch.fft, "fft_"), (torch.linalg, "linalg_"), (torch.special, "special_"))
_CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
"""What LSTMCell, GRUCell and RNNCell consist of."""

_OPERATORS = ("__and__", "__or__", "__xor__", "__lshift__", "__rshift__")
"""What Python's operators on tensors are called."""


def _has_words(room: object, name: str) -> bool:
    found = getattr(room, name, None)
    return callable(found) and bool(getattr(found, "__doc__", None))


def _is_private(op: TorchOp) -> bool:
    return op.plain.startswith("_") and op.plain not in _OPERATORS


def _is_sparse(op: TorchOp) -> bool:
    return "sparse" in op.plain


def _kind(kind: object) -> str:
    """What an argument is, or a list of, or one of these or None."""
    while hasattr(kind, "getElementType"):
        kind = kind.getElementType()
    return str(kind)


# -------------------------------------------------------------------- arithmetic on sizes


def _bounded(function: Callee) -> Callee:
    """The function, for numbers of at most 64 bits."""

    def compute(*numbers: object) -> object:
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError("arithmetic on sizes takes numbers")
        found = function(*numbers)
        if isinstance(found, int) and abs(found) > _LARGEST:
            raise OverflowError("a size has at most 64 bits")
        return found

    return compute


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > 64:
        raise OverflowError("a size has no such power")
    return base**exponent


def _shift(base: int, count: int) -> int:
    return int(_power(2, count)) * base


_NUMBERS: dict[str, Callee] = {
    "_operator.add": operator.add,
    "_operator.sub": operator.sub,
    "_operator.mul": operator.mul,
    "_operator.floordiv": operator.floordiv,
    "_operator.truediv": operator.truediv,
    "_operator.mod": operator.mod,
    "_operator.pow": _power,
    "_operator.lshift": _shift,
    "_operator.rshift": operator.rshift,
    "_operator.neg": operator.neg,
    "_operator.pos": operator.pos,
    "_operator.eq": operator.eq,
    "_operator.ne": operator.ne,
    "_operator.lt": operator.lt,
    "_operator.le": operator.le,
    "_operator.gt": operator.gt,
    "_operator.ge": operator.ge,
    "_operator.and_": operator.and_,
    "_operator.or_": operator.or_,
    "math.trunc": math.trunc,
    "math.floor": math.floor,
    "math.ceil": math.ceil,
    "math.sqrt": math.sqrt,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch.sym_sqrt": math.sqrt,
    "torch.sym_ite": lambda condition, one, other: one if condition else other,
}


def _size(tensor: torch.Tensor, dim: int) -> int:
    return tensor.size(dim)


def _stride(tensor: torch.Tensor, dim: int) -> int:
    return tensor.stride(dim)


def _numel(tensor: torch.Tensor) -> int:
    return tensor.numel()


def _offset(tensor: torch.Tensor) -> int:
    return int(tensor.storage_offset())


_ARITHMETIC: dict[str, Callee] = {
    **{target: _bounded(function) for target, function in _NUMBERS.items()},
    "torch.ops.aten.sym_size.int": _size,
    "torch.ops.aten.sym_stride.int": _stride,
    "torch.ops.aten.sym_numel.default": _numel,
    "torch.ops.aten.sym_storage_offset.default": _offset,
}
