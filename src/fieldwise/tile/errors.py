"""Why a network cannot be streamed or tiled: the ops in the way, where they stand, and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldwise.errors import OUR_FAULT, FieldwiseError
from fieldwise.graph.ir import Node


class Blocked(Exception):  # noqa: N818  (never leaves the compiler, which turns it into a Refusal)
    """Raised where one op cannot be run on a band of rows; the text is the reason."""


def fault(error: Exception) -> str:
    """The reason where fieldwise itself fails on an op: a fault of its own, never the model's.

    >>> fault(ValueError("no rows"))[:46]
    'fieldwise failed on it (ValueError: no rows); '
    """
    first = str(error).strip().partition("\n")[0][:200]
    told = f"{type(error).__name__}: {first}".rstrip(" .:")
    return f"fieldwise failed on it ({told}); {OUR_FAULT}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One op that cannot be streamed.

    >>> print(Refusal("layer1.se", "mean", "it reads the whole axis"))
    'layer1.se' (mean): it reads the whole axis
    """

    module: str
    op: str
    because: str

    @classmethod
    def of(cls, node: Node, because: str) -> Refusal:
        """The refusal of a node of a graph."""
        return cls(node.module, node.op, because)

    def __str__(self) -> str:
        return f"'{self.module or 'the model itself'}' ({self.op}): {self.because}"


class StreamError(FieldwiseError):
    """The network cannot be computed band by band along this axis.

    refusals: why; remedy: what to do
    passable: whether further passes over the input get past all that is in the way
    """

    def __init__(
        self, what: str, refusals: Sequence[Refusal], remedy: str, *, passable: bool = False
    ) -> None:
        self.what, self.refusals, self.remedy = what, tuple(refusals), remedy
        self.passable = passable
        lines = [f"{what}:", *(f"  {refusal}" for refusal in self.refusals[:_SHOWN])]
        if len(self.refusals) > _SHOWN:
            lines.append(f"  and {len(self.refusals) - _SHOWN} more")
        super().__init__("\n".join([*lines, remedy, *([_PASSES] if passable else [])]))

    def in_one_pass(self) -> StreamError:
        """The same where the input goes by once, so that further passes are no remedy."""
        if not self.passable:
            return self
        return StreamError(self.what, self.refusals, f"{self.remedy}\n{_ONCE}")


class TileError(FieldwiseError):
    """No exact tiling of this kind; ``refusals`` name the layers in the way, if there are any."""

    def __init__(self, what: str, refusals: Sequence[Refusal] = (), remedy: str = "") -> None:
        self.refusals = tuple(refusals)
        if not refusals:
            super().__init__(f"{what} {remedy}".strip())
            return
        lines = [f"{what}:", *(f"  {refusal}" for refusal in self.refusals[:_SHOWN])]
        if len(self.refusals) > _SHOWN:
            lines.append(f"  and {len(self.refusals) - _SHOWN} more")
        super().__init__("\n".join([*lines, remedy]).strip())


class BudgetError(TileError):
    """No crop is so small that it fits the memory that is given."""


_PASSES = (
    "Or give each of them a pass over the input of its own: global_ops='multipass' "
    "(--global-ops multipass)."
)
_ONCE = "A session sees its input once; with all of it at hand, global_ops='multipass' does these."
_SHOWN = 12
