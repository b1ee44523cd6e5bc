"""Two independent answers to 'which input elements does this output element depend on?'.

``recorded`` composes the reads of a captured graph literally, index by index, as dense boolean
matrices; ``measured`` asks autograd in float64 for the non-zero pattern of the Jacobian, with
generic positive weights.  ``agree`` compares them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.axes import Border
from fieldwise.capture.graphs import read_graph
from fieldwise.capture.torch import capture
from fieldwise.capture.torch.capture import named_tensors
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import (
    Along,
    Coord,
    Fixed,
    Node,
    Read,
    Separable,
    Unknown,
    Whole,
)

Pattern = np.ndarray
Inputs = Literal["smooth", "peaks", "random", "basis"]


class Op(nn.Module):
    """A function of tensors, as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def agree(
    function: Callable[..., Any],
    *shapes: Sequence[int],
    inputs: Inputs = "smooth",
    exact: bool = True,
) -> Graph:
    """Assert that the graph reads what the Jacobian says, for every output and input.

    ``exact=False`` is for what depends on the data: the graph must read at least as much, and
    must say so (some read is Unknown).  Returns the graph.
    """
    model = (function if isinstance(function, nn.Module) else Op(function)).eval()
    graph = read_graph(capture(model, tuple(torch.empty(tuple(shape)) for shape in shapes)))
    reads = recorded(graph)
    truth = measured(model, shapes, inputs)
    assert set(reads) <= set(truth)
    for output, per_input in truth.items():
        for number, wanted in enumerate(per_input):
            name = graph.inputs[number]
            found = reads.get(output, {}).get(name, np.zeros_like(wanted))
            missed, extra = wanted & ~found, found & ~wanted
            assert not missed.any(), f"{output} misses {name}: {_show(missed)}"
            if exact:
                assert not extra.any(), f"{output} wrongly reads {name}: {_show(extra)}"
    assert bool(marks(graph)) is not exact, marks(graph)
    return graph


def decides(function: Callable[..., Any], *draws: tuple[Tensor, ...], exact: bool = True) -> Graph:
    """Assert that the graph reads all that a change of one element changes, in any of the draws.

    Integers and booleans count too: each element takes every value that its tensor holds.
    ``exact=False``: the graph may read more, and must say so.
    """
    model = Op(function)
    graph = capture(model, draws[0])
    reads = recorded(graph)
    for output, per_input in changed(model, draws).items():
        for number, wanted in enumerate(per_input):
            found = reads[output][graph.inputs[number]]
            missed, extra = wanted & ~found, found & ~wanted
            assert not missed.any(), f"{output} misses input {number}: {_show(missed)}"
            assert not (exact and extra.any()), f"{output} wrongly reads {number}: {_show(extra)}"
    assert bool(marks(graph)) is not exact, marks(graph)
    return graph


def marks(graph: Graph) -> set[str]:
    """The reasons of all reads that are Unknown."""
    return {
        coord.why
        for node in graph.nodes
        for reads in node.reads
        for read in reads
        for step in read.steps
        if isinstance(step, Separable)
        for coord in step.coords
        if isinstance(coord, Unknown)
    }


# -------------------------------------------------------------------- what the graph says


def recorded(graph: Graph) -> dict[str, dict[str, Pattern]]:
    """Per output and input, the matrix [output element, input element] of what is read."""
    known: dict[str, dict[str, Pattern]] = {
        name: {name: np.eye(prod(graph.shape(name)), dtype=bool)} for name in graph.inputs
    }
    for node in graph.nodes:
        for result, reads in zip(node.results, node.reads, strict=True):
            known[result] = _result(graph, node, result, reads, known)
    names = graph.output_names or graph.outputs
    return {name: known[value] for name, value in zip(names, graph.outputs, strict=True)}


def _result(
    graph: Graph,
    node: Node,
    result: str,
    reads: Sequence[Read],
    known: dict[str, dict[str, Pattern]],
) -> dict[str, Pattern]:
    size = prod(graph.shape(result))
    total = {name: np.zeros((size, prod(graph.shape(name))), dtype=bool) for name in graph.inputs}
    for read in reads:
        operand = node.operands[read.operand]
        matrix = np.eye(size, dtype=bool)
        shapes = (graph.shape(operand), *read.shapes, graph.shape(result))
        for step, (before, after) in reversed(list(zip(read.steps, pairwise(shapes), strict=True))):
            if isinstance(step, Separable):
                matrix = _chain(matrix, _step(step, before, after))
            assert prod(before) == matrix.shape[1]
        for name, pattern in known[operand].items():
            total[name] |= _chain(matrix, pattern)
    return total


def _chain(outer: Pattern, inner: Pattern) -> Pattern:
    return (outer.astype(np.float32) @ inner.astype(np.float32)) > 0


def _step(step: Separable, before: Sequence[int], after: Sequence[int]) -> Pattern:
    matrix = np.zeros((prod(after), prod(before)), dtype=bool)
    for row, index in enumerate(product(*map(range, after))):
        if all(index[dim] in set(allowed) for dim, allowed in step.where):
            sides = [_read(c, index, size) for c, size in zip(step.coords, before, strict=True)]
            for element in product(*sides):
                matrix[row, np.ravel_multi_index(element, before) if before else 0] = True
    return matrix


