"""Write docs/onnx_ops.md: every operator of ONNX, and what fieldwise does with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import defs

from fieldwise.capture.onnx.registry import find_refusal, refused, translated

PAGE = Path(__file__).parents[1] / "docs" / "onnx_ops.md"

HEAD = """\
# Every operator of ONNX

`python benchmarks/onnx_ops.py` writes this page from the table of translations and the operators
that onnx {version} knows; a test holds it to both.  Versions are those at which an operator has
changed; files of operator sets before 7 are brought to 7 by onnx's own converter.

| what is done | meaning |
| --- | --- |
| translated | to calls of torch, whose rules say what is read |
| by definition | its schema says in other operators what it computes, and those are taken |
| by data | translated; where its size or course depends on the network's input, it and what is \
behind it are listed as not analysed |
| refused | with an error that says why |
"""

BY_DATA = {
    "Compress": "what is kept",
    "If": "which branch",
    "Loop": "how often",
    "NonMaxSuppression": "what is kept",
    "NonZero": "how many",
    "Unique": "how many",
}

TITLES = {
    "": "ONNX",
    "ai.onnx.ml": "ai.onnx.ml",
    "ai.onnx.preview": "ai.onnx.preview",
    "ai.onnx.preview.training": "ai.onnx.preview.training",
    "com.microsoft": "com.microsoft (ONNX Runtime)",
    "com.microsoft.nchwc": "com.microsoft.nchwc (ONNX Runtime's layout for its processor)",
}


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD.format(version=onnx.__version__),
            *(line for domain in TITLES for line in _section(domain)),
        ]
    )


def _section(domain: str) -> Iterator[str]:
    schemas: dict[str, list[Any]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == domain:
            schemas.setdefault(schema.name, []).append(schema)
    ours = {one.op for one in translated() if one.domain == domain}
    theirs = {op for where, op in refused() if where == domain}
    yield f"## {TITLES[domain]}\n"
    yield "| operator | versions | what is done |"
    yield "| --- | --- | --- |"
    for op in sorted({*schemas, *ours, *theirs}):
        versions = sorted(schema.since_version for schema in schemas.get(op, []))
        yield f"| {op} | {', '.join(map(str, versions))} | {_done(domain, op, ours, schemas)} |"
    yield ""


def _done(domain: str, op: str, ours: set[str], schemas: dict[str, list[Any]]) -> str:
    why = find_refusal(domain, op)
    if why is not None:
        return f"refused: {why}"
    if op in ours:
        return f"by data: {BY_DATA[op]}" if op in BY_DATA else "translated"
    if op == "Constant":
        return "translated"
    newest = max(schemas[op], key=lambda one: one.since_version)
    if newest.has_function or newest.has_context_dependent_function:
        return "by definition"
    return "refused: not supported"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
