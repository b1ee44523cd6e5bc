"""The recorded call of a node, with its arguments by name, ready to be made on a band of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import Tensor

from fieldwise.capture.torch.overloads import is_element_wise, tensors_of
from fieldwise.graph.ir import Call, Node, Ref


@dataclass(frozen=True, slots=True)
class BoundCall:
    """A recorded call: its target, its arguments as recorded and by their names in the schema.

    A ``Ref`` stands for an operand that is streamed; operands that are not are tensors.
    """

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    named: Mapping[str, Any]

    @classmethod
    def of(cls, node: Node, fixed: Mapping[int, Tensor]) -> BoundCall:
        """The call of a node; ``fixed`` are operands that do not depend on the streamed axis."""
        call = node.source
        assert call is not None, f"{node.results[0]} has no recorded call"

        def fill(value: Any) -> Any:
            return fixed.get(value.operand, value) if isinstance(value, Ref) else value

        args = tuple(replaced(fill, arg) for arg in call.args)
        kwargs = {name: replaced(fill, value) for name, value in call.kwargs.items()}
        return cls(call.target, args, kwargs, _named(call, args, kwargs))

    def __getitem__(self, name: str) -> Any:
        return self.named[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument of this name, where the op has one."""
        return self.named.get(name, default)

    def is_operand(self, name: str) -> bool:
        """Whether the argument is a streamed operand."""
        return isinstance(self.named.get(name), Ref)

    def constants(self) -> list[Tensor]:
        """The tensors among its arguments that are not streamed."""
        return tensors_of(self.args, self.kwargs)

    def with_refs(self, first: int) -> BoundCall:
        """The same call with a ``Ref`` for each of its constants, numbered from ``first`` on."""
        numbers = count(first)

        def visit(value: Any) -> Any:
            return Ref(next(numbers)) if isinstance(value, Tensor) else value

        args = tuple(replaced(visit, arg) for arg in self.args)
        kwargs = {name: replaced(visit, value) for name, value in self.kwargs.items()}
        return self.with_arguments(args, kwargs)

    def with_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundCall:
        """The same call of other arguments; by their names they stay as they were."""
        return BoundCall(self.target, tuple(args), kwargs, self.named)

    def run(
        self, operands: Sequence[Tensor | None], by: Callable[..., Any] | None = None
    ) -> Sequence[Tensor]:
        """Make the call, or have it made ``by(target, args, kwargs)``; the tensors it returns."""

        def fill(value: Any) -> Any:
            return operands[value.operand] if isinstance(value, Ref) else value

        args = [replaced(fill, arg) for arg in self.args]
        kwargs = {name: replaced(fill, value) for name, value in self.kwargs.items()}
        out = self.target(*args, **kwargs) if by is None else by(self.target, args, kwargs)
        return (out,) if isinstance(out, Tensor) else [t for t in out if isinstance(t, Tensor)]


def operator(target: Any) -> Any:
    """The torch operator of a call's target, under a wrapper around it; None if there is none."""
    target = target if hasattr(target, "_schema") else getattr(target, "op", None)
    return target if hasattr(target, "_schema") else None


def is_pointwise(target: Any) -> bool:
    """Whether torch says that the operator is element-wise."""
    op = operator(target)
    return op is not None and is_element_wise(op)


def operator_name(target: Any) -> str:
    """The operator's name without namespace, overload and the underscore of in-place ops."""
    op = operator(target)
    return op._schema.name.split("::")[-1].rstrip("_") if op is not None else ""


def replaced(change: Callable[[Any], Any], value: Any) -> Any:
    """An argument with its leaves changed; ops nest tensors in lists."""
    if isinstance(value, (list, tuple)):
        return [replaced(change, item) for item in value]
    return change(value)


def _named(call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    op = operator(call.target)
    if op is None:
        return dict(kwargs)
    arguments = op._schema.arguments
    named = {a.name: a.default_value for a in arguments if a.has_default_value()}
    named |= dict(zip((a.name for a in arguments), args, strict=False))
    return named | dict(kwargs)
