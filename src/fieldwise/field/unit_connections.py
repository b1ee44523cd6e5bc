"""Which units of each layer read which units below, along one axis: a network's connections.

The data of a connection diagram.  Every value on the way from the input to the chosen layer is a
row of units; an element-wise op on one row (a ReLU, a BatchNorm) is part of that row.
The edges of a unit come from the reads of its node, those that the chosen unit depends on from a
pull that keeps channels and all other dimensions, so that ``chunk`` after ``cat`` follows the
right branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice

from fieldwise.axes import EMPTY, IndexSet, Region
from fieldwise.errors import UsageError
from fieldwise.field.analysis import FieldReport, receptive_fields
from fieldwise.field.pull import pull
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Along, Node, Read
from fieldwise.graph.names import resolve


@dataclass(frozen=True, slots=True)
class Edge:
    """Unit ``out`` of a row reads the row ``below`` at ``position``.

    position: an index of the row below; outside [0, size) it lies in the padding
    index:    the unit read there (of a circular padding, one at the other end); None where the
              padding has a value of its own, which depends on nothing
    seen:     whether the chosen unit depends on what is read; of padding, on the unit that reads
    """

    out: int
    below: int
    position: int
    index: int | None
    seen: bool = False


@dataclass(frozen=True, slots=True)
class UnitRow:
    """The units of one layer along the axis.

    names:         the values that share the row, in execution order
    size:          the number of units
    start, stride: unit i stands at start + stride·i in input coordinates: where the field is
                   regular the centre of what it sees, else evenly spread over the input
    seen:          the units that the chosen unit depends on
    edges:         what the units read of the rows below
    """

    names: tuple[str, ...]
    size: int
    start: Fraction
    stride: Fraction
    seen: IndexSet = EMPTY
    edges: tuple[Edge, ...] = ()

    def position(self, index: int) -> Fraction:
        """Where unit ``index``, or the padding there, stands in input coordinates."""
        return self.start + self.stride * index


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections of a network along one axis of its input, and one unit's share of them.

    rows:      the input first, the chosen layer last
    unit:      the chosen unit of the last row
    axis:      the input dimension along which the rows stand
    field:     the input samples that the unit depends on
    unbounded: what it would see of an input without borders
    full:      a global operation made the layer see the whole axis, however long
    exact:     whether the unit depends on exactly this; else on no more, see ``why``
    """

    rows: tuple[UnitRow, ...]
    unit: int
    axis: int
    field: IndexSet
    unbounded: IndexSet
    full: bool = False
    exact: bool = True
    why: str | None = None


def connections(
    model: object,
    example: object = None,
    *,
    layer: str | None = None,
    unit: int | None = None,
    axis: int | None = None,
) -> Connections:
    """The connections from the input to a layer, and those that one of its units depends on.

    model, example: as for ``receptive_fields``
    layer: a value or module path; by default the (first) output
    unit:  along the axis; by default the middle one
    axis:  of the input; by default its first spatial one

    Raises UsageError for an unknown layer, axis or unit, where a layer spreads the axis over
    several dimensions (windows), which no row of units shows, and for more units or connections
    than can be looked at.

    >>> from fieldwise.capture.layers import layers_graph
    >>> found = connections(layers_graph("conv3/2 relu conv3"), unit=2)
    >>> [row.names for row in found.rows]
    [('input',), ('conv3/2', 'relu'), ('conv3',)]
    >>> found.field, found.rows[1].seen
    (IndexSet{4..10}, IndexSet{2..4})
    >>> found.rows[1].start, found.rows[1].stride
    (Fraction(1, 1), Fraction(2, 1))
    """
    report = receptive_fields(model, example, axes=None if axis is None else (axis,))
    if len(report.axes) > 1:
        report = receptive_fields(report.graph, axes=report.axes[:1])
    asked = report.find(report.graph.outputs[0] if layer is None else layer)
    name = resolve(report.graph, asked.name)
    wanted = _ancestors(report.graph, name)
    dims = {row.name: _dim(report, row.name) for row in report.rows if row.name in wanted}
    found = _Network(report, report.graph, dims).seen_by(name, unit)
    *below, top = found.rows
    return replace(found, rows=(*below, replace(top, names=(*top.names[:-1], asked.name))))


_Use = tuple[str, int, str, int]
"""(value, its unit, operand, the operand's unit): a connection that the chosen unit depends on."""


