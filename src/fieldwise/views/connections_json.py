"""The connections of networks along one axis as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fieldwise.views.json import document, number

if TYPE_CHECKING:
    from fieldwise.axes import IndexSet
    from fieldwise.field.unit_connections import Connections, UnitRow


def data(found: Sequence[Connections], *, models: Sequence[str]) -> dict[str, object]:
    """What ``fieldwise diagram`` draws of each model.

    >>> from fieldwise.capture.layers import layers_graph
    >>> from fieldwise.field.unit_connections import connections
    >>> made = data([connections(layers_graph("conv3/2"), unit=1)], models=["a"])["diagrams"][0]
    >>> made["sees"], made["rows"][1]["edges"][:2]
    ([[2, 4]], [[0, 0, 0, 0, False], [0, 0, 1, 1, False]])
    """
    return document(
        diagrams=[
            {
                "model": model,
                "axis": network.axis,
                "unit": network.unit,
                "sees": _ranges(network.field),
                "extent": None if network.full else network.unbounded.extent,
                "exact": network.exact,
                "why": network.why,
                "rows": [_row(row) for row in network.rows],
            }
            for model, network in zip(models, found, strict=True)
        ]
    )


def _row(row: UnitRow) -> dict[str, object]:
    return {
        "names": list(row.names),
        "size": row.size,
        "start": number(row.start),
        "stride": number(row.stride),
        "seen": _ranges(row.seen),
        "edges": [[e.out, e.below, e.position, e.index, e.seen] for e in row.edges],
    }


def _ranges(seen: IndexSet) -> list[list[int]]:
    return [[first, stop - 1] for first, stop in seen.runs()]
