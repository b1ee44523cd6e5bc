"""What a repair did: a model, what was rewritten in it, and how it was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fieldwise.reports import Report
from fieldwise.shift.certificate import Breaker, Certificates
from fieldwise.shift.measurement.equivariance import Measurement
from fieldwise.shift.measurement.moved import Moved
from fieldwise.shift.proof.reasons import (
    CIRCULAR,
    DROP_INDICES,
    PAD_OR_WRAP,
    USE_FUNCTIONS,
    of_files,
)


@dataclass(frozen=True, slots=True)
class Change:
    """One call that the repaired model computes in another way.

    module: path of the module that makes the call ('' for the model itself)
    op:     the function, as torch calls it, or the operator of a file; what: what is done to it
    """

    module: str
    op: str
    what: str


@dataclass(frozen=True, slots=True)
class Repaired(Report):
    """A repaired copy, not to be trusted further than ``done`` says.

    model:       the copy; weights, names and state_dict are those of the model
    changes:     in order of execution
    measurement: of the copy, in float64, on generic weights
    before:      of the model as it was, for a repair that promises less than exactness; both
                 are then measured on the weights that the model has
    proof:       the certificates of the copy, on generic weights, for a repair that the graph can
                 prove: one whose sampling does not depend on the data; of one whose sampling does,
                 and that is not done, those of its periodic boundaries alone, for their reasons
    """

    model: Any
    changes: tuple[Change, ...]
    measurement: Measurement
    before: Measurement | None = None
    proof: Certificates | None = None

    @property
    def rows(self) -> tuple[Change, ...]:
        """What was changed."""
        return self.changes

    @property
    def done(self) -> bool:
        """Whether the checks agree that the copy does what the repair promises.

        Exact equivariance, proven too where there is a proof; with ``before``, a better EQ-T than
        before, of outputs of which it says something.
        """
        if self.before is not None:
            shown = all(moved.verdict != "no evidence" for moved in self.measurement.outputs)
            return shown and self.measurement.eq_t > self.before.eq_t
        return self.measurement.verdict == "holds" and (self.proof is None or self._proven())

    @property
    def why_not(self) -> tuple[str, ...]:
        """What is in the way, with node, module and remedy; nothing where it is done."""
        if self.done:
            return ()
        if self.before is not None and self.measurement.eq_t <= self.before.eq_t:
            return (
                f"EQ-T was {self.before.eq_t:.1f} dB before and is {self.measurement.eq_t:.1f}",
            )
        found = dict.fromkeys([*self._unproven(), *map(_doubt, self.measurement.outputs)])
        return tuple(reason for reason in found if reason)

    def _proven(self) -> bool:
        assert self.proof is not None
        return all(axis.circular.holds for output in self.proof.outputs for axis in output.axes)

    def _unproven(self) -> list[str]:
        """Of the proof, each reason once per axis, with the nodes that it is given for."""
        alike: dict[tuple[int, str, str | None], list[str]] = {}
        for output in self.proof.outputs if self.proof else ():
            for breaker in (breaker for axis in output.axes for breaker in axis.broken_by):
                places = alike.setdefault((breaker.axis, breaker.why, breaker.remedy), [])
                places += [node for node in [_placed(breaker)] if node not in places]
        of_file = self.proof is not None and self.proof.graph.part == "node"
        return [_spelled(nodes, *reason, of_file=of_file) for reason, nodes in alike.items()]


def _placed(breaker: Breaker) -> str:
    """The node, with its module where its name does not begin with it."""
    inside = breaker.module and not breaker.node.startswith(breaker.module)
    return f"{breaker.node} in '{breaker.module}'" if inside else breaker.node


def _spelled(
    nodes: Sequence[str], axis: int, why: str, remedy: str | None, *, of_file: bool
) -> str:
    if remedy == CIRCULAR:
        unreached = _UNREACHED.get(why, USE_FUNCTIONS)
        remedy = of_files(unreached) if of_file else unreached
        if unreached == DROP_INDICES:
            remedy = f"a pool that returns indices stays as it is; {remedy}"
    more = f" and {len(nodes) - _NODES} more" if len(nodes) > _NODES else ""
    verb = "breaks" if len(nodes) == 1 else "break"
    where = f"{', '.join(nodes[:_NODES])}{more} {verb} axis {axis}"
    return f"{where}: {why}" + (f" ({remedy})" if remedy else "")


_NODES = 3


_UNREACHED = {
    "a valid convolution shortens the axis": PAD_OR_WRAP,
    "a valid window shortens the axis": PAD_OR_WRAP,
    "padding by −inf": DROP_INDICES,
}


def _doubt(moved: Moved) -> str | None:
    """Why a measurement does not show that a value moves as it should."""
    where = f"'{moved.name}' along axis {moved.axis}"
    if moved.verdict == "broken":
        return f"{where} is off by {moved.error:.1e} of its deviation at a shift of {moved.shift}"
    if moved.verdict == "holds":
        return None
    if moved.motion is None:
        return f"it is not known how {where} should move, so nothing was measured"
    if moved.note:
        return f"nothing is shown of {where}: {moved.note}"
    return (
        f"a shift of {moved.shift} shows nothing of {where}, which is constant or back where it "
        f"was (take a larger input)"
    )
