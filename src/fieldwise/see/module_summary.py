"""``summary``: a network's modules with shapes, parameters, operations and what each sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fieldwise.capture.graphs import graph_of
from fieldwise.capture.models import as_source
from fieldwise.capture.torch.own_names import learned_by, operators_of
from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.report import Row
from fieldwise.graph.flops import multiplications
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.graph.names import resolve
from fieldwise.graph.spatial import Axes
from fieldwise.reports import Report


@dataclass(frozen=True, slots=True)
class ModuleRow:
    """One module, with all that is within it.

    name:       its path; '' for the model
    kind:       its class, a node's operator, or the operation of a value that is no module's
    depth:      how many modules it lies in
    parameters: elements of its parameters, each once
    macs:       multiplications of the convolutions, matrix products, attention and recurrent
                layers within it, at this size
    shape:      of what it returned last, the first of several; None where it did not run, or made
                constants alone
    field:      the row of that; None where it does not depend on the input
    others:     the shapes of the others that it returned with that
    """

    name: str
    kind: str
    depth: int
    parameters: int
    macs: int
    shape: Shape | None
    field: Row | None
    others: tuple[Shape, ...] = ()


@dataclass(frozen=True)
class ModuleSummary(Report):
    """A network at a glance: a row per module, the model first.

    report: the fields of all of its values
    """

    report: FieldReport
    modules: tuple[ModuleRow, ...]
    model: str | None = None

    @property
    def rows(self) -> Sequence[ModuleRow]:
        """A row per module."""
        return self.modules

    @property
    def parameters(self) -> int:
        """Elements of all parameters, each once."""
        return self.rows[0].parameters

    @property
    def macs(self) -> int:
        """Multiplications of all products of one run on an input of this size."""
        return self.rows[0].macs


def summary(
    model: object, example: object = None, *, depth: int | None = 3, axes: Axes | None = None
) -> ModuleSummary:
    """The modules of a network with output shapes, parameters, multiplications and fields.

    model, example, axes: as for ``receptive_fields``
    depth: how deep in the tree of modules; None for all

    Raises what ``receptive_fields`` raises.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    >>> found = summary(net, (1, 3, 32, 32))
    >>> found.parameters, found.macs, found.rows[1].kind
    (224, 221184, 'Conv2d')
    >>> found.rows[-1].field.extent, found.rows[-1].field.shape
    ((4, 4), (1, 8, 16, 16))
    """
    model, example = as_source(model, example)
    graph = graph_of(model, example)
    report = receptive_fields(graph, axes=axes)
    macs = _macs(graph)
    fields = {name: row for row in report.rows for name in row.names}
    if hasattr(model, "named_modules"):
        rows = list(_of_modules(model, graph, macs, fields, depth))
    else:
        rows = list(_of_values(report, macs))
    return ModuleSummary(report, tuple(rows))


def _of_modules(
    model: Any,
    graph: Graph,
    macs: Mapping[str, int],
    fields: Mapping[str, Row],
    depth: int | None,
) -> Iterator[ModuleRow]:
    operators, learned = operators_of(model), learned_by(model)
    for path, module, level in _tree(model, depth):
        runs = graph.scopes.get(path, ())
        returned = graph.outputs if not path else runs[-1] if runs else ()
        last = next(iter(returned), None)
        own = {id(one): one.numel() for one in (*module.parameters(), *learned.get(path, ()))}
        kind = operators.get(path, type(module).__name__)
        row, shape = (None, None) if last is None else (fields.get(last), graph.values[last].shape)
        others = tuple(graph.values[name].shape for name in returned[1:])
        yield ModuleRow(path, kind, level, sum(own.values()), macs.get(path, 0), shape, row, others)


def _tree(
    module: Any, most: int | None, path: str = "", level: int = 0
) -> Iterator[tuple[str, Any, int]]:
    """Every torch module with its path and depth; shared ones each time.

    By its children, since the names of an ONNX file's nodes hold dots.
    """
    yield path, module, level
    if most is None or level < most:
        for name, child in module._modules.items():
            if child is not None:
                yield from _tree(child, most, f"{path}.{name}" if path else name, level + 1)


def _of_values(report: FieldReport, macs: Mapping[str, int]) -> Iterator[ModuleRow]:
    """Of a graph without modules: a row per value."""
    graph = report.graph
    makers = {name: node for node in graph.nodes for name in node.results}
    rows = [row for row in report.rows if row.name != report.input.name]
    out = graph.values[graph.outputs[0]].shape
    yield ModuleRow("", "graph", 0, 0, macs.get("", 0), out, rows[-1] if rows else None)
    for row in rows:
        value = resolve(graph, row.name)
        own = multiplications(makers[value], graph.values)
        yield ModuleRow(row.name, row.op, 1, 0, own, row.shape, row)


def _macs(graph: Graph) -> Mapping[str, int]:
    """Per module path the multiplications within it, '' for all."""
    found: Counter[str] = Counter()
    for node in graph.nodes:
        own = multiplications(node, graph.values)
        parts = node.module.split(".") if node.module else []
        for length in range(len(parts) + 1):
            found[".".join(parts[:length])] += own
    return found
