"""What a worker needs to make the programs of a streamed run, each once per process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from fieldwise.capture.torch import meta_tensor
from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.capture.torch.tree import map_tensors
from fieldwise.graph.ir import Shape
from fieldwise.tile.bands.compile import compile_program
from fieldwise.tile.bands.passes import Pass, next_pass
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import GlobalOps, Programs
from fieldwise.tile.bands.statistics import KnownStatistics, PartialSums, Statistic, statistic

PassParts = tuple[PartialSums | None, ...]
"""What was summed up of some rows, for every statistic of a pass; None where it was given none."""


@dataclass(frozen=True)
class Findings:
    """What the passes so far have found; the token is another one whenever it is found again."""

    token: str
    known: KnownStatistics


START = Findings("", KnownStatistics())
"""Before the first pass."""


@dataclass(frozen=True)
class Recipe:
    """A model and the shapes of its inputs; see ``Programs``."""

    token: str
    model: Any
    example: Any
    axis: int
    band: int
    global_ops: GlobalOps
    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, run: Programs, shapes: tuple[Shape, ...]) -> Recipe:
        """The recipe of a run; the example's data stays behind."""
        example = map_tensors(lambda t: meta_tensor(t.shape).to(t.dtype), run.example)
        token = uuid4().hex
        return cls(token, run.model, example, run.axis, run.band, run.global_ops, shapes)

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
        given = dict(zip(one.program.wiring.outputs, rows, strict=True))
        found: list[PartialSums | None] = []
        with as_recorded():
            for value, summed in self._statistics(findings):
                taken = given[value]
                if taken is not None:
                    summed.add(taken)
                found.append(None if taken is None else _on(torch.device("cpu"), summed.part()))
        return tuple(found)

    def joined(self, findings: Findings, parts: Sequence[PassParts]) -> PassParts:
        """The sums of stretches of rows that follow one another, in their order."""
        statistics = self._joined(findings, parts)
        given = [any(part is not None for part in group) for group in zip(*parts, strict=True)]
        return tuple(s.part() if any_ else None for s, any_ in zip(statistics, given, strict=True))

    def found(self, findings: Findings, parts: PassParts) -> Findings:
        """What is known after a pass, from the sums of all rows."""
        run, known = self._made(findings).run, findings.known
        on_device = tuple(None if part is None else _on(run.device, part) for part in parts)
        for summed in self._joined(findings, [on_device]):
            known = known.joined(summed.known())
        return Findings(uuid4().hex, known)

    def _joined(self, findings: Findings, parts: Sequence[PassParts]) -> list[Statistic]:
        statistics = [summed for _, summed in self._statistics(findings)]
        with as_recorded():
            for stretch in parts:
                for summed, part in zip(statistics, stretch, strict=True):
                    if part is not None:
                        summed.join(part)
        return statistics

    def _statistics(self, findings: Findings) -> list[tuple[int, Statistic]]:
        """The statistics of the next pass, with nothing in them yet, and the values they need."""
        one, graph = self._pass(findings), self._made(findings).run.graph(self.shapes)
        made = []
        for value, group in one.statistics.items():
            dim = one.program.values[value].dim
            for node in (summed.node for summed in group):
                results = [graph.shape(name) for name in node.results]
                fresh = statistic(node, dim, graph.shape(node.operands[0]), results)
                assert fresh is not None
                made.append((value, fresh))
        return made

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
                run = next(earlier, None) or Programs(
                    self.model,
                    self.example,
                    axis=self.axis,
                    band=self.band,
                    global_ops=self.global_ops,
                )
                while len(_MADE) >= _KEPT:
                    _MADE.pop(next(iter(_MADE)))
                _MADE[key] = _Made(run, self._make(run, findings))
            return _MADE[key]

    def _make(self, run: Programs, findings: Findings) -> Pass | Program:
        if self.global_ops == "refuse":
            return run.program(self.shapes)
        graph = run.graph(self.shapes)
        one = next_pass(graph, self.axis, findings.known)
        return one or compile_program(graph, self.axis, known=findings.known)


@dataclass(frozen=True)
class _Made:
    run: Programs
    made: Pass | Program


def _on(device: torch.device, part: PartialSums) -> PartialSums:
    dtype, count, tensors = part
    return dtype, count, tuple(tensor.to(device) for tensor in tensors)


_LOCK = threading.Lock()
_MADE: dict[tuple[str, str], _Made] = {}
_KEPT = 3
