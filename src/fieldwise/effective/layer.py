"""Which layer is looked at: the module of a name, or the last one that has a map of positions."""

from __future__ import annotations

from math import prod

from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.errors import UsageError
from fieldwise.field.analysis import FieldReport
from fieldwise.field.probes.units import shown_by_run
from fieldwise.graph.names import resolve


def last_map(report: FieldReport, call: ModelCall) -> str | None:
    """The last module whose output has several positions; None for the model's own output.

    Behind a global pool a position sees everything, and its effective field says little.  Raises
    UsageError where no output of a module has several positions.

    >>> import torch
    >>> from torch import nn
    >>> from fieldwise import receptive_fields
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> call = ModelCall(net, torch.zeros(1, 1, 16))
    >>> last_map(receptive_fields(net, call.example), call)
    '0'
    """
    shown = shown_by_run(report.graph, call)
    for row in reversed(report.rows):
        if prod(row.shape[dim] for dim in report.roles(row.name).unit) < 2:
            continue
        if row.name in shown:
            return None if None in shown[row.name] else shown[row.name][0]
    raise UsageError("No layer has several output positions; name one with layer= (--layer).")


def layer_of(report: FieldReport, call: ModelCall, name: str) -> str | None:
    """What a probe finds the value of this name as: itself, or a module that returns it.

    Raises UsageError for a name that nothing has, and for a value that no run shows.

    >>> import torch
    >>> from torch import nn
    >>> from fieldwise import receptive_fields
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU())
    >>> call = ModelCall(net, torch.zeros(1, 1, 16))
    >>> layer_of(receptive_fields(net, call.example), call, "1")
    '1'
    """
    layers = shown_by_run(report.graph, call).get(resolve(report.graph, name), ())
    if not layers:
        part = report.graph.part
        raise UsageError(
            f"A run of the model does not show '{name}': no {part} returns it, or not all that the "
            f"{part} returns depends on the input; name another layer."
        )
    return name if name in layers else layers[0]
