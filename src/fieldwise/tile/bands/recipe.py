"""What a worker needs to make the programs of a streamed run, each once per process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

import torch
from torch import Tensor

from fieldwise.capture.torch.inputs import as_tensor
from fieldwise.graph.ir import Shape
from fieldwise.tile.arrays import as_numpy
from fieldwise.tile.bands.known import Known
from fieldwise.tile.bands.passes import Pass, PassParts, PassSums, run_whole
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import Programs, Streaming
from fieldwise.tile.bands.store import Store


@dataclass(frozen=True)
class Findings:
    """What the passes so far have found; the token is another one whenever it is found again."""

    token: str
    known: Known


START = Findings("", Known())
"""Before the first pass."""


@dataclass(frozen=True)
class Recipe:
    """How a model is streamed, and the shapes of its inputs."""

    token: str
    streaming: Streaming
    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, streaming: Streaming, shapes: tuple[Shape, ...]) -> Recipe:
        """The recipe of a run; the example's data stays behind."""
        call = streaming.call.without_data()
        return cls(uuid4().hex, replace(streaming, call=call), shapes)

    @property
    def device(self) -> torch.device:
        """Where a worker computes."""
        return self.streaming.call.device

    def program(self, findings: Findings) -> Program:
        """The program that gives the outputs, after all passes."""
        made = self._made(findings).made
        assert isinstance(made, Program)
        return made

    def pass_program(self, findings: Findings) -> Program:
        """The program of the pass after these findings."""
        return self._pass(findings).program

    def parts(self, findings: Findings, rows: Sequence[Tensor | None]) -> PassParts:
        """What the next pass sums up of some rows of each of its program's outputs."""
        one = self._pass(findings)
        sums = PassSums(one)
        for value, taken in zip(one.program.wiring.outputs, rows, strict=True):
            if taken is not None:
                sums.add(value, taken)
        return _on(torch.device("cpu"), sums.parts())

    def gathered(self, findings: Findings, rows: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Those rows of outputs of the next pass's program that are gathered."""
        one = self._pass(findings)
        pairs = zip(one.program.wiring.outputs, rows, strict=True)
        return [taken if value in one.gathered else None for value, taken in pairs]

    def joined(self, findings: Findings, parts: Sequence[PassParts]) -> PassParts:
        """The sums of stretches of rows that follow one another, in their order."""
        sums = PassSums(self._pass(findings))
        for one in parts:
            sums.join(one)
        return sums.parts()

    def run_whole(
        self, findings: Findings, number: int, operands: Mapping[str, object]
    ) -> list[object]:
        """The results of a node that the next pass runs on whole operands."""
        one = self._pass(findings)
        found = run_whole(one.runs[number], self._tensors(one, operands))
        return [as_numpy(result) for result in found]

    def found(self, findings: Findings, parts: PassParts, whole: Mapping[str, object]) -> Findings:
        """What is known after a pass, from the sums of all rows, and what was gathered whole."""
        one = self._pass(findings)
        sums = PassSums(one)
        sums.join(_on(self.device, parts))
        store = Store(self._tensors(one, whole))
        return Findings(uuid4().hex, one.after(findings.known, sums.known(), store))

    def _tensors(self, one: Pass, arrays: Mapping[str, object]) -> dict[str, Tensor]:
        kinds = {name: getattr(torch, one.graph.values[name].dtype) for name in arrays}
        return {n: as_tensor(array, self.device, kinds[n]) for n, array in arrays.items()}

    def _pass(self, findings: Findings) -> Pass:
        made = self._made(findings).made
        assert isinstance(made, Pass)
        return made

    def _made(self, findings: Findings) -> _Made:
        """Made once per process; models are not captured by two threads at a time."""
        with _LOCK:
            key = (self.token, findings.token)
            if key not in _MADE:
                earlier = (made.run for (token, _), made in _MADE.items() if token == self.token)
                run = next(earlier, None) or Programs(self.streaming)
                while len(_MADE) >= _KEPT:
                    _MADE.pop(next(iter(_MADE)))
                _MADE[key] = _Made(run, self._make(run, findings))
            return _MADE[key]

    def _make(self, run: Programs, findings: Findings) -> Pass | Program:
        if not self.streaming.is_multipass:
            return run.program(self.shapes)
        planner = run.planner(self.shapes)
        return planner.next(findings.known) or planner.last(findings.known)


@dataclass(frozen=True)
class _Made:
    run: Programs
    made: Pass | Program


def _on(device: torch.device, parts: PassParts) -> PassParts:
    """The same sums on a device."""
    return tuple(
        part and (part[0], part[1], tuple(tensor.to(device) for tensor in part[2]))
        for part in parts
    )


_LOCK = threading.Lock()
_MADE: dict[tuple[str, str], _Made] = {}
_KEPT = 3
