"""Where the results of a job go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fieldwise.graph.names import distinct


def result_paths(out: Path, names: Sequence[str]) -> list[Path]:
    """One file per output: ``out`` itself, or several with the outputs' names in theirs.

    >>> [path.name for path in result_paths(Path("cells.npy"), ["mask", "edge"])]
    ['cells.mask.npy', 'cells.edge.npy']
    >>> [path.name for path in result_paths(Path("cells.npy"), ["a/b", "a_b"])]
    ['cells.a_b.npy', 'cells.a_b#2.npy']
    """
    if len(names) == 1:
        return [out]
    spelled = distinct(name.replace("/", "_") for name in names)
    return [out.with_name(f"{out.stem}.{name}{out.suffix}") for name in spelled]
