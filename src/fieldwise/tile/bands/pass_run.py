"""Passes gone through one after another, and saved so that an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from fieldwise.graph.graph import Graph
from fieldwise.tile.bands.known import Known
from fieldwise.tile.bands.pass_planner import PassPlanner
from fieldwise.tile.bands.passes import Pass, PassParts, PassSums, run_whole
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.run import BandState, OutputRows
from fieldwise.tile.bands.store import Store


@dataclass(frozen=True, slots=True)
class Prepared:
    """A program, and what its inputs are read from, in the order of the wiring."""

    program: Program
    arrays: tuple[Any, ...]

    @classmethod
    def of(
        cls, program: Program, graph: Graph, given: Sequence[object], kept: Mapping[str, object]
    ) -> Prepared:
        """A program of a graph whose inputs are given; other values are kept."""
        arrays = {**kept, **dict(zip(graph.inputs, given, strict=True))}
        names = [program.values[value].name for value in program.wiring.inputs]
        return cls(program, tuple(arrays[name] for name in names))


class SavedPasses(Protocol):
    """Where the passes so far are saved, as plain data (see jobs.checkpoint)."""

    def load(self) -> Any:
        """What was saved last, or None."""

    def offer(self, data: Callable[[], object], *, now: bool = False) -> None:
        """Save what ``data`` gives, if it is time to, or ``now``."""


@dataclass(frozen=True, slots=True)
class PassSection:
    """What a pass has found in a section of its rows: its sums, and the rows that are gathered."""

    parts: PassParts
    rows: Iterable[OutputRows] = ()


PassDriver = Callable[[Prepared, BandState | None], Iterable[OutputRows | BandState | PassSection]]
"""Goes through the inputs of a program, from its start or from a saved state; see ``drive``.

Or has others go through sections of it, and gives what they have found in their order.
"""


def run_passes(
    planner: PassPlanner,
    given: Sequence[object],
    go_through: PassDriver,
    store: Store,
    checkpoint: SavedPasses | None = None,
) -> Prepared:
    """The program that gives the outputs, after all passes over the inputs.

    given:      the inputs of the graph
    store:      where values are kept
    checkpoint: what an interrupted run has found is taken from there, and saved there

    Raises StreamError as ``PassPlanner.next`` does.
    """
    run = _Run(planner.graph, given, go_through, store, checkpoint)
    known = Known()
    while (one := planner.next(known)) is not None:
        known = run.passed(one, known)
    return Prepared.of(planner.last(known), planner.graph, given, store.arrays)


def next_pass(
    planner: PassPlanner, given: Sequence[object], store: Store, saved: SavedPasses
) -> tuple[Pass, Prepared]:
    """The first pass that is not finished, by what is saved of those before, and what it reads.

    Raises StreamError as ``PassPlanner.next`` does.
    """
    run = _Run(planner.graph, given, not_through, store, saved)
    known = Known()
    while (one := planner.next(known)) is not None and run.has_finished:
        known = run.passed(one, known)
    assert one is not None
    return one, Prepared.of(one.program, planner.graph, given, store.arrays)


def not_through(prepared: Prepared, state: BandState | None) -> Iterable[OutputRows]:  # noqa: ARG001
    """Go through nothing.  Raises RuntimeError: what is saved of the passes is not all of it."""
    raise RuntimeError("a pass is missing from what is saved of them")


class _Run:
    """The passes of one run; a pass that gathers rows is gone on with only where it has ended."""

    def __init__(
        self,
        graph: Graph,
        given: Sequence[object],
        go_through: PassDriver,
        store: Store,
        checkpoint: SavedPasses | None,
    ) -> None:
        self._graph, self._given, self._go_through = graph, given, go_through
        self._store, self._checkpoint = store, checkpoint
        saved = None if checkpoint is None else checkpoint.load()
        self._unfinished: Any
        finished, self._unfinished, manifest = saved or ([], None, {})
        if not store.adopt(manifest):
            finished, self._unfinished = [], None
        self._finished, self._earlier = list(finished), list(finished)

    @property
    def has_finished(self) -> bool:
        """Whether the next pass was finished in an earlier run."""
        return bool(self._earlier)

    def passed(self, one: Pass, known: Known) -> Known:
        """What is known after a pass."""
        sums = PassSums(one)
        if self._earlier:
            sums.join(self._earlier.pop(0))
            return one.after(known, sums.known(), self._store)
        self._go(one, sums)
        self._finished.append(sums.parts())
        after = one.after(known, sums.known(), self._store)
        needed = {*after.kept, *after.values}
        keeps = bool(one.gathered or one.runs)
        self._save(lambda: (self._finished, None, self._store.manifest(needed)), now=keeps)
        self._store.keep(needed)
        return after

    def _go(self, one: Pass, sums: PassSums) -> None:
        """Go through the input once."""
        kept = self._store.values
        gathered = {value: name for value, name in one.gathered.items() if name not in kept}
        for value, name in gathered.items():
            self._store.begin(name, self._graph.values[name], one.program.values[value].axis)
        state = None
        if self._unfinished is not None:
            state = BandState.of(self._unfinished[0])
            sums.join(self._unfinished[1])
            self._unfinished = None
        summed = {value for value, _ in one.summed}
        prepared = Prepared.of(one.program, self._graph, self._given, self._store.arrays)
        for part in self._go_through(prepared, state):
            if isinstance(part, BandState):
                if not gathered:
                    self._save(partial(_unfinished, self._finished, part, sums, self._store))
                continue
            if isinstance(part, PassSection):
                sums.join(part.parts)
                found = part.rows
            else:
                value, _, rows = part
                found = [part]
                if value in summed:
                    sums.add(value, rows)
            for value, lo, rows in found:
                if value in gathered:
                    self._store.write(gathered[value], lo, rows)
        for run in one.runs:
            whole = {name: self._store.find(self._graph, name) for name in run.streamed}
            results = run_whole(run, whole)
            for name, result in zip(run.node.results, results, strict=True):
                self._store.put(name, result, run.kept.get(name))

    def _save(self, data: Callable[[], object], now: bool = False) -> None:
        if self._checkpoint is not None:
            self._checkpoint.offer(data, now=now)


def _unfinished(
    finished: Sequence[PassParts], state: BandState, sums: PassSums, store: Store
) -> object:
    """What is saved within a pass, as plain data."""
    return finished, (state.plain(), sums.parts()), store.manifest(store.values)
