"""Which layer is looked at where none is named: the last one that has a map of positions."""

from __future__ import annotations

from math import prod

from torch import nn

from fieldwise.errors import UsageError
from fieldwise.field.analysis import FieldReport


def last_map(report: FieldReport, model: nn.Module) -> str | None:
    """The last module whose output has several positions; None for the model's own output.

    Behind a global pool a position sees everything, and its effective field says little.  Raises
    UsageError where no output of a module has several positions.

    >>> from fieldwise import receptive_fields
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> last_map(receptive_fields(net, (1, 1, 16)), net)
    '0'
    """
    paths = {path for path, _ in model.named_modules() if path}
    for row in reversed(report.rows):
        if prod(row.shape[dim] for dim in report.roles(row.name).unit) < 2:
            continue
        if row.name == report.graph.outputs[0]:
            return None
        found = [name for name in (row.name, *row.names) if name.partition("#")[0] in paths]
        if found:
            return found[0]
    raise UsageError("No layer has several output positions; name one with layer= (--layer).")
