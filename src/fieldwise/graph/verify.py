"""Whether a graph is well-formed: what every capture promises and every analysis relies on."""

from __future__ import annotations

from collections.abc import Iterable

from fieldwise.axes import IndexSet, Table
from fieldwise.errors import GraphError
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import (
    Along,
    Fixed,
    Node,
    Read,
    Reshape,
    Separable,
    Shape,
    Step,
    numel,
)
from fieldwise.remembered import Remembered


def verify(graph: Graph) -> None:
    """Return if the graph is well-formed; else raise GraphError naming the node and the value.

    Well-formed: every operand is an input or was made by an earlier node; every value is made
    once and described in ``values``, which describes nothing else; outputs and scopes name
    values; every result has its reads, and each read fits the shapes on both sides of each of
    its steps.

    >>> from fieldwise.graph.graph import Graph
    >>> from fieldwise.graph.ir import Node, Value, identity
    >>> relu = Node("relu", ("y",), ("z",), ((identity(0, 1),),))
    >>> verify(Graph(("x",), (relu,), ("z",), {"x": Value("x", (8,)), "z": Value("z", (8,))}))
    Traceback (most recent call last):
    fieldwise.errors.GraphError: Node 'z' (relu) reads 'y', which no value is called.
    """
    _verify_values(graph)
    _verify_order(graph)
    _verify_names("Output", graph.outputs, graph)
    for path, runs in graph.scopes.items():
        for names in runs:
            _verify_names(f"Scope '{path}' result", names, graph)
    if graph.output_names and len(graph.output_names) != len(graph.outputs):
        raise GraphError(
            f"The graph has {len(graph.outputs)} outputs and {len(graph.output_names)} names "
            "for them."
        )
    for node in graph.nodes:
        _verify_reads(node, graph)


def _verify_values(graph: Graph) -> None:
    for name, value in graph.values.items():
        if value.name != name:
            raise GraphError(f"The value listed as '{name}' calls itself '{value.name}'.")
    made = {name for node in graph.nodes for name in node.results}.union(graph.inputs)
    for name in graph.values:
        if name not in made:
            raise GraphError(f"Value '{name}' is neither an input nor the result of a node.")


def _verify_order(graph: Graph) -> None:
    """Single producers, and operands that exist before they are used."""
    ready: set[str] = set()
    for name in graph.inputs:
        if name in ready:
            raise GraphError(f"Input '{name}' is listed twice.")
        if name not in graph.values:
            raise GraphError(f"Input '{name}' is missing from the values.")
        ready.add(name)
    for node in graph.nodes:
        for name in node.operands:
            if name not in graph.values:
                raise GraphError(f"{_title(node)} reads '{name}', which no value is called.")
            if name not in ready:
                raise GraphError(f"{_title(node)} reads '{name}' before it is made.")
        for name in node.results:
            if name in ready:
                raise GraphError(f"{_title(node)} makes '{name}', which exists already.")
            if name not in graph.values:
                raise GraphError(f"{_title(node)} makes '{name}', missing from the values.")
            ready.add(name)


def _verify_names(what: str, names: Iterable[str], graph: Graph) -> None:
    for name in names:
        if name not in graph.values:
            raise GraphError(f"{what} '{name}' is not a value of the graph.")


def find_misfit(node: Node, graph: Graph) -> str | None:
    """Why the reads of a node do not fit the shapes; None where they do."""
    try:
        _verify_reads(node, graph)
    except GraphError as error:
        return str(error)
    return None


def _verify_reads(node: Node, graph: Graph) -> None:
    if not node.results:
        raise GraphError(f"A node ({node.op}) in module '{node.module}' makes no value.")
    if len(node.reads) != len(node.results):
        raise GraphError(
            f"{_title(node)} makes {len(node.results)} values and describes the reads of "
            f"{len(node.reads)}."
        )
    for result, reads in zip(node.results, node.reads, strict=True):
        for read in reads:
            try:
                _verify_read(read, node, graph.shape(result), graph)
            except GraphError as error:
                raise GraphError(f"{_title(node)}, value '{result}': {error}") from None


def _verify_read(read: Read, node: Node, result_shape: Shape, graph: Graph) -> None:
    if not 0 <= read.operand < len(node.operands):
        raise GraphError(f"there is no operand {read.operand}, only {len(node.operands)}.")
    operand = node.operands[read.operand]
    key = id(read), graph.shape(operand), result_shape
    if _FITTING.find(key) is read:
        return
    if len(read.shapes) != len(read.steps) - 1:
        raise GraphError(
            f"the read of '{operand}' has {len(read.steps)} steps and {len(read.shapes)} shapes "
            "between them."
        )
    for step, before, after in read.forward(graph.shape(operand), result_shape):
        try:
            _verify_step(step, before, after)
        except GraphError as error:
            raise GraphError(f"the read of '{operand}' {error}") from None
    _FITTING.add(key, read)


_FITTING = Remembered[Read](most=1 << 13)
"""By identity, reads that fit the shapes of an operand and a result: they do so in every graph."""


def _verify_step(step: Step, before: Shape, after: Shape) -> None:
    if isinstance(step, Reshape):
        if numel(before) != numel(after):
            raise GraphError(
                f"reshapes {before} of {numel(before)} elements to {after} of {numel(after)}."
            )
        return
    _verify_separable(step, before, after)


def _verify_separable(step: Separable, before: Shape, after: Shape) -> None:
    if len(step.coords) != len(before):
        raise GraphError(f"has {len(step.coords)} coordinates for the shape {before}.")
    for dim, coord in enumerate(step.coords):
        if isinstance(coord, Along):
            _verify_along(coord, after)
        elif isinstance(coord, Fixed):
            _verify_inside(coord.indices, before, dim, "takes")
    for dim, indices in step.where:
        if not 0 <= dim < len(after):
            raise GraphError(f"restricts dimension {dim}, which the shape {after} lacks.")
        _verify_inside(indices, after, dim, "restricts")


def _verify_along(coord: Along, after: Shape) -> None:
    if not 0 <= coord.dim < len(after):
        raise GraphError(f"follows dimension {coord.dim}, which the shape {after} lacks.")
    if isinstance(coord.map, Table) and len(coord.map) != after[coord.dim]:
        raise GraphError(
            f"has a table of {len(coord.map)} rows for dimension {coord.dim} of {after}."
        )


def _verify_inside(indices: IndexSet, shape: Shape, dim: int, verb: str) -> None:
    if indices.clip(shape[dim]) != indices:
        raise GraphError(f"{verb} {indices} in dimension {dim} of {shape}, which is too small.")


def _title(node: Node) -> str:
    return f"Node '{node.results[0] if node.results else node.module}' ({node.op})"
