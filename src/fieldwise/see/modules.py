"""ES modules joined into one script, so that a page is one file and its sources run as they are.

Every module keeps a scope of its own.  What is written as ``import { a, b } from "./c.js";`` and as
``export`` before a declaration is understood; anything else of either is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*?|const|let|class) (\w+)", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def joined(folder: Path, main: str) -> str:
    """The script that a main module and all that it imports are together.

    Raises ValueError for an import or export of another form, and for a circle of imports.
    """
    names = list(dict.fromkeys(_in_order(folder, main, ())))
    return "\n".join(['"use strict";', *(_scoped(folder, name) for name in names)])


def _in_order(folder: Path, name: str, above: tuple[str, ...]) -> Iterator[str]:
    """The modules, each behind those that it imports."""
    if name in above:
        raise ValueError(f"The modules {' → '.join((*above, name))} import each other.")
    for _, imported in _IMPORT.findall(_text(folder, name)):
        yield from _in_order(folder, imported, (*above, name))
    yield name


def _scoped(folder: Path, name: str) -> str:
    text = _text(folder, name)
    exported = ", ".join(found for _, found in _EXPORT.findall(text))
    body = _EXPORT.sub(r"\1 \2", text)
    body = _IMPORT.sub(lambda found: f"const {{{found[1]}}} = {_variable(found[2])};", body)
    left = _LEFT.search(body)
    if left:
        raise ValueError(f"{name} has a line that is not understood: {left[0]}")
    return f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {exported} }};\n}})();"


def _variable(name: str) -> str:
    return "module_" + re.sub(r"\W", "_", name.removesuffix(".js"))


def _text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")
