"""One step of a stream as a function of new samples and states, and which state is what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.counted import CountedTables
from fieldwise.tile.bands.kernels.registry import ENDLESS, Carried
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.reading import reading
from fieldwise.tile.bands.run import BandState, Engine


@dataclass(frozen=True, slots=True)
class StateLayout:
    """Which state is what: the values of which rows are held, and what ops carry along.

    held:    (value, its first row that is held)
    carried: (op, name, how many tensors there are; None: one that stands alone)
    """

    done: tuple[int, ...]
    held: tuple[tuple[int, int], ...]
    carried: tuple[tuple[int, str, int | None], ...]
    ops: int

    @classmethod
    def of(cls, state: BandState) -> StateLayout:
        """That of a state."""
        carried = tuple(
            (op, name, len(one) if isinstance(one, (list, tuple)) else None)
            for op, states in enumerate(state.carried or ())
            for name, one in states.items()
        )
        held = tuple((value, lo) for value, (lo, _) in sorted(state.held.items()))
        return cls(state.done, held, carried, len(state.carried or ()))

    def flat(self, state: BandState) -> list[Tensor]:
        """The tensors of a state, in the order of the layout."""
        found = [state.held[value][1] for value, _ in self.held]
        for op, name, number in self.carried:
            assert state.carried is not None
            one = state.carried[op][name]
            found += [one] if number is None else one
        return found

    def nested(self, tensors: Sequence[Tensor]) -> BandState:
        """The state that these tensors are."""
        given = iter(tensors)
        held = {value: (lo, next(given)) for value, lo in self.held}
        carried: list[Carried] = [{} for _ in range(self.ops)]
        for op, name, number in self.carried:
            carried[op][name] = (
                next(given) if number is None else [next(given) for _ in range(number)]
            )
        return BandState(self.done, held, tuple(carried), steps=1)

    def names(self, program: Program) -> list[str]:
        """What the states are called: after values, and after the results of ops."""
        found = [program.values[value].name for value, _ in self.held]
        for op, name, number in self.carried:
            stem = f"{program.ops[op].node.results[0]}.{name}"
            found += [stem] if number is None else [f"{stem}.{n}" for n in range(number)]
        return found


@dataclass(frozen=True, slots=True)
class Stepping:
    """One step of the engine as a function: new samples, if there are any, and states → outputs.

    samples: of the input, those that are new in it: [start, stop)
    layout:  of the states that it is given; None at the beginning of a stream
    tables:  those that are read by a counter of steps, which is then the last of the states
    """

    program: Program
    device: torch.device
    samples: Interval
    layout: StateLayout | None
    tables: CountedTables

    def __call__(self, *given: Tensor) -> tuple[list[Tensor], BandState]:
        """New rows of every output, and the state after it."""
        start, stop = self.samples
        chunk, states = (given[:1], given[1:]) if stop > start else ((), given)
        engine = self._engine(states)
        found: dict[int, list[Tensor]] = {value: [] for value in self.program.wiring.outputs}
        source = reading(self.program, self.device, chunk, [start])
        for value, _, rows in engine.step([stop], [ENDLESS] * len(found), source):
            found[value].append(rows)
        outputs = [self._joined(value, found[value]) for value in self.program.outputs]
        return outputs, engine.state()

    def _engine(self, states: Sequence[Tensor]) -> Engine:
        if self.layout is None:
            return Engine(self.program, self.device, functional=True)
        if not self.tables.tables:
            return Engine(self.program, self.device, self.layout.nested(states), functional=True)
        *states, counter = states
        read = self.tables.reading(counter)
        state = self.layout.nested(states)
        return Engine(self.program, self.device, state, constants=read, functional=True)

    def _counted(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The counter behind this step, if there is one."""
        if not self.tables.tables:
            return []
        if self.layout is None:
            return [torch.zeros(1, dtype=torch.int64, device=self.device)]
        return [given[-1] + 1]

    def _joined(self, value: int, pieces: Sequence[Tensor]) -> Tensor:
        kind = self.program.values[value]
        if not pieces:
            return torch.empty(kind.band(0), dtype=kind.dtype, device=self.device)
        return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), kind.dim)

    def flat(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Outputs, then the states after it."""
        outputs, state = self(*given)
        return (*outputs, *StateLayout.of(state).flat(state), *self._counted(given))

    def last(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Outputs alone."""
        return tuple(self(*given)[0])