def _read(coord: Coord, index: tuple[int, ...], size: int) -> set[int]:
    if isinstance(coord, (Whole, Unknown)):
        return set(range(size))
    if isinstance(coord, Fixed):
        return set(coord.indices)
    assert isinstance(coord, Along)
    landed = (_land(i, size, coord.border) for i in coord.map(index[coord.dim]))
    return {i for i in landed if i is not None}


def _land(index: int, size: int, border: Border) -> int | None:
    if border is Border.DROP:
        return index if 0 <= index < size else None
    if border is Border.WRAP:
        return index % size
    if border is Border.CLAMP:
        return min(max(index, 0), size - 1)
    edge = 1 if border is Border.SYMMETRIC else 0
    while not 0 <= index < size:
        index = -edge - index if index < 0 else 2 * (size - 1) + edge - index
    return index


# -------------------------------------------------------------------- what autograd says


def measured(
    model: nn.Module, shapes: Sequence[Sequence[int]], inputs: Inputs
) -> dict[str, list[Pattern]]:
    """Per output, and per input in order, the non-zero pattern of the Jacobian.

    It is taken at one point ("smooth"); at one point per input element, which stands out there
    ("peaks", for maxima); at many ("random"); or, for a linear function of one input, from what
    it makes of the unit vectors ("basis": no trust in torch's backward).
    """
    model = _generic(model)
    if inputs == "basis":
        return _columns(model, *shapes)
    total: dict[str, list[Pattern]] = {}
    for tensors in _points(shapes, inputs):
        for name, patterns in _jacobian(model, tensors).items():
            if name in total:
                patterns = [a | b for a, b in zip(total[name], patterns, strict=True)]
            total[name] = patterns
    return total


def _generic(model: nn.Module) -> nn.Module:
    """A copy in float64 whose floating parameters and variances are random and positive."""
    model = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.1)
    return model


def _points(shapes: Sequence[Sequence[int]], inputs: Inputs) -> Iterator[tuple[Tensor, ...]]:
    """Inputs to differentiate at: one, one per element that then stands out, or several."""
    generator = torch.Generator().manual_seed(2)

    def draw() -> tuple[Tensor, ...]:
        return tuple(
            torch.rand(tuple(shape), generator=generator, dtype=torch.float64) + 0.5
            for shape in shapes
        )

    if inputs == "peaks":
        for number, shape in enumerate(shapes):
            for element in range(prod(shape)):
                tensors = draw()
                tensors[number].view(-1)[element] += 9
                yield tensors
        return
    for _ in range(40 if inputs == "random" else 1):
        yield draw()


def _jacobian(model: nn.Module, tensors: tuple[Tensor, ...]) -> dict[str, list[Pattern]]:
    for tensor in tensors:
        tensor.requires_grad_(True)
    found: dict[str, list[Pattern]] = {}
    for name, output in named_tensors(model(*tensors)):
        if not output.is_floating_point():
            continue
        rows: list[list[Pattern]] = [[] for _ in tensors]
        for element in output.reshape(-1):
            slopes = _gradient(element, tensors)
            for number, slope in enumerate(slopes):
                rows[number].append(slope)
        found[name] = [
            np.array(rows[n], dtype=bool).reshape(output.numel(), tensors[n].numel())
            for n in range(len(tensors))
        ]
    return found


def _gradient(element: Tensor, tensors: tuple[Tensor, ...]) -> list[Pattern]:
    if not element.requires_grad:
        return [np.zeros(t.numel(), dtype=bool) for t in tensors]
    slopes = torch.autograd.grad(element, tensors, retain_graph=True, allow_unused=True)
    return [
        np.zeros(t.numel(), dtype=bool) if s is None else (s.abs() > 1e-12).reshape(-1).numpy()
        for t, s in zip(tensors, slopes, strict=True)
    ]


def _columns(model: nn.Module, shape: Sequence[int]) -> dict[str, list[Pattern]]:
    basis = torch.eye(prod(shape), dtype=torch.float64)
    columns = [dict(named_tensors(model(row.view(*shape)))) for row in basis]
    return {
        name: [(torch.stack([c[name].reshape(-1) for c in columns], 1).abs() > 1e-12).numpy()]
        for name in columns[0]
    }


# -------------------------------------------------------------------- what a change says


def changed(model: nn.Module, draws: Sequence[tuple[Tensor, ...]]) -> dict[str, list[Pattern]]:
    """Per output, and per input in order, which elements change which, over all draws."""
    total: dict[str, list[Pattern]] = {}
    for tensors in draws:
        before = dict(named_tensors(model(*tensors)))
        for name, output in before.items():
            sizes = [(output.numel(), tensor.numel()) for tensor in tensors]
            total.setdefault(name, [np.zeros(size, dtype=bool) for size in sizes])
        for number, tensor in enumerate(tensors):
            values = tensor.unique()
            if tensor.is_floating_point():
                values = values[:: max(1, len(values) // 3)]
            for element, value in product(range(tensor.numel()), values):
                moved = tensor.clone()
                moved.view(-1)[element] = value
                after = model(*tensors[:number], moved, *tensors[number + 1 :])
                for name, output in named_tensors(after):
                    differs = ~torch.isclose(output, before[name], rtol=1e-9, equal_nan=True)
                    total[name][number][:, element] |= differs.reshape(-1).numpy()
    return total


def _show(pattern: Pattern) -> str:
    pairs = [f"{row}<-{column}" for row, column in np.argwhere(pattern)[:8]]
    return f"{', '.join(pairs)} ({pattern.sum()} in all)"
