"""How outputs are handed back: one by itself, several as the model numbers or names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def nested(names: Sequence[str], results: Sequence[Any]) -> Any:
    """One result as it is, numbered ones as a tuple, named ones as a dict.

    >>> nested(["0", "1"], ["a", "b"]), nested(["out", "aux.0"], ["a", "b"])
    (('a', 'b'), {'out': 'a', 'aux.0': 'b'})
    """
    if len(results) == 1:
        return results[0]
    if list(names) == [str(number) for number in range(len(names))]:
        return tuple(results)
    return dict(zip(names, results, strict=True))
