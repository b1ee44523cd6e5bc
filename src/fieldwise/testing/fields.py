"""Receptive fields held against what is measured: ``check_reads`` and ``check_field``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import nn

from fieldwise.axes import IndexSet, Region
from fieldwise.capture.graphs import read_graph
from fieldwise.capture.torch.capture import capture
from fieldwise.errors import FieldwiseError
from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.pull import Reach, pull
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.testing.outcome import Outcome, outcome_of, worst
from fieldwise.testing.running import Inputs, as_module, doubled, in_full
from fieldwise.testing.truth import Truth

_LOOKS = 2
"""Draws to look at, whatever is claimed."""

_PATIENCE = 64
"""Draws in a row that may show nothing new of what is claimed, before it is called wrong."""

_AT_ONCE = 8
"""Input elements that such a draw looks at."""

_UNITS = 6


def field_outcome(
    model: object,
    inputs: Inputs,
    *,
    variants: Sequence[nn.Module] = (),
    others: Sequence[nn.Module] = (),
    rows: int = 96,
    columns: int = 24,
) -> Outcome:
    """How the fields of a model, by pulling and in closed form, compare with what is measured.

    model:    a module or a function of the ``inputs``, which are in the precision to measure in
    variants: the model with other values in the constants that count as generic
    others:   with other values in constants that do not (numbers of classes, masks): what is
              said to matter, and does so in one of these only, makes the case a degenerate one
    rows:     most elements that are watched of each output; columns: that are changed of each input
    """
    module = as_module(model)
    looked = partial(Truth, module, inputs, rows=rows, columns=columns)
    outcome = _field_outcome(looked(variants))
    if outcome.verdict != "wrong" or not others:
        return outcome
    elsewhere = _field_outcome(looked((*variants, *others)))
    if elsewhere.failed:
        return outcome
    return Outcome("degenerate", f"for its whole-number constants: {outcome.why}", outcome.compared)


def _field_outcome(truth: Truth) -> Outcome:
    truth.observe(_LOOKS)
    try:
        graph = read_graph(capture(truth.model, truth.inputs))
    except FieldwiseError as error:
        return _refused(error, truth)
    except Exception as error:  # noqa: BLE001 - what else comes out is what is looked for
        return outcome_of(error)
    try:
        pulled = worst(_compared(graph, name, n, truth) for n, name in enumerate(graph.inputs))
        reports = [_report(graph, name) for name in graph.inputs]
    except Exception as error:  # noqa: BLE001
        return outcome_of(error)
    if not pulled.compared:
        return Outcome("nothing", "no output has any elements, or no input has")
    return worst([pulled, *reports])


def _refused(error: FieldwiseError, truth: Truth) -> Outcome:
    """A model that depends on nothing is rightly said to have no field."""
    if "No output of the model depends on its input" not in str(error):
        return outcome_of(error)
    for name, patterns in truth.sure.items():
        for number, pattern in enumerate(patterns):
            if pattern.any():
                return Outcome(
                    "wrong",
                    f"{name} is said to depend on nothing, but depends on "
                    f"input {number}: {_pairs(pattern, truth, name, number)}",
                )
    return Outcome("exact", "it depends on nothing", sum(map(len, truth.watched.values())))


def _compared(graph: Graph, source: str, number: int, truth: Truth) -> Outcome:
    names = graph.output_names or graph.outputs
    values = dict(zip(names, graph.outputs, strict=True))
    return worst(
        _output(graph, values.get(name), name, source, number, truth) for name in truth.watched
    )


def _output(
    graph: Graph, value: str | None, name: str, source: str, number: int, truth: Truth
) -> Outcome:
    """One output and one input: every watched element against every tried one."""
    rows, columns = truth.watched[name], truth.tried[number]
    if value is not None and graph.shape(value) != tuple(truth.shapes[name]):
        return Outcome(
            "wrong",
            f"{name} is said to have the shape {graph.shape(value)}, but has "
            f"{tuple(truth.shapes[name])}",
            1,
        )
    most = np.zeros((len(rows), len(columns)), dtype=bool)
    least = most.copy()
    places = truth.is_whole(name) and not truth.is_whole(number)
    whys: dict[str, None] = {}
    for row, index in enumerate(rows if value is not None else ()):
        reach = _reach(graph, str(value), int(index), source)
        most[row] = _flat(reach.region, graph.shape(source))[columns]
        if places and reach.region.count <= 1:
            continue  # the place of the largest of one element is known
        least[row] = _flat(reach.sure, graph.shape(source))[columns]
        if not reach.exact:
            whys[reach.why or "?"] = None
    missed = truth.sure[name][number] & ~most
    if missed.any():
        told = _pairs(missed, truth, name, number)
        return Outcome("wrong", f"{name} misses elements of {source}: {told}", 1)
    _look_again(truth, name, number, least)
    extra = least & ~truth.borne_out(name, number)
    compared = most.size
    if extra.any():
        told = _pairs(extra, truth, name, number)
        return Outcome(
            "wrong",
            f"{name} is said to depend on elements of {source} that do not matter: {told}",
            compared,
        )
    if not whys:
        return Outcome("exact", compared=compared)
    why = "; ".join(whys)
    return Outcome("unknown" if "has no rule" in why else "bound", why, compared)


def _look_again(truth: Truth, name: str, number: int, claimed: np.ndarray) -> None:
    """Observe more, until all that is claimed was seen, or no more of it is to be seen."""
    idle, left = 0, claimed & ~truth.borne_out(name, number)
    while left.any() and idle < _PATIENCE:
        columns = np.flatnonzero(left.any(0))[:_AT_ONCE]
        nothing = np.array([], dtype=int)
        truth.observe(only=[columns if n == number else nothing for n in range(len(truth.tried))])
        before, left = left, claimed & ~truth.borne_out(name, number)
        idle = 0 if left.sum() < before.sum() else idle + 1


def _reach(graph: Graph, value: str, index: int, source: str) -> Reach:
    place = np.unravel_index(index, graph.shape(value))
    unit = Region.of([tuple(IndexSet(int(i), 1) for i in place)])
    return pull(graph, value, unit, source=source)


def _flat(region: Region, shape: Shape) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for product in region.products:
        mask[np.ix_(*(list(side) for side in product))] = True
    return mask.reshape(-1)


def _pairs(pattern: np.ndarray, truth: Truth, name: str, number: int) -> str:
    """The first few (output element <- input element)."""
    shape_out, shape_in = truth.shapes[name], truth.inputs[number].shape
    told = [
        f"{_place(truth.watched[name][row], shape_out)}<-"
        f"{_place(truth.tried[number][column], shape_in)}"
        for row, column in np.argwhere(pattern)[:4]
    ]
    return f"{', '.join(told)} ({int(pattern.sum())} in all)"


def _place(index: int, shape: Sequence[int]) -> str:
    return ",".join(str(int(i)) for i in np.unravel_index(index, tuple(shape))) or "()"


# -------------------------------------------------------------------- the report


def _report(graph: Graph, source: str) -> Outcome:
    """The rows of the report, and the closed form against the pull."""
    try:
        report = receptive_fields(graph, wrt=source)
        rows = {row.name: row for row in report.rows}
    except FieldwiseError as error:
        return outcome_of(error)
    found = []
    for value in dict.fromkeys(graph.outputs):
        if value in rows:
            found += [_unit(report, value, unit) for unit in _units(report, value)]
    return worst(found)


def _units(report: FieldReport, value: str) -> list[tuple[int, ...]]:
    shape = report.graph.shape(value)
    sizes = tuple(shape[dim] for dim in report.roles(value).unit)
    total = int(np.prod(sizes, dtype=int))
    chosen = np.unique(np.linspace(0, total - 1, min(total, _UNITS)).astype(int))
    return [tuple(int(i) for i in np.unravel_index(n, sizes)) for n in chosen]


def _unit(report: FieldReport, value: str, unit: tuple[int, ...]) -> Outcome:
    """Inside, the closed form of a unit is what is pulled; a bound covers it."""
    row, seen = report.find(value), report[value].at(*unit)
    closed = Region(report[value].unbounded(*unit))
    pulled = Region(seen.products)
    if not seen.inside or not pulled.products:
        return Outcome("exact", compared=1)
    if not pulled.issubset(closed):
        return Outcome(
            "wrong",
            f"the closed form of position {unit} of {value} is {closed}, but it reads {pulled}",
            1,
        )
    sharp = row.exact and not row.at_this_size and not any(axis.full for axis in row.axes)
    if sharp and not closed.issubset(pulled):
        return Outcome(
            "wrong",
            f"the closed form of position {unit} of {value} is {closed}, "
            f"but it reads only {pulled}",
            1,
        )
    return Outcome("exact", compared=1)


# -------------------------------------------------------------------- for users


def check_field(model: nn.Module, *inputs: object) -> Outcome:
    """Hold the fields of a model against what is measured on it.

    Every output element is asked which input elements it depends on; the answer is compared with
    what changes when single input elements are changed, and with derivatives, in double precision
    on several draws of inputs.  Weights should be generic: a weight of zero shows nothing.

    Raises AssertionError that names the first elements that differ, and where nothing was compared.

    >>> import torch
    >>> check_field(nn.Conv1d(1, 1, 3, dilation=2), torch.randn(1, 1, 9)).verdict
    'exact'
    """
    return field_outcome(doubled(as_module(model)), in_full(model, inputs)).required()


def check_reads(op: object, *inputs: object) -> Outcome:
    """Hold the rule of an op, given as a function of tensors, against what is measured on it.

    The same as ``check_field``.

    >>> import torch
    >>> check_reads(lambda x: x.flip(-1)[..., 1:], torch.randn(2, 5)).verdict
    'exact'
    """
    return field_outcome(doubled(as_module(op)), in_full(op, inputs)).required()
