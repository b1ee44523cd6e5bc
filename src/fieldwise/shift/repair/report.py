"""What a repair did: a model, what was rewritten in it, and how it was checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fieldwise.shift.certificate import Certificates
from fieldwise.shift.measurement import Measurement


@dataclass(frozen=True, slots=True)
class Change:
    """One call that the repaired model computes in another way.

    module: path of the module that makes the call ('' for the model itself)
    op:     the function, as torch calls it; what: what is done to it
    """

    module: str
    op: str
    what: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """A repaired copy, not to be trusted further than ``done`` says.

    model:       the copy; weights, names and state_dict are those of the model
    changes:     in order of execution
    measurement: of the copy, in float64, on generic weights
    before:      of the model as it was, for a repair that promises less than exactness; both
                 are then measured on the weights that the model has
    proof:       the certificates of the copy, for a repair that the graph can prove: one whose
                 sampling does not depend on the data
    """

    model: Any
    changes: tuple[Change, ...]
    measurement: Measurement
    before: Measurement | None = None
    proof: Certificates | None = None

    @property
    def done(self) -> bool:
        """Whether the checks agree that the copy does what the repair promises.

        Exact equivariance, proven too where there is a proof; with ``before``, a better EQ-T than
        before.
        """
        if self.before is not None:
            return self.measurement.eq_t > self.before.eq_t
        return self.measurement.verdict == "holds" and (self.proof is None or self._proven())

    def _proven(self) -> bool:
        assert self.proof is not None
        return all(axis.circular.holds for output in self.proof.outputs for axis in output.axes)
