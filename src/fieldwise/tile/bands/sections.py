"""A streamed run cut into sections: each starts afresh from the rows that it needs.

Within a section nothing is computed twice; at its start the rows that its first result rows need
are computed again.  Where sections begin and end depends on the plan alone, so a section has the
same bytes whoever computes it, and whenever: after an interruption, or on another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fieldwise.tile.arrays import Interval
from fieldwise.tile.bands.input_rows import shared_rows, stops
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.schedule import Schedule

BandStep = tuple[Sequence[int], Sequence[int]]
"""Rows available of each input, and the most new rows to ask for of each output."""

OVERLAP = 16
"""By default a section reads this many times the rows that it shares with the one before."""


@dataclass(frozen=True, slots=True)
class Section:
    """What is computed in one go, along the streamed axis.

    rows:  of each output (in the order of the wiring), [lo, hi)
    reads: of each input, the rows that these need, [lo, hi)
    """

    rows: tuple[Interval, ...]
    reads: tuple[Interval, ...]


def sections_of(
    program: Program, band: int, grains: Sequence[int], *, rows: int | None = None
) -> tuple[Section, ...]:
    """Sections that cover all outputs in order.

    grains: per output, the rows that its file takes at a time: sections begin at their multiples
    rows:   input rows per section, at least; by default sections are short, but read OVERLAP times
            what two of them share, and are no shorter than 4 bands
    """
    total = max(program.values[value].rows or 0 for value in program.wiring.inputs)
    if rows is None:
        rows = max(OVERLAP * shared_rows(program), 4 * program.scaled(band))
    else:
        rows = program.scaled(rows)
    cuts = _cuts(program, max(total // max(rows, 1), 1), grains)
    return tuple(_section(program, lo, hi) for lo, hi in pairwise(cuts))


def steps(
    program: Program, schedule: Schedule, band: int, section: Section | None = None, done: int = 0
) -> Iterator[BandStep]:
    """Per step, the input rows that are available and the most output rows to ask for.

    schedule: of the run, which the caller advances
    section:  what is computed; by default everything
    done:     so many steps are left out
    """
    wiring = program.wiring
    sizes = [program.values[value].rows or 0 for value in wiring.inputs]
    counts = [program.values[value].rows or 0 for value in wiring.outputs]
    longest = max([1, *sizes])
    start = 0 if section is None else section.reads[sizes.index(max(sizes))][0]
    ends = counts if section is None else [hi for _, hi in section.rows]
    band = program.scaled(band)
    most = [-(-band * count // longest) for count in counts]
    at = start + done * band
    while True:
        left = [end - schedule.done[v] for v, end in zip(wiring.outputs, ends, strict=True)]
        if max(left, default=0) <= 0:
            return
        at = min(at + band, longest)
        limit = [max(min(pair), 0) for pair in zip(most, left, strict=True)]
        yield [at * size // longest for size in sizes], limit


def rows_computed(program: Program, sections: Sequence[Section]) -> list[int]:
    """Per op, the rows that all sections compute of its results."""
    found = [0] * len(program.wiring.ops)
    for section in sections:
        begun = Schedule.started_at(program.wiring, [lo for lo, _ in section.rows])
        last = stops(program, [hi for _, hi in section.rows])
        for number, op in enumerate(program.wiring.ops):
            value = op.results[0]
            first = min(begun.floor[one] for one in op.results)
            start = begun.done[value] if op.ordered else max(begun.done[value], first)
            found[number] += max(last[value] - start, 0)
    return found


def _cuts(program: Program, number: int, grains: Sequence[int]) -> list[tuple[int, ...]]:
    """Where ``number`` sections begin, per output, and the end; fewer where rows are few."""
    counts = [program.values[value].rows or 0 for value in program.wiring.outputs]
    cuts = [tuple(0 for _ in counts)]
    for part in range(1, number):
        cut = tuple(
            part * count // number // grain * grain
            for count, grain in zip(counts, grains, strict=True)
        )
        if all(now > before for now, before in zip(cut, cuts[-1], strict=True)):
            cuts.append(cut)
    return [*cuts, tuple(counts)]


def _section(program: Program, start: Sequence[int], stop: Sequence[int]) -> Section:
    rows = tuple(zip(start, stop, strict=True))
    first, last = Schedule.started_at(program.wiring, start), stops(program, stop)
    reads = tuple((first.floor[v], max(last[v], first.floor[v])) for v in program.wiring.inputs)
    return Section(rows, reads)
