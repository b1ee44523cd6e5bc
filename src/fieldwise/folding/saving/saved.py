"""What was written, as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fieldwise.folding.report import Verification
from fieldwise.graph.ir import Shape
from fieldwise.reports import Report


@dataclass(frozen=True, slots=True)
class TakenSizes:
    """Which sizes of an axis of an input a program takes.

    input, axis: which; size: of the example
    rule:        in words: 'any', '75 or more', '2 or more, as 66 and 68; the model refuses 65';
                 of one that is fixed its size
    why:         why it is fixed; None for one that is not
    """

    input: str
    axis: int
    size: int
    rule: str
    why: str | None = None

    @property
    def fixed(self) -> bool:
        """Whether it takes one size alone."""
        return self.why is not None


@dataclass(frozen=True, slots=True)
class ProgramCheck:
    """A written file, run at several sizes and compared with the model that was not folded.

    axes:     of its inputs
    shapes:   of the inputs, per run
    verify:   the worst of them; None where nothing was to be compared
    note:     what else should be known
    """

    axes: tuple[TakenSizes, ...]
    shapes: tuple[tuple[Shape, ...], ...] = ()
    verify: Verification | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Median seconds of a run before and after, in turns; None where they were not measured.

    runs:    of either; threads: of the processor; device: where the model is
    note:    why it was not measured
    """

    before: float | None = None
    after: float | None = None
    runs: int = 0
    threads: int = 1
    device: str = "cpu"
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Saved(Report):
    """Files that were written, and the model in them against the one that was not folded.

    paths, nbytes: of the files
    parameters, macs, weight_bytes: before and after; macs counts multiplications of one run on the
             example, and is None where a model cannot be captured
    loaded:  the written weights, loaded into a copy of the model before, against the folded model
    program: what an exported program, or an ONNX file, takes, and how it was compared
    loader:  the lines of Python that put weights into a model of the same class
    """

    paths: tuple[Path, ...]
    nbytes: tuple[int, ...]
    parameters: tuple[int, int]
    weight_bytes: tuple[int, int]
    macs: tuple[int, int] | None = None
    loaded: Verification | None = None
    program: ProgramCheck | None = None
    times: RunTimes | None = None
    loader: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Path, ...]:
        """The files."""
        return self.paths
