"""``view``: from reports to a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fieldwise.errors import UsageError
from fieldwise.field import FieldReport
from fieldwise.see.align import aligned
from fieldwise.see.data import NO_NOTES, SCHEMA, network
from fieldwise.see.notes import Notes
from fieldwise.see.page import Page
from fieldwise.see.picture import image_of


def view(
    *reports: FieldReport,
    names: Sequence[str] = (),
    notes: Sequence[Notes] = (),
    image: str | Path | None = None,
) -> Page:
    """A page of one network, or of two to compare: a self-contained HTML file.

    reports: one or two.  Raises UsageError for another number.

    names: what the networks are called; by default as their reports call them
    notes: what other analyses say of each (see ``notes_of``)
    image: a file that is shown as the input, stretched to its size

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> page = view(receptive_fields(layers_graph("conv3/2 conv3")), names=["two layers"])
    >>> page.html[:15], page.title
    ('<!doctype html>', 'two layers')
    """
    if not 1 <= len(reports) <= 2:
        raise UsageError(f"A page shows one network or two; got {len(reports)}.")
    called = [
        name or report.model or "network"
        for report, name in zip(reports, [*names, *[""] * len(reports)], strict=False)
    ]
    said = [*notes, *[NO_NOTES] * (len(reports) - len(notes))]
    data = {
        "schema": SCHEMA,
        "image": None if image is None else image_of(image),
        "networks": [
            network(report, name=name, notes=note)
            for report, name, note in zip(reports, called, said, strict=True)
        ],
        "pairs": aligned(*(report.rows for report in reports)) if len(reports) == 2 else [],
    }
    return Page(" and ".join(called), data)