@dataclass(frozen=True, slots=True)
class _Network:
    """A network along one axis; ``dims`` says per value which dimension runs along it."""

    report: FieldReport
    graph: Graph
    dims: Mapping[str, int | None]

    def seen_by(self, name: str, unit: int | None) -> Connections:
        units = sum(map(self._size, self.dims))
        if units > _MAX_UNITS:
            raise UsageError(
                f"A diagram of {units} dots is too large to look at; give a smaller input, with "
                f"at most {_MAX_UNITS} in all layers together."
            )
        chosen = self._size(name) // 2 if unit is None else unit
        position = () if self.dims[name] is None and chosen == 0 else (chosen,)
        found = self.report[name].at(*position)
        reached, used = self._backwards(name, chosen)
        return Connections(
            rows=self._rows(reached, used),
            unit=chosen,
            axis=self.report.axes[0],
            field=_hull(found.products),
            unbounded=_hull(self.report[name].unbounded(*position)),
            full=self.report.find(name).axes[0].full,
            exact=found.exact,
            why=found.why,
        )

    def _size(self, name: str) -> int:
        dim = self.dims[name]
        return 1 if dim is None else self.graph.shape(name)[dim]

    # ---------------------------------------------------------------- what one unit depends on

    def _backwards(self, name: str, unit: int) -> tuple[dict[str, IndexSet], set[_Use]]:
        """Per value the units that this unit depends on, and the edges it depends on them by."""
        pending = {name: self._only(name, self._everything(name), unit)}
        reached: dict[str, IndexSet] = {}
        used: set[_Use] = set()
        for node, result in self._backward_order():
            region = pending.pop(result, Region())
            reached[result] = self._along(result, region)
            for out in reached[result]:
                part = self._only(result, region, out)
                for operand in self._operands(node):
                    found = self._through(node, result, part, operand)
                    pending[operand] = pending.get(operand, Region()) | found
                    used.update(
                        (result, out, operand, index) for index in self._along(operand, found)
                    )
        source = self.report.input.name
        reached[source] = self._along(source, pending.get(source, Region()))
        return reached, used

    def _backward_order(self) -> Iterator[tuple[Node, str]]:
        for node in reversed(self.graph.nodes):
            for result in node.results:
                if result in self.dims and result != self.report.input.name:
                    yield node, result

    def _operands(self, node: Node) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in node.operands if name in self.dims))

    def _through(self, node: Node, result: str, region: Region, operand: str) -> Region:
        alone = Graph(node.operands, (node,), (result,), self.graph.values)
        return pull(alone, result, region, source=operand).region

    def _everything(self, name: str) -> Region:
        sides = [IndexSet.range(0, size) for size in self.graph.shape(name)]
        for dim in self.report.roles(name).batch:
            sides[dim] = IndexSet(0, 1)
        return Region.of([tuple(sides)])

    def _only(self, name: str, region: Region, unit: int) -> Region:
        dim = self.dims[name]
        if dim is None:
            return region
        alone = IndexSet(unit, 1)
        return Region.of(
            (*product[:dim], product[dim] & alone, *product[dim + 1 :])
            for product in region.products
        )

    def _along(self, name: str, region: Region) -> IndexSet:
        dim = self.dims[name]
        if not region:
            return EMPTY
        return IndexSet(0, 1) if dim is None else region.hull()[dim]

    # ---------------------------------------------------------------- rows and edges

    def _rows(self, reached: Mapping[str, IndexSet], used: set[_Use]) -> tuple[UnitRow, ...]:
        source = self.report.input.name
        rows = [self._row(source, reached, ())]
        row_of = {source: 0}
        for node in self.graph.nodes:
            for place, name in enumerate(node.results):
                if name not in self.dims or name in row_of:
                    continue
                home = self._shared_row(node, place, name, row_of)
                if home is None:
                    found = islice(self._edges(node, place, name, row_of, used), _MAX_EDGES + 1)
                    edges = tuple(dict.fromkeys(found))
                    _check_edges(name, len(edges))
                    row_of[name] = len(rows)
                    rows.append(self._row(name, reached, edges))
                else:
                    row_of[name] = home
                    rows[home] = replace(
                        rows[home],
                        names=(*rows[home].names, name),
                        seen=rows[home].seen | reached[name],
                    )
        return tuple(rows)

    def _shared_row(
        self, node: Node, place: int, name: str, row_of: Mapping[str, int]
    ) -> int | None:
        """The row that an element-wise op on one row shares with its operand; else None."""
        reads = [read for read in node.reads[place] if node.operands[read.operand] in self.dims]
        below = {row_of[node.operands[read.operand]] for read in reads}
        if len(below) != 1 or any(
            read.single is None
            or read.single.where
            or not read.single.is_identity
            or self.graph.shape(node.operands[read.operand]) != self.graph.shape(name)
            for read in reads
        ):
            return None
        return below.pop()

    def _row(self, name: str, reached: Mapping[str, IndexSet], edges: tuple[Edge, ...]) -> UnitRow:
        start, stride = self._places(name)
        return UnitRow((name,), self._size(name), start, stride, reached[name], edges)

    def _edges(
        self,
        node: Node,
        place: int,
        name: str,
        row_of: Mapping[str, int],
        used: set[_Use],
    ) -> Iterator[Edge]:
        seen = {(out, operand, index) for result, out, operand, index in used if result == name}
        outs_seen = {out for out, _, _ in seen}
        for read in node.reads[place]:
            operand = node.operands[read.operand]
            if operand not in self.dims:
                continue
            for out in range(self._size(name)):
                for position, index in self._reads(node, name, read, out):
                    is_seen = out in outs_seen if index is None else (out, operand, index) in seen
                    yield Edge(out, row_of[operand], position, index, is_seen)

    def _reads(
        self, node: Node, name: str, read: Read, out: int
    ) -> Iterator[tuple[int, int | None]]:
        """Where one unit reads an operand, padding included where the read is a regular one."""
        operand = node.operands[read.operand]
        coord = self._regular(name, operand, read)
        if coord is None:
            only = self._only(name, self._everything(name), out)
            for index in self._along(operand, self._through(node, name, only, operand)):
                yield index, index
        elif self._reads_at_all(name, read, out):
            for position in coord.map(out):
                landed = coord.border.land(IndexSet(position, 1), self._size(operand))
                yield position, landed.first if landed else None

    def _regular(self, name: str, operand: str, read: Read) -> Along | None:
        """The coordinate of the axis, where the read is one step that follows it."""
        dim, result_dim = self.dims[operand], self.dims[name]
        if read.single is None or dim is None or result_dim is None:
            return None
        coord = read.single.coords[dim]
        return coord if isinstance(coord, Along) and coord.dim == result_dim else None

    def _reads_at_all(self, name: str, read: Read, out: int) -> bool:
        assert read.single is not None
        where = read.single.where
        return all(out in indices for dim, indices in where if dim == self.dims[name])

    def _places(self, name: str) -> tuple[Fraction, Fraction]:
        """(start, stride): the mean centre over the phases, or spread evenly."""
        size = self._size(name)
        closed = self.report.find(name).axes[0].map
        index = None if closed is None else closed.bounded
        if index is not None and self.dims[name] is not None and index.rate:
            last = self.report.unbounded(name, (size - 1,))
            if last and _hull(last) == index(size - 1):
                centres = [
                    Fraction(offset.first + offset.last, 2) - index.rate * phase
                    for phase, offset in enumerate(index.offsets)
                    if offset
                ]
                return sum(centres, Fraction(0)) / len(centres), index.rate
        stride = Fraction(self.report.input.shape[self.report.axes[0]], size)
        return (stride - 1) / 2, stride


def _check_edges(name: str, count: int) -> None:
    if count > _MAX_EDGES:
        raise UsageError(
            f"The positions of '{name}' have more than {_MAX_EDGES} connections, too many to look "
            "at; give a smaller input."
        )


def _dim(report: FieldReport, name: str) -> int | None:
    """The dimension that runs along the axis; None for a value whose units see all of it."""
    dims = report.roles(name).unit
    if len(dims) > 1:
        raise UsageError(
            f"'{name}' spreads axis {report.axes[0]} over {len(dims)} dimensions, which a row of "
            "positions cannot show; name an earlier layer."
        )
    return dims[0] if dims else None


def _ancestors(graph: Graph, name: str) -> set[str]:
    """The value and every value that it is made from."""
    wanted = {name}
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.results):
            wanted.update(node.operands)
    return wanted


def _hull(products: Sequence[tuple[IndexSet, ...]]) -> IndexSet:
    return Region.of(products).hull()[0] if products else EMPTY


_MAX_UNITS = 50_000
_MAX_EDGES = 200_000
"""Of one row."""
