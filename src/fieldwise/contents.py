"""Tables of contents: a room's names, each imported when it is first asked for.

What a room offers stands in its stub, ``__init__.pyi``, as imports.  Type checkers and editors read
it there; ``attach`` reads the same file, so that no second list can differ from it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

Attached = tuple[Callable[[str], object], Callable[[], list[str]], list[str]]


def attach(package: str, file: str) -> Attached:
    """``__getattr__``, ``__dir__`` and ``__all__`` of the package whose ``__init__`` is ``file``.

    A name of the stub is imported from its home at its first use; so ``import fieldwise`` waits for
    no framework.  No name may be that of another module of the package, which Python would put in
    its place (tests/test_contents.py).
    """
    homes = dict(_imports(Path(file).with_suffix(".pyi")))

    def get(name: str) -> object:
        if name not in homes:
            text = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(text, name=name, obj=sys.modules[package])
        home = homes[name]
        if home == package:
            return import_module(f"{package}.{name}")
        found = getattr(import_module(home), name)
        setattr(sys.modules[package], name, found)
        return found

    return get, lambda: sorted(homes), sorted(homes)


def _imports(stub: Path) -> list[tuple[str, str]]:
    """Per name that a stub imports, the module that it is imported from."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return [
        (alias.name, str(node.module))
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if not alias.name.startswith("__")
    ]
