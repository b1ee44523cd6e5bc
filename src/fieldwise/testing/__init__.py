"""Hold your own ops and networks to the standard of fieldwise's: measured, not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldwise.testing.fields import check_field as check_field
    from fieldwise.testing.fields import check_reads as check_reads
    from fieldwise.testing.folds import check_fold as check_fold
    from fieldwise.testing.kinds import check_kinds as check_kinds
    from fieldwise.testing.outcome import Outcome as Outcome
    from fieldwise.testing.shifts import check_shift as check_shift
    from fieldwise.testing.tiles import check_streamed as check_streamed
    from fieldwise.testing.tiles import check_tiled as check_tiled

_HOMES = {
    **dict.fromkeys(("check_field", "check_reads"), "fields"),
    "Outcome": "outcome",
    "check_fold": "folds",
    "check_kinds": "kinds",
    "check_shift": "shifts",
    **dict.fromkeys(("check_streamed", "check_tiled"), "tiles"),
}


def __getattr__(name: str) -> Any:
    """Torch is imported with the first name that needs it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fieldwise.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *_HOMES))
