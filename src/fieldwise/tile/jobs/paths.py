"""Where the results of a job go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def result_paths(out: Path, names: Sequence[str]) -> list[Path]:
    """One file per output: ``out`` itself, or several with the outputs' names in theirs.

    >>> [path.name for path in result_paths(Path("cells.npy"), ["mask", "edge"])]
    ['cells.mask.npy', 'cells.edge.npy']
    """
    if len(names) == 1:
        return [out]
    return [out.with_name(f"{out.stem}.{name.replace('/', '_')}{out.suffix}") for name in names]
