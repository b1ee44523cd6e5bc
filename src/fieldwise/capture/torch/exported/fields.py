"""A JSON document of which every field is checked where it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fieldwise.capture.torch.exported.refusal import malformed, too_large

_PARTS = 2_000_000  # objects and lists in one document
_NAME = 1_000  # characters
_SPOKEN = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a JSON document and how it was reached; every reader raises UnreadableError.

    >>> document = Field.parse(b'{"nodes": [{"target": "add"}]}')
    >>> [node["target"].text() for node in document["nodes"].items()]
    ['add']
    >>> document["nodes"].integer()
    Traceback (most recent call last):
    fieldwise.capture.torch.exported.refusal.UnreadableError: is damaged (nodes is no integer); \
write it again with torch.export.save.
    """

    value: Any
    parent: Field | None = None
    key: str | int = ""

    @classmethod
    def parse(cls, data: bytes | bytearray, name: str = "") -> Field:
        """The document; its number of objects and lists is limited before it is read."""
        if data.count(b"{") + data.count(b"[") > _PARTS:
            raise too_large(f"{name} has more than {_PARTS:,} parts", "export a smaller model.")
        try:
            return cls(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise malformed(f"{name} is no JSON") from error

    @property
    def where(self) -> str:
        """The way to it, as 'graph.nodes.3.target'."""
        before = self.parent.where if self.parent else ""
        return f"{before}.{str(self.key)[:40]}" if before else str(self.key)[:40]

    def __getitem__(self, name: str) -> Field:
        found = self.get(name)
        if found is None:
            raise malformed(f"{Field(None, self, name).where} is missing")
        return found

    def get(self, name: str) -> Field | None:
        """A member of an object; None where it is missing or null."""
        if not isinstance(self.value, dict):
            raise self._no("object")
        found = self.value.get(name)
        return None if found is None else Field(found, self, name)

    def items(self) -> Iterator[Field]:
        """The elements of a list."""
        if not isinstance(self.value, list):
            raise self._no("list")
        return (Field(value, self, number) for number, value in enumerate(self.value))

    def members(self) -> Iterator[tuple[str, Field]]:
        """The members of an object."""
        if not isinstance(self.value, dict):
            raise self._no("object")
        return ((name, Field(value, self, name)) for name, value in self.value.items())

    def choice(self) -> tuple[str, Field]:
        """The only member of an object, which says which of several kinds it is."""
        if not isinstance(self.value, dict) or len(self.value) != 1:
            raise self._no("choice of one kind")
        return next(self.members())

    def text(self, limit: int = _NAME) -> str:
        """A string of at most so many characters."""
        if not isinstance(self.value, str) or len(self.value) > limit:
            raise self._no("short text")
        return self.value

    def integer(self, low: int = -LARGEST - 1, high: int = LARGEST) -> int:
        """An integer of at most 64 bits."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self._no("integer" if type(self.value) is not int else "integer of this size")
        return self.value

    def number(self) -> float:
        """A float; torch writes those that JSON does not have as text."""
        if isinstance(self.value, str) and self.value in _SPOKEN:
            return _SPOKEN[self.value]
        if type(self.value) is not float:
            return float(self.integer())
        return self.value

    def flag(self) -> bool:
        """A truth value."""
        if type(self.value) is not bool:
            raise self._no("truth value")
        return self.value

    def _no(self, expected: str) -> Exception:
        return malformed(f"{self.where or 'the document'} is no {expected}")
