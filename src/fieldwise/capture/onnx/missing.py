"""Values that cannot be told without data, wherever values stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fieldwise.capture.onnx.graph import OnnxNode


@dataclass(frozen=True, slots=True)
class NotAnalysed:
    """Stands for a value that cannot be told without data: the first node in its way, and why."""

    node: OnnxNode
    why: str

    def __str__(self) -> str:
        return f"{self.why} ({self.node})"


def find_missing(values: Iterable[object]) -> NotAnalysed | None:
    """The first of the values that cannot be told, or None."""
    return next((one for one in values if isinstance(one, NotAnalysed)), None)
