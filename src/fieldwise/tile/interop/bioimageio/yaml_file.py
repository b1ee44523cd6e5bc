"""Read a YAML file that may be anything: plain data of bounded size and depth.

Aliases are followed, since tools write them for a list that stands twice, but what they stand for
counts again each time, and none may lie within itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fieldwise.errors import said_by

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 32
_MAX_VALUES = 50_000
_MAX_DIGITS = 40


class TooLargeYamlError(ValueError):
    """A limit is passed; the text says which."""


def read_yaml(path: Path) -> Any:
    """What a YAML file holds: None, numbers, texts, dates, lists and dicts.

    Raises OSError, and ValueError for a file that is not text, no YAML, or too large; the text of
    either is one line.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise TooLargeYamlError(f"it is larger than {_MAX_BYTES} bytes")
    try:
        loader = _Loader(content.decode("utf-8"))
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except TooLargeYamlError:
        raise
    except Exception as error:  # what a constructor makes of a value that is none of its type
        raise ValueError(said_by(error)) from error


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is not annotated
    """The safe loader, which counts what it composes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth, self.values = 0, 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        """See Composer; raises TooLargeError."""
        is_alias, before = self.check_event(yaml.AliasEvent), self.values
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise TooLargeYamlError(f"it is nested more than {_MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self.sizes:
            raise TooLargeYamlError("a value lies within itself")
        self.values += self.sizes[id(node)] if is_alias else 1
        if self.values > _MAX_VALUES:
            raise TooLargeYamlError(f"it holds more than {_MAX_VALUES} values")
        self.sizes.setdefault(id(node), self.values - before)
        self.depth -= 1
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number of at most 40 characters."""
        if len(node.value) > _MAX_DIGITS:
            raise TooLargeYamlError(f"a number has {len(node.value)} characters")
        if node.tag.endswith(":int"):
            return int(self.construct_yaml_int(node))
        return float(self.construct_yaml_float(node))


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)
