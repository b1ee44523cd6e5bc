"""Recurrent layers, recorded whole: an output sees the past, or everything if bidirectional.

Layout of the data: (time, batch, feature), or (batch, time, feature) where batch_first; of the
states: (layer · directions + direction, batch, feature).
"""

from __future__ import annotations

from collections.abc import Iterator

from fieldwise.axes import IndexSet, Table
from fieldwise.capture.torch.registry import Kinds, OpCall, Reads, rule
from fieldwise.capture.torch.rules.common import Where, entirely, future, past, per_result
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Coord,
    Fixed,
    Read,
    Ref,
    Unknown,
    separable,
)
from fieldwise.graph.kinds import ANY, SCAN


def _scanning(call: OpCall) -> Kinds:
    """The last states are functions of all that came before; each feature has its own weights."""
    both = call["bidirectional"] or "batch_sizes" in call.args
    return tuple(
        (ANY if both or place else SCAN).per_channel(len(shape) - 1)
        for place, shape in enumerate(call.results)
    )


@rule("lstm", "gru", "rnn_tanh", "rnn_relu", kind=_scanning)
def _recurrent(call: OpCall) -> Reads:
    if "batch_sizes" in call.args:
        return _packed(call)
    states = len(call.results) - 1
    return (tuple(_output_reads(call)), *[tuple(_state_reads(call))] * states)


def _packed(call: OpCall) -> Reads:
    """A packed sequence mixes time and batch in one dimension."""
    why = Unknown("a recurrent layer over a packed sequence")
    return per_result(call, *entirely(call, coord=why))


def _output_reads(call: OpCall) -> Iterator[Read]:
    """Each direction fills its share of the features of the last layer."""
    time, batch = (1, 0) if call["batch_first"] else (0, 1)
    steps, features = call.results[0][time], call.results[0][2]
    directions = 1 + call["bidirectional"]
    share = features // directions
    for direction in range(directions):
        here: Where = ((2, IndexSet.range(direction * share, (direction + 1) * share)),)
        where = here if directions > 1 else ()
        if (number := call.operand("input")) is not None:
            coords: dict[int, Coord] = {time: _seen(call, time, steps, direction)}
            coords |= {batch: Along(batch), 2: WHOLE}
            yield separable(number, *(coords[dim] for dim in range(3)), where=where)
        rows = _state_rows(call["num_layers"] - 1, direction, directions)
        for number in _states(call):
            yield separable(number, Fixed(rows), Along(batch), WHOLE, where=where)


def _seen(call: OpCall, time: int, steps: int, direction: int) -> Coord:
    """Two layers in both directions see all; one layer sees its past, or its future."""
    if call["bidirectional"] and call["num_layers"] > 1:
        return WHOLE
    if direction:
        return Along(time, future(steps))
    return Along(time, past(steps))


def _state_rows(layer: int, direction: int, directions: int) -> IndexSet:
    """The initial states that reach a direction of a layer: all those below, and its own."""
    below = IndexSet.range(0, layer * directions)
    return below | IndexSet(layer * directions + direction, 1)


def _state_reads(call: OpCall) -> Iterator[Read]:
    """A final state has gone through the whole sequence."""
    if (number := call.operand("input")) is not None:
        batch = Along(1)
        lead = (batch, WHOLE) if call["batch_first"] else (WHOLE, batch)
        yield separable(number, *lead, WHOLE)
    directions = 1 + call["bidirectional"]
    rows = tuple(
        _state_rows(layer, direction, directions)
        for layer in range(call["num_layers"])
        for direction in range(directions)
    )
    for number in _states(call):
        yield separable(number, Along(0, Table(rows)), Along(1), WHOLE)


def _states(call: OpCall) -> list[int]:
    given = call["hx"]
    states = given if isinstance(given, (list, tuple)) else [given]
    return list(dict.fromkeys(state.operand for state in states if isinstance(state, Ref)))
