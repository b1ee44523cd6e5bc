"""What a worker needs to make the programs of a streamed run, each once per process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

import torch
from torch import Tensor

from fieldwise.graph.ir import Shape
from fieldwise.tile.bands.compile import compile_program
from fieldwise.tile.bands.passes import Pass, PassParts, PassSums, next_pass
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import Programs, Streaming
from fieldwise.tile.bands.statistics import KnownStatistics


@dataclass(frozen=True)
class Findings:
    """What the passes so far have found; the token is another one whenever it is found again."""

    token: str
    known: KnownStatistics


START = Findings("", KnownStatistics())
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

    def joined(self, findings: Findings, parts: Sequence[PassParts]) -> PassParts:
        """The sums of stretches of rows that follow one another, in their order."""
        sums = PassSums(self._pass(findings))
        for one in parts:
            sums.join(one)
        return sums.parts()

    def found(self, findings: Findings, parts: PassParts) -> Findings:
        """What is known after a pass, from the sums of all rows."""
        sums = PassSums(self._pass(findings))
        sums.join(_on(self.device, parts))
        return Findings(uuid4().hex, findings.known.joined(sums.known()))

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
        graph = run.graph(self.shapes)
        one = next_pass(graph, run.axis, findings.known)
        return one or compile_program(graph, run.axis, known=findings.known)


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
