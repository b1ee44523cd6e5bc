"""Steps that do what the one before them did: recorded once, and made again.

Where every value gains as many rows in each step and keeps as many, and no op looks at its
position, the steps of a run differ in their rows alone.  A card is then given one recording (a CUDA
graph) in place of thousands of launches, and nothing of a step is decided in Python.  Three things
are asked first: the schedule repeats, by integers; the program could go on without an end, so that
no op in it knows its position; and two steps one after the other ran the same ops of torch with the
same arguments on the same memory, one of which computes or copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldwise.tile.bands.run import Engine, OutputRows, RowSource
from fieldwise.tile.bands.schedule import Wiring
from fieldwise.tile.errors import StreamError
from fieldwise.tile.recording import StepRecorder
from fieldwise.tile.trace import StepTrace


@dataclass(frozen=True, slots=True)
class TakenStep:
    """A step that was taken.

    asked: rows of each input beyond those that were done, the limit of each output, and whether it
           was taken in torch's inference mode
    done, kept: per value, its rows done before it, and how many are kept after it
    gains: per value, its new rows
    """

    asked: tuple[object, ...]
    done: tuple[int, ...]
    gains: tuple[int, ...]
    kept: tuple[int, ...]

    def does_as(self, other: TakenStep) -> bool:
        """Whether both make and keep as many rows, for the same request."""
        mine, theirs = ((one.asked, one.gains, one.kept) for one in (self, other))
        return mine == theirs


def steps_alike(wiring: Wiring, before: TakenStep, last: TakenStep) -> int:
    """How many more steps do what ``last`` did, if as much is asked for.

    0 where it did not what the one before did, where the rows of some op come back after more than
    a step, and where rows beyond the first are read.
    """
    if not last.does_as(before):
        return 0
    done = [lo + gain for lo, gain in zip(last.done, last.gains, strict=True)]
    left = [
        (rows - now - 1) // gain
        for rows, now, gain in zip(wiring.rows, done, last.gains, strict=True)
        if rows is not None and gain
    ]
    for op in wiring.ops:
        result = op.results[0]
        for value, reach in op.operands if last.gains[result] else ():
            turns, rest = divmod(last.gains[result], len(reach.stops))
            start, stop = reach.raw(last.done[result], done[result])
            if rest or start < 0 or turns * reach.advance != last.gains[value]:
                return 0
            if reach.size is not None and last.gains[value]:
                left.append((reach.size - reach.over - 1 - stop) // last.gains[value])
    return max(min(left, default=0), 0)


class Repeating:
    """The steps of an engine, of which those that are alike are recorded and made again.

    make: makes recorders; None: every step is run as it is
    """

    def __init__(self, engine: Engine, make: Callable[[], StepRecorder] | None = None) -> None:
        self.engine = engine
        self._make = make
        self._last: TakenStep | None = None
        self._left = 0
        self._traces: list[StepTrace] = []
        self._recorder: StepRecorder | None = None
        self._outputs: list[OutputRows] = []
        self._given: dict[int, Tensor] = {}

    def step(
        self, available: Sequence[int], limit: Sequence[int], source: RowSource
    ) -> list[OutputRows]:
        """See Engine.step."""
        engine, wiring = self.engine, self.engine.program.wiring
        if self._make is None:
            return engine.step(available, limit, source)
        done = tuple(engine.schedule.done)
        ahead = (rows - done[v] for rows, v in zip(available, wiring.inputs, strict=True))
        asked = (*ahead, *limit, torch.is_inference_mode_enabled())
        last, is_alike = self._last, self._is_next(asked)
        if is_alike and last is not None:
            self._left -= 1
            self._fill(last, done, source)
            if self._recorder is not None:
                return self._again(last, self._recorder)
            found = self._recorded(available, limit)
        else:
            self._traces, self._recorder, self._given = [], None, {}
            found = engine.step(available, limit, source)
        self._last = self._taken(asked, done)
        if last is not None and not (is_alike and self._last.does_as(last)):
            self._left, self._traces = steps_alike(wiring, last, self._last), []
        return found

    def _is_next(self, asked: tuple[object, ...]) -> bool:
        """Whether the step that is asked for does what the last one did, and is to be recorded."""
        if self._last is None or asked != self._last.asked or not self.engine.is_settled:
            return False
        if self._recorder is not None or self._traces:
            return self._left > 0
        if self._left >= _FEWEST and not self.engine.program.goes_on():
            self._make = None
        return self._make is not None and self._left >= _FEWEST

    def _taken(self, asked: tuple[object, ...], done: tuple[int, ...]) -> TakenStep:
        schedule = self.engine.schedule
        gains = tuple(now - then for now, then in zip(schedule.done, done, strict=True))
        kept = tuple(now - lo for now, lo in zip(schedule.done, schedule.floor, strict=True))
        return TakenStep(asked, done, gains, kept)

    # ---------------------------------------------------------------- recorded

    def _fill(self, last: TakenStep, done: tuple[int, ...], source: RowSource) -> None:
        """Read the new rows of the inputs to where a recorded step finds them."""
        for number, value in enumerate(self.engine.program.wiring.inputs):
            if last.gains[value]:
                rows = source(number, done[value], done[value] + last.gains[value])
                if number not in self._given:
                    self._given[number] = torch.empty_like(rows)
                self._given[number].copy_(rows, non_blocking=True)

    def _recorded(self, available: Sequence[int], limit: Sequence[int]) -> list[OutputRows]:
        """A step that is looked at, or recorded once two of them have run the same."""

        def step() -> list[OutputRows]:
            return self.engine.step(available, limit, lambda number, *_: self._given[number])

        if len(self._traces) < _TRACES:
            with StepTrace() as trace:
                found = step()
            self._traces.append(trace)
            return found
        first, second = self._traces
        assert self._make is not None
        if not second.is_recordable(first):
            self._make = None
            return step()
        before, recorder = self.engine.snapshot(), self._make()
        try:
            self._outputs = recorder.record(step)
        except (RuntimeError, StreamError):
            self._make = None
            self.engine.restore(before)
            return step()
        self._recorder = recorder
        return [(value, lo, rows.clone()) for value, lo, rows in self._outputs]

    def _again(self, last: TakenStep, recorder: StepRecorder) -> list[OutputRows]:
        recorder.replay()
        self.engine.shift(last.gains)
        self._outputs = [(v, lo + last.gains[v], rows) for v, lo, rows in self._outputs]
        return [(value, lo, rows.clone()) for value, lo, rows in self._outputs]


_TRACES = 2
"""Steps that are compared before one is recorded."""
_FEWEST = 6
"""Steps that are left, at least, for a recording to be worth it."""
