"""How many paths lead from each input sample to a unit: the field with its multiplicities.

A sweep from the unit back to the source, as ``field.pull`` makes it, with a number per element in
the place of a set: a read whose coordinates follow result dimensions multiplies by the matrix of
its axis map along each.  Where all weights are one and all activations linear, the number of paths
is the gradient.  Of n layers of kernels of k samples it is an extended binomial distribution, which
tends to a Gaussian of σ = √(n (k² − 1) / 12) (Luo et al., 2016, section 2.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.field.analysis import FieldReport
from fieldwise.graph.calls import change_arguments
from fieldwise.graph.ir import (
    Along,
    Fixed,
    Node,
    Read,
    Ref,
    Separable,
    Shape,
    Step,
    Unknown,
    Whole,
)
from fieldwise.graph.names import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PathCounts:
    """The paths from every sample of a source to one unit, all channels of both counted.

    shares: per sample of the reported axes, its share of all paths; sums to one
    log2:   the binary logarithm of the number of all paths
    exact:  whether every read on the way is known; else some paths may not be there
    """

    shares: Floats
    log2: float
    exact: bool

    @property
    def total(self) -> float:
        """The number of all paths; ``inf`` beyond the largest float."""
        return float(np.exp2(self.log2)) if self.log2 < 1024 else float("inf")


def path_counts(report: FieldReport, name: str, unit: Sequence[int]) -> PathCounts:
    """The paths from every sample of the report's source to a unit of the value ``name``.

    ``unit`` is as for ``report[name].at``.  Shares are right to some 1e-13, as sums and products of
    positive numbers are.  Raises UsageError for an unknown name and for a unit outside the map.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> report = receptive_fields(layers_graph("conv3 conv3", (1, 1, 9)))
    >>> counts = path_counts(report, report.graph.outputs[0], (2,))
    >>> (counts.shares * counts.total).round().astype(int).tolist()
    [0, 0, 1, 2, 3, 2, 1, 0, 0]
    """
    graph, name = report.graph, resolve(report.graph, name)
    source = report.input.name
    pending = {name: _start(report, name, unit)}
    exact = True
    for node in reversed(graph.nodes):
        for position, result in enumerate(node.results):
            if result == source or result not in pending:
                continue
            counts = pending.pop(result)
            for read in node.reads[position]:
                operand = node.operands[read.operand]
                shape = graph.shape(operand)
                times = _times(node, node.reads[position], read.operand)
                found = _pulled(read, counts, shape, graph.shape(result), times)
                exact &= not any(isinstance(coord, Unknown) for coord in read.coords())
                pending[operand] = _sum(pending.get(operand), found)
    counts = pending.get(source, _Counts(np.zeros(report.input.shape), 0))
    others = tuple(dim for dim in range(len(report.input.shape)) if dim not in report.axes)
    values = counts.values.sum(others)
    total = values.sum()
    if not total:
        return PathCounts(values, -np.inf, exact)
    return PathCounts(values / total, float(np.log2(total)) + counts.exponent, exact)


@dataclass(frozen=True, slots=True)
class _Counts:
    """Numbers of paths: ``values`` · 2^``exponent``."""

    values: Floats
    exponent: int


def _start(report: FieldReport, name: str, unit: Sequence[int]) -> _Counts:
    values = np.zeros(report.graph.shape(name))
    for product in report.unit_region(name, unit).products:
        values[np.ix_(*(list(side) for side in product))] = 1
    return _Counts(values, 0)


def _sum(one: _Counts | None, two: _Counts) -> _Counts:
    """Both, at an exponent at which the larger is near one."""
    if one is None:
        return _scaled(two)
    if one.exponent < two.exponent:
        one, two = two, one
    return _scaled(
        _Counts(one.values + np.ldexp(two.values, two.exponent - one.exponent), one.exponent)
    )


def _scaled(counts: _Counts) -> _Counts:
    largest = counts.values.max(initial=0.0)
    if not largest:
        return counts
    power = int(np.frexp(largest)[1])
    return _Counts(np.ldexp(counts.values, -power), counts.exponent + power)


def _times(node: Node, reads: Sequence[Read], operand: int) -> int:
    """How often a call takes an operand per read of it: x + x reads x once, and takes it twice."""
    taken: list[int] = []
    if node.source is not None:
        change_arguments(
            Ref, lambda ref: taken.append(ref.operand), node.source.args, node.source.kwargs
        )
    return max(1, taken.count(operand) // sum(read.operand == operand for read in reads))


def _pulled(read: Read, counts: _Counts, operand: Shape, result: Shape, times: int) -> _Counts:
    counts = _Counts(counts.values * times, counts.exponent)
    for step, before, after in read.backward(operand, result):
        counts = _Counts(_through(step, counts.values, before, after), counts.exponent)
    return counts


def _through(step: Step, values: Floats, before: Shape, after: Shape) -> Floats:
    """Counts per element of a result, as counts per element of what one step reads."""
    if not isinstance(step, Separable):
        return values.reshape(before)
    for dim, indices in step.where:
        inside = np.zeros(after[dim])
        inside[list(indices.clip(after[dim]))] = 1
        values = values * inside.reshape([-1 if d == dim else 1 for d in range(len(after))])
    matrices: list[tuple[Floats, list[int]]] = []
    labels: list[int | None] = []
    free = iter(range(len(after), len(after) + len(before)))
    driven = [coord.dim for coord in step.coords if isinstance(coord, Along)]
    for coord, size in zip(step.coords, before, strict=True):
        if not isinstance(coord, Along):
            labels.append(None)
        elif driven.count(coord.dim) == 1 and _is_plain(coord, size, after[coord.dim]):
            labels.append(coord.dim)
        else:
            label = next(free)
            labels.append(label)
            matrix = _matrix(coord.map, coord.border, size, after[coord.dim])
            matrices.append((matrix, [coord.dim, label]))
    terms: list[object] = [values, list(range(len(after)))]
    for matrix, pair in matrices:
        terms += [matrix, pair]
    kept = [label for label in labels if label is not None]
    found = np.einsum(*terms, kept, optimize=True)  # type: ignore[call-overload]
    spread = [size if label is not None else 1 for size, label in zip(before, labels, strict=True)]
    return _spread(np.asarray(found).reshape(spread), step, before)


def _spread(found: Floats, step: Separable, before: Shape) -> Floats:
    """The same at every index of dimensions read whole, and at the fixed ones of others."""
    for dim, (coord, size) in enumerate(zip(step.coords, before, strict=True)):
        if isinstance(coord, Fixed):
            inside = np.zeros(size)
            inside[list(coord.indices.clip(size))] = 1
            found = found * inside.reshape([-1 if d == dim else 1 for d in range(len(before))])
        elif isinstance(coord, (Whole, Unknown)):
            found = np.broadcast_to(found, (*found.shape[:dim], size, *found.shape[dim + 1 :]))
    return np.ascontiguousarray(found)


def _is_plain(coord: Along, before: int, after: int) -> bool:
    return coord.border is Border.DROP and coord.keeps(before, after)


@lru_cache(maxsize=256)
def _matrix(index: AxisMap | Table, border: Border, before: int, after: int) -> Floats:
    """How often result index q reads operand index i, as [q, i]."""
    matrix = np.zeros((after, before))
    for row in range(after):
        read = index.pull(IndexSet(row, 1))
        if border is Border.DROP or not isinstance(read, IndexSet):
            matrix[row, list(border.land(read, before))] = 1
            continue
        for tap in read:
            matrix[row, list(border.land(IndexSet(tap, 1), before))] += 1
    matrix.flags.writeable = False
    return matrix
