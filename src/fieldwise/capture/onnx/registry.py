"""The table of translations: one decorator, one function of torch calls per ONNX operator.

A translation takes the node that is being run and its inputs, None for one that is left out, and
returns the node's outputs: a tensor, a tuple of them, or a list for a sequence.  The recorder
records what it calls, so a translation says nothing about fields: that is said once, by the rules
of torch's own ops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Translate = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Translation:
    """How a node of one operator is computed, from one version of its operator set on.

    learned: the inputs that hold what a network has learned: weights and biases, whose values mean
             nothing beyond themselves.  Other constants are taken at their values.
    """

    op: str
    domain: str
    since: int
    function: Translate
    learned: frozenset[int]


_TABLE: dict[tuple[str, str], dict[int, Translation]] = {}


def translates(
    *ops: str, since: int = 1, domain: str = "", learned: tuple[int, ...] = ()
) -> Callable[[Translate], Translate]:
    """Register a translation of these operators; of one version twice, that is an error."""

    def register(function: Translate) -> Translate:
        for op in ops:
            versions = _TABLE.setdefault((domain, op), {})
            if since in versions:
                raise ValueError(f"{domain}::{op} has two translations since version {since}")
            versions[since] = Translation(op, domain, since, function, frozenset(learned))
        return function

    return register


def find_translation(domain: str, op: str, version: int) -> Translation | None:
    """The translation of an operator at this version of its operator set; None without one."""
    versions = _TABLE.get((domain, op), {})
    since = max((one for one in versions if one <= version), default=None)
    return None if since is None else versions[since]


def translated() -> list[Translation]:
    """Every translation, by domain, operator and version."""
    return [versions[since] for _, versions in sorted(_TABLE.items()) for since in sorted(versions)]


# -------------------------------------------------------------------- refusals

_REFUSED: dict[tuple[str, str], str] = {}


def refuses(why: str, *ops: str, domain: str = "") -> None:
    """Say why these operators are not supported, at any version."""
    for op in ops:
        if (domain, op) in _TABLE or (domain, op) in _REFUSED:
            raise ValueError(f"{domain}::{op} is translated, or refused, already")
        _REFUSED[domain, op] = why


def find_refusal(domain: str, op: str) -> str | None:
    """Why an operator is not supported; None where that is not known."""
    return _REFUSED.get((domain, op))


def refused() -> dict[tuple[str, str], str]:
    """Why operators are not supported, by domain and operator."""
    return dict(sorted(_REFUSED.items()))
