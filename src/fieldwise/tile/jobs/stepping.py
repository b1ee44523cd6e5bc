"""A run of a program that can be left after some steps and gone on with later, to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.run import BandState, Engine, RowSource
from fieldwise.tile.bands.schedule import Schedule

ComingSteps = Callable[[Schedule, int], Iterable[tuple[list[int], list[int]]]]
"""The steps to come of a run, from its schedule and the number of steps that are done."""

OutputRows = tuple[int, int, Tensor]
"""The number of a value, its first row, and the rows."""

STEPS = 4
"""Steps from one halt to the next."""


@dataclass(frozen=True, slots=True)
class Halt:
    """A run after so many steps."""

    steps: int
    state: BandState

    def plain(self) -> Any:
        """As numbers, tensors, tuples and dicts."""
        state = self.state
        return self.steps, tuple(state.done), dict(state.held), state.carried

    @classmethod
    def of(cls, plain: Any) -> Halt:
        """From what ``plain`` gives."""
        steps, done, held, carried = plain
        return cls(steps, BandState(tuple(done), dict(held), carried))


def stepped(
    program: Program, device: torch.device, since: Halt, steps: ComingSteps, read: RowSource
) -> Iterator[OutputRows | Halt]:
    """Go on from a halt: new rows of the outputs, and further halts.

    At each halt the run itself goes on from what it hands out, so that who starts there computes
    the same, bit by bit.
    """
    done, engine = since.steps, Engine.restored(program, device, since.state)
    found: list[OutputRows] = []

    def note(value: int, lo: int, rows: Tensor) -> None:
        found.append((value, lo, rows))

    while True:
        before = done
        for available, limit in islice(steps(engine.schedule, done), STEPS):
            engine.step(available, limit, read, note)
            done += 1
            yield from found
            found.clear()
        if done < before + STEPS:
            return
        halt = Halt(done, engine.state())
        engine = Engine.restored(program, device, halt.state)
        yield halt
        del halt


def reader(program: Program, device: torch.device, source: Any, dtype: np.dtype[Any]) -> RowSource:
    """Rows of the only input of a program, from an array with the model's dimensions.

    dtype: what the rows are cast to on the way
    """
    value = program.values[program.wiring.inputs[0]]

    def read(_: int, lo: int, hi: int) -> Tensor:
        rows = source[(slice(None),) * value.dim + (slice(lo, hi),)]
        return torch.from_numpy(np.ascontiguousarray(rows, dtype)).to(device, value.dtype)

    return read
