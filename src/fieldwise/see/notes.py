"""What other analyses say beside the fields: where affine ops fold, what breaks equivariance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fieldwise.field import FieldReport
from fieldwise.folding.plan import Plan
from fieldwise.see.encode import Plain
from fieldwise.shift import AxisCertificate, Breaker, Certificates


@dataclass(frozen=True, slots=True)
class Notes:
    """Notes beside a report, each None where it was not asked for.

    folds: where every affine op of the graph goes, or why it stays
    shift: what is proven of every value under shifts of the input
    """

    folds: Plan | None = None
    shift: Certificates | None = None


def notes_of(report: FieldReport) -> Notes:
    """What folding and shift say of the report's own graph; nothing is run.

    A list of layers has no weights that could fold; shifts are those of the graph's first input.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> notes = notes_of(receptive_fields(layers_graph("conv3p1")))
    >>> notes.folds, notes.shift.outputs[0].axes[0].broken_by[0].why
    (None, 'zero padding')
    """
    from fieldwise.folding.planner import plan
    from fieldwise.shift import certify

    graph = report.graph
    has_weights = any(node.parameters for node in graph.nodes)
    shifted = report.input.name == graph.inputs[0] and 0 not in report.input.shape
    return Notes(
        folds=plan(graph) if has_weights else None,
        shift=certify(graph, axes=report.axes) if shifted else None,
    )


def folds_as_data(folds: Plan | None) -> dict[str, Plain]:
    """By the value that an affine op makes: whether the op goes (1 or 0), and a sentence."""
    if folds is None:
        return {}
    found: dict[str, Plain] = {
        candidate.result: [0, f"{candidate.node.called} stays: {why}."]
        for candidate, why in folds.stays
    }
    for fold in folds.folds:
        candidate = fold.candidate
        sentence = f"{candidate.node.called} folds {_WAYS[fold.direction]} {fold.into}, exactly."
        found[candidate.result] = [1, sentence]
    for merge in folds.merges:
        for branch in merge.branches:
            found[branch.node.results[0]] = [
                1,
                f"It goes into the parallel convolution {merge.into}, exactly.",
            ]
    return found


_WAYS = {"backward": "into", "forward": "forwards into", "merge": "into the branch beside it,"}


def shift_as_data(found: Certificates | None, numbers: Mapping[str, int]) -> Plain:
    """The verdict of every output, and each node at which the proof of one ends, once."""
    if found is None:
        return None
    outputs = [
        {"name": one.name, "value": numbers.get(one.value), "axes": list(map(_axis, one.axes))}
        for one in found.outputs
    ]
    breakers: dict[tuple[str, str], dict[str, Plain]] = {}
    for one in _breakers(found):
        entry = breakers.setdefault((one.node, one.why), _breaker(one, numbers))
        axes = entry["axes"]
        assert isinstance(axes, list)
        if one.axis not in axes:
            axes.append(one.axis)
    return {"outputs": outputs, "breakers": list(breakers.values())}


def _breakers(found: Certificates) -> Iterator[Breaker]:
    """Those of the outputs: what breaks a value on the way may be put right behind it."""
    for one in found.outputs:
        for axis in one.axes:
            yield from axis.broken_by


def _breaker(one: Breaker, numbers: Mapping[str, int]) -> dict[str, Plain]:
    return {
        "node": one.node,
        "module": one.module,
        "value": numbers.get(one.node),
        "axes": [],
        "why": one.why,
        "remedy": one.remedy,
        "known": 1 if one.known else 0,
    }


def _axis(found: AxisCertificate) -> dict[str, Plain]:
    circular, interior = found.circular, found.interior
    return {
        "axis": found.axis,
        "circular": {
            "holds": int(circular.holds),
            "undecided": int(circular.undecided),
            "period": circular.period,
            "step": circular.step,
        },
        "interior": {
            "range": None if interior.range is None else list(interior.range),
            "period": interior.period,
            "step": interior.step,
        },
    }
