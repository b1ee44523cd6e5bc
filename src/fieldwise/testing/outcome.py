"""What a check found: the verdict, why, and how much was compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fieldwise.errors import FieldwiseError, GraphError

Verdict = Literal[
    "exact", "bound", "unknown", "holds", "broken", "undecided", "refused", "nothing", "wrong",
    "bare", "degenerate",
]  # fmt: skip
"""exact:     what was claimed is what was measured
bound:     what was claimed is marked as a bound, and covers what was measured
unknown:   the same, because an op has no rule
holds, broken, undecided: of a certificate; the first two agree with what was measured
degenerate: more is claimed than was measured, all of which matters where the constants of the
           model that are whole numbers or truth values are others (a factor or a label of zero)
refused:   a FieldwiseError that says why
nothing:   nothing was there to compare
wrong:     what was claimed is not what was measured
bare:      an exception that is no FieldwiseError, or one that blames the model for a fault of ours
"""

_ORDER: Sequence[Verdict] = (
    "bare", "wrong", "degenerate", "unknown", "bound", "undecided", "refused", "broken", "holds",
    "exact", "nothing",
)  # fmt: skip

_BLAMES_THE_MODEL = ("Check the input shape", "please report")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check.

    compared: how many answers were held against a measurement
    """

    verdict: Verdict
    why: str = ""
    compared: int = 0

    @property
    def failed(self) -> bool:
        """Whether fieldwise is at fault."""
        return self.verdict in ("wrong", "bare")

    def required(self) -> Outcome:
        """The outcome itself.  Raises AssertionError if it failed, or compared nothing."""
        if self.failed:
            raise AssertionError(self.why)
        if not self.compared:
            raise AssertionError(f"Nothing was compared: {self.why or self.verdict}.")
        return self


def outcome_of(error: Exception) -> Outcome:
    """What an exception of fieldwise stands for, where the model itself runs.

    >>> from fieldwise.errors import CaptureError
    >>> outcome_of(CaptureError("It looks at values.")).verdict, outcome_of(KeyError(3)).verdict
    ('refused', 'bare')
    """
    text = f"{type(error).__name__}: {error}"
    meant = isinstance(error, FieldwiseError) and not isinstance(error, GraphError)
    if meant and not any(phrase in text for phrase in _BLAMES_THE_MODEL):
        return Outcome("refused", text)
    return Outcome("bare", text)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The one outcome that stands for all, in which all comparisons count.

    >>> worst([Outcome("exact", compared=3), Outcome("wrong", "misses 4", 1)])
    Outcome(verdict='wrong', why='misses 4', compared=4)
    """
    found = list(outcomes)
    if not found:
        return Outcome("nothing", "there is nothing to compare")
    chosen = min(found, key=lambda outcome: _ORDER.index(outcome.verdict))
    return Outcome(chosen.verdict, chosen.why, sum(outcome.compared for outcome in found))
