"""Effective receptive fields as a table for people and as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from fieldwise.views.fitting import FittingColumn, FittingTable
from fieldwise.views.json import document, entry, number
from fieldwise.views.names import shortened
from fieldwise.written import counted

if TYPE_CHECKING:
    from fieldwise.effective import EffectiveField
    from fieldwise.effective.measures import Square


_CONSTANT = (
    "what the protocol differentiates is constant here, as the sum of channels is behind a norm "
    "over them; name the layer before (--layer), or use --protocol luo"
)
_TITLES = (
    "share", "side", "area", "side, log", "area, log", "side, published", "area, published",
)  # fmt: skip


# -------------------------------------------------------------------- for people


def render(found: EffectiveField) -> RenderableType:
    """What was measured, then a row per share of the map."""
    rows = [
        (
            f"{row.share:.0%}",
            *(text for square in squares for text in (_side(square), _ratio(square))),
        )
        for row in found.rows
        for squares in ((row.linear, row.log, row.published),)
    ]
    table = FittingTable(
        tuple(
            FittingColumn(title, tuple(row[at] for row in rows)) for at, title in enumerate(_TITLES)
        )
    )
    return Group(Text(_title(found), "bold"), *map(Text, _lines(found)), table)


def _title(found: EffectiveField) -> str:
    unit = ",".join(map(str, found.unit)) or "the only one"
    where = "output" if found.layer is None else shortened(found.layer)
    size = "x".join(map(str, found.map.shape))
    return f"{found.model or 'effective field'}, {where}, output position {unit}, over {size}"


def _lines(found: EffectiveField) -> Iterator[str]:
    skipped = found.maps.skipped
    inputs = f"mean over {counted(found.count, 'input')} ({found.inputs})"
    left = f"; {counted(skipped, 'input')} gave no finite numbers" if skipped else ""
    yield f"{inputs}, protocol {found.protocol}{left}"
    if found.is_rounding:
        yield f"not a field but rounding: {_CONSTANT}"
    if found.is_silent:
        yield "nothing contributes: no gradient reaches the input from here"
        return
    sides = " × ".join(_short(value) for value in found.deviations)
    yield f"standard deviation {sides} samples around {_place(found.centre)}"
    yield (
        f"effective side {_short(found.side)} of {_short(found.theoretical_side)} samples, a ratio "
        f"of {found.ratio:.3f}"
    )
    if found.outside:
        yield f"outside the theoretical field up to {found.outside:.2g}: one of the two is wrong"


def _place(centre: tuple[float, ...]) -> str:
    return ",".join(f"{place:g}" for place in centre)


def _side(square: Square) -> str:
    return "–" if square.side is None else str(square.side)


def _ratio(square: Square) -> str:
    return "–" if square.ratio is None else f"{square.ratio:.1%}"


def _short(value: float) -> str:
    return f"{value:.1f}" if isfinite(value) else "–"


# -------------------------------------------------------------------- for programs


def data(found: EffectiveField) -> dict[str, object]:
    """All but the map itself, which ``-o`` writes."""
    return document(
        model=found.model,
        layer=found.layer,
        unit=list(found.unit),
        protocol=found.protocol,
        inputs=found.inputs,
        count=found.count,
        skipped=found.maps.skipped,
        centre=list(found.centre),
        deviations=[number(value) for value in found.deviations],
        side=number(found.side) if not found.is_silent else 0,
        theoretical_side=number(found.theoretical_side),
        ratio=number(found.ratio),
        outside=number(found.outside),
        is_rounding=found.is_rounding,
        shares=[
            {
                "share": row.share,
                "linear": _square(row.linear),
                "log": _square(row.log),
                "published": _square(row.published),
            }
            for row in found.rows
        ],
    )


def _square(square: Square) -> dict[str, object]:
    return entry(square, "side", "ratio")
