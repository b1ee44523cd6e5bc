"""Where the results of a job go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fieldwise.graph.names import distinct


def result_paths(out: Path, names: Sequence[str]) -> list[Path]:
    """One file per output: ``out`` itself, or several with the outputs' names in theirs.

    >>> [path.name for path in result_paths(Path("cells.npy"), ["mask", "edge"])]
    ['cells.mask.npy', 'cells.edge.npy']
    >>> [path.name for path in result_paths(Path("cells.npy"), ["a/b", "a_b"])]
    ['cells.a_b.npy', 'cells.a_b#2.npy']
    >>> [path.name for path in result_paths(Path("cells.ome.tif"), ["mask", "edge"])]
    ['cells.mask.ome.tif', 'cells.edge.ome.tif']
    """
    if len(names) == 1:
        return [out]
    spelled = distinct(name.replace("/", "_") for name in names)
    parts = _DOUBLE.search(out.name)
    suffix = out.suffix if parts is None else parts.group()
    stem = out.name.removesuffix(suffix)
    return [out.with_name(f"{stem}.{name}{suffix}") for name in spelled]


_DOUBLE = re.compile(r"\.(ome\.\w+|\w+\.gz)$", re.IGNORECASE)
"""Suffixes of two parts, which say together what a file is."""
