"""How inputs and outputs are nested: tuples, lists and dicts, and nothing to be imported."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fieldwise.capture.torch.exported.fields import Field
from fieldwise.capture.torch.exported.refusal import foreign

_KINDS: Mapping[str, type] = {
    "builtins.tuple": tuple,
    "builtins.list": list,
    "builtins.dict": dict,
    "collections.OrderedDict": OrderedDict,
}
_LONGEST, _DEEPEST = 200_000, 32


@dataclass(frozen=True, slots=True)
class Tree:
    r"""A leaf, or a container of trees; ``keys`` are those of a dict.

    >>> leaf = '{"type": null, "context": null, "children_spec": []}'
    >>> pair = '{"type": "builtins.dict", "context": "[\\"y\\"]", "children_spec": [%s]}' % leaf
    >>> tree = Tree.parse(f"[1, {pair}]")
    >>> tree.nested([5]), list(tree.leaves({"y": 6})), tree.leaves([6]) is None
    ({'y': 5}, [6], True)
    """

    kind: type | None
    keys: tuple[str | int, ...] = ()
    parts: tuple[Tree, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Tree:
        """Read what torch writes of a nesting.  Raises UnreadableError for other containers."""
        if len(text) > _LONGEST:
            raise foreign(text)
        document = Field.parse(text.encode(), "a nesting")
        protocol, root = [*document.items(), document, document][:2]
        if protocol.value != 1:
            raise foreign(text)
        return _tree(root, 0)

    @property
    def count(self) -> int:
        """How many leaves it has."""
        return 1 if self.kind is None else sum(part.count for part in self.parts)

    def nested(self, leaves: list[object]) -> object:
        """The containers around these leaves, of which there are ``count``."""
        return self._fill(iter(leaves))

    def _fill(self, leaves: Iterator[object]) -> object:
        if self.kind is None:
            return next(leaves)
        parts = [part._fill(leaves) for part in self.parts]
        if self.keys or self.kind in (dict, OrderedDict):
            return self.kind(zip(self.keys, parts, strict=True))
        return self.kind(parts)

    def leaves(self, value: object) -> list[object] | None:
        """The leaves of a value that is nested like this; None for another."""
        if self.kind is None:
            return [value]
        items = self._items(value)
        if items is None:
            return None
        found: list[object] = []
        for part, item in zip(self.parts, items, strict=True):
            inner = part.leaves(item)
            if inner is None:
                return None
            found += inner
        return found

    def _items(self, value: Any) -> list[object] | None:
        if self.kind in (dict, OrderedDict):
            fits = isinstance(value, Mapping) and set(value) == set(self.keys)
            return [value[key] for key in self.keys] if fits else None
        fits = isinstance(value, list | tuple) and len(value) == len(self.parts)
        return list(value) if fits else None


def _tree(node: Field, depth: int) -> Tree:
    kind = node.get("type")
    if kind is None:
        return Tree(None)
    found = _KINDS.get(kind.text())
    if found is None or depth > _DEEPEST:
        raise foreign(kind.value)
    parts = tuple(_tree(part, depth + 1) for part in node["children_spec"].items())
    if found in (tuple, list):
        return Tree(found, (), parts)
    keys = _keys(node["context"].text(_LONGEST))
    if len(keys) != len(parts):
        raise foreign(kind.value)
    return Tree(found, keys, parts)


def _keys(text: str) -> tuple[str | int, ...]:
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise foreign(text) from error
    plain = isinstance(keys, list) and all(type(key) in (str, int) for key in keys)
    if not plain or len(set(keys)) != len(keys):
        raise foreign(text)
    return tuple(keys)
