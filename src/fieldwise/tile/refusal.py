"""Why a network cannot be streamed: each op in the way, where it stands, and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldwise.errors import FieldwiseError
from fieldwise.graph.ir import Node


class Blocked(Exception):  # noqa: N818  (never leaves the compiler, which turns it into a Refusal)
    """Raised where one op cannot be run on a band of rows; the text is the reason."""


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
    """The network cannot be computed band by band along this axis; ``refusals`` says why."""

    def __init__(self, what: str, refusals: Sequence[Refusal], remedy: str) -> None:
        self.refusals = tuple(refusals)
        lines = [f"{what}:", *(f"  {refusal}" for refusal in self.refusals[:_SHOWN])]
        if len(self.refusals) > _SHOWN:
            lines.append(f"  and {len(self.refusals) - _SHOWN} more")
        super().__init__("\n".join([*lines, remedy]))


_SHOWN = 12
