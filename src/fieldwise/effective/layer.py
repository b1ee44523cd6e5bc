"""Which layer is looked at: the module of a name, or the last one that has a map of positions."""

from __future__ import annotations

from math import prod

from torch import nn

from fieldwise.errors import UsageError
from fieldwise.field.analysis import FieldReport
from fieldwise.graph.names import names_by_module


def last_map(report: FieldReport, model: nn.Module) -> str | None:
    """The last module whose output has several positions; None for the model's own output.

    Behind a global pool a position sees everything, and its effective field says little.  Raises
    UsageError where no output of a module has several positions.

    >>> from fieldwise import receptive_fields
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> last_map(receptive_fields(net, (1, 1, 16)), net)
    '0'
    """
    returned = _returned(report, model)
    for row in reversed(report.rows):
        if prod(row.shape[dim] for dim in report.roles(row.name).unit) < 2:
            continue
        if row.name == report.graph.outputs[0]:
            return None
        if row.name in returned:
            return returned[row.name]
    raise UsageError("No layer has several output positions; name one with layer= (--layer).")


def layer_of(report: FieldReport, model: nn.Module, name: str) -> str:
    """The module that a layer's name stands for: itself, or that of a value of an ONNX file.

    >>> from fieldwise import receptive_fields
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU())
    >>> layer_of(receptive_fields(net, (1, 1, 16)), net, "1")
    '1'
    """
    return _returned(report, model).get(name, name)


def _returned(report: FieldReport, model: nn.Module) -> dict[str, str]:
    """Per value, the module whose result it is, as a probe finds it."""
    paths = {path for path, _ in model.named_modules() if path}
    modules = names_by_module(report.graph)
    found: dict[str, str] = {}
    for row in report.rows:
        for name in (row.name, *modules.get(row.name, ())):
            if name in paths or name.rpartition("#")[0] in paths:
                found.setdefault(row.name, name)
    return found
