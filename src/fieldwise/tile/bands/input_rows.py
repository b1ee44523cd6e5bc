"""Which input rows some rows of the outputs need, and how small an input shows all of a network."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.tile.bands.latency import period
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.schedule import Schedule


def stops(program: Program, rows: Sequence[int]) -> list[int]:
    """Per value, one more than the last row that the outputs' rows before ``rows`` need."""
    found = [0] * len(program.values)
    for value, row in zip(program.wiring.outputs, rows, strict=True):
        found[value] = row
    for op in reversed(program.wiring.ops):
        hi = max(found[value] for value in op.results)
        for value in op.results:
            found[value] = hi
        if hi > 0:
            for value, reach in op.operands:
                found[value] = max(found[value], reach.span(0, hi)[1])
    return found


def shared_rows(program: Program) -> int:
    """How many input rows both halves of the outputs need: the extent of the receptive field."""
    middle = [(program.values[value].rows or 0) // 2 for value in program.wiring.outputs]
    first, last = Schedule.started_at(program.wiring, middle), stops(program, middle)
    return max((last[v] - first.floor[v] for v in program.wiring.inputs), default=0)


def telling_rows(program: Program, rows: int, band: int) -> int:
    """The fewest of an input's rows that have both borders, an interior, and seams of bands.

    It differs from ``rows`` by whole periods of the network, so that its borders are the same.
    """
    least = _BANDS * band + 2 * shared_rows(program)
    turn = period(program.wiring)
    return rows - max(rows - least, 0) // turn * turn


_BANDS = 3
