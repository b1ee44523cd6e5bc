"""What a job does and did, for whoever asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fieldwise.reports import Report
from fieldwise.tile.certificate import RunCertificate
from fieldwise.tile.files import Calibration
from fieldwise.tile.jobs.caching import CachePlan
from fieldwise.tile.jobs.work import JobPiece, JobPlan


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file of a job, and what its axes are, in letters.

    about: what it says of its samples beside their values
    lost:  of a result, what of the input's calibration it does not say, and why
    """

    path: Path
    axes: str
    about: Calibration | None = None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobReport(Report):
    """A job: where it reads and writes, its plan, and how far it is; a row per piece.

    model:       as the job was given it
    source:      what is read; results: where each output goes
    certificate: how equal pieces are to the whole, where they were compared
    done:        how many pieces are on disk
    compared:    full recompute, rows cached, rows and columns cached, where these were compared
    """

    model: str
    source: JobFile
    results: tuple[JobFile, ...]
    plan: JobPlan
    certificate: RunCertificate | None = None
    done: int = 0
    compared: tuple[CachePlan, ...] = ()

    @property
    def rows(self) -> tuple[JobPiece, ...]:
        """The pieces."""
        return self.plan.pieces
