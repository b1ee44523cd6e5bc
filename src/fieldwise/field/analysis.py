"""``receptive_fields``: from a model to a report, and from a report to the field of one unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index as as_integer
from pathlib import Path
from typing import Any, SupportsIndex

from fieldwise.axes import IndexSet, Region
from fieldwise.axes.region import Sides
from fieldwise.capture.graphs import graph_of, read_graph
from fieldwise.capture.models import as_source
from fieldwise.collecting import uncollected
from fieldwise.errors import UsageError
from fieldwise.field.closed import Closed, closed_forms
from fieldwise.field.pull import Reach, pull, push
from fieldwise.field.report import AxisField, Row
from fieldwise.field.rows import Roles, Summary, closed_region, make_row, roles, summarise
from fieldwise.field.sliding import reported_axes
from fieldwise.field.state import LIMITS
from fieldwise.field.unit import UnitField
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Shape, Value
from fieldwise.graph.names import aliases, called, matched, resolve
from fieldwise.graph.spatial import Axes
from fieldwise.reports import Report, page_room, view_named


def receptive_fields(
    model: object,
    example: object = None,
    *,
    wrt: str | None = None,
    ignore_global: bool = False,
    axes: Axes | None = None,
) -> FieldReport:
    """The receptive field of every output position of a network.

    model:   a ``torch.nn.Module``, an ``ExportedProgram``, a captured ``Graph``, or what the
             command line takes: ``"torchvision:resnet18"``, ``"nets:UNet"``, the path of a file
    example: a tensor, a tuple or dict of tensors, or the shape of the only input; none for a
             graph, and where the model brings its usual shape along
    wrt:     the value (or module path) whose samples are counted; by default the input
    ignore_global: add to every row the field through the local paths alone
    axes:    the dimensions of that value to report; by default all from 2 on (for
             (batch, channels, *spatial)), the last one where there are fewer; of an ONNX file,
             those along which its first window slides

    Raises CaptureError where the model cannot be recorded, UsageError for an unknown name.

    >>> from fieldwise.capture.layers import layers_graph
    >>> report = receptive_fields(layers_graph("conv3/2 conv3"))
    >>> report.rows[-1].axes[0].extent
    7
    """
    graph = read_graph(graph_of(*as_source(model, example)))
    source = graph.values[graph.inputs[0] if wrt is None else resolve(graph, wrt)]
    chosen = reported_axes(graph, source, axes)
    with uncollected():
        forms = closed_forms(graph, source.name, chosen)
    return FieldReport(graph, source, chosen, ignore_global, _closed=forms)


@dataclass(frozen=True)
class FieldReport(Report):
    """The fields of all values of a graph with respect to one of them.

    graph: what was analysed
    input: the value whose samples are counted
    axes:  the dimensions of it that are reported

    It is made by ``receptive_fields``, which finds the closed forms; rows are made of them at first
    use.
    """

    graph: Graph = field(repr=False)
    input: Value
    axes: tuple[int, ...]
    ignore_global: bool = False
    model: str | None = None
    _closed: Mapping[str, Closed] = field(kw_only=True, repr=False, compare=False)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """One row per value that depends on the source, in execution order.

        Of a model from a file, one per value that the file names.
        """
        with uncollected():
            return tuple(self._rows())

    def _rows(self) -> Iterator[Row]:
        producers: dict[str, Node] = {
            name: node for node in self.graph.nodes for name in node.results
        }
        spelled, own = aliases(self.graph), self.graph.spelled
        summaries: dict[int, Summary] = {}
        for name, closed in self._closed.items():
            if own is not None and name not in own:
                continue
            if id(closed) not in summaries:
                summaries[id(closed)] = summarise(
                    self._told(closed), self.axes, self.input.shape, with_local=self.ignore_global
                )
            row = make_row(
                self.graph.values[name], producers.get(name), self._told(closed),
                summaries[id(closed)],
                spelled.get(name, ()),
            )  # fmt: skip
            yield self._measured(row) if row.why in LIMITS else row

    def _told(self, closed: Closed) -> Closed:
        """A closed form as rows tell it: a step within a node of a file is called like the node."""
        if self.graph.spelled is None:
            return closed
        makers = tuple(name and called(self.graph, name) for name in closed.full_by)
        join = closed.misaligned and called(self.graph, closed.misaligned)
        return replace(closed, full_by=makers, misaligned=join)

    @property
    def not_analysed(self) -> Mapping[str, str]:
        """By name, the values that the graph has not, since the data decide them, and why."""
        return self.graph.lost

    @cached_property
    def _by_name(self) -> Mapping[str, Row]:
        return {row.name: row for row in self.rows}

    def _measured(self, row: Row) -> Row:
        """No closed form: the middle unit's field at this input size."""
        place = self.roles(row.name)
        unit = tuple(row.shape[dim] // 2 for dim in place.unit)
        region = self.unit_region(row.name, unit)
        reach = pull(self.graph, row.name, region, source=self.input.name)
        found = _unit_field(reach, self.axes, self.input.shape, ())
        if not found.products:
            return row
        hulls = Region.of(found.products).hull()
        fields = tuple(
            AxisField(axis, extent=hull.extent, count=hull.count, clipped=hull.extent)
            for axis, hull in zip(self.axes, hulls, strict=True)
        )
        return replace(
            row, axes=fields, products=len(found.products), exact=reach.exact, why=reach.why,
            at_this_size=True, pieces=(), of_unit=unit or None,
        )  # fmt: skip

    def view(self, *, image: str | Path | None = None, name: str | None = None) -> Any:
        """A page on which to look at this report: one HTML file, shown in notebooks as it is.

        image: a file that is shown as the input; name: what the network is called

        ``view().save("page.html")`` writes it.
        """
        see = page_room()
        return see.view(self, names=[name or ""], notes=[see.notes_of(self)], image=image)

    def plot(
        self,
        layer: str | None = None,
        unit: Sequence[int] | None = None,
        *,
        image: object = None,
        title: str = "",
    ) -> Any:
        """What one output position sees of this input, as a matplotlib Figure, 8 inches wide.

        layer: a name of a row; by default the last layer that does not see a whole axis
        unit:  one index per unit dimension; by default the middle one
        image: lies below it: a file, or an array (height, width, 3), resized to the input

        Raises UsageError for an unknown layer, a unit outside it, more than two axes, what is no
        image, and where matplotlib is not installed.
        """
        some = [row for row in self.rows if row.name != self.input.name]
        parts = [row for row in some if not any(row.full)] or some
        name = parts[-1].name if layer is None else layer
        value = self[name]
        place = self.roles(name).unit
        middle = tuple(value.row.shape[dim] // 2 for dim in place)
        seen = value.at(*(middle if unit is None else unit))
        views = view_named("plot")
        return views.field_figure(views.field_panel(value, seen, image=image), title=title)

    def chart(self, *others: FieldReport, names: Sequence[str] = ()) -> Any:
        """Extent, stride and coverage over depth, as a matplotlib Figure; of other networks too.

        names: one per network, this one first.  Raises UsageError for more than eight networks,
        for another number of names, and where matplotlib is not installed.
        """
        return view_named("chart").chart_figure(self, *others, names=names)

    def __getitem__(self, name: str) -> ValueField:
        return ValueField(self, self.find(name))

    def __contains__(self, item: object) -> bool:
        """Whether this is a row, or a name for which ``report[name]`` answers."""
        if not isinstance(item, str):
            return item in self.rows
        try:
            self.find(item)
        except UsageError:
            return False
        return True

    def find(self, name: str) -> Row:
        """The row of a value or module path, under that name.

        Raises UsageError for an unknown one, with close names.
        """
        if not isinstance(name, str):
            raise UsageError(f"A value is asked for by its name, not by {name!r}.")
        value = resolve(self.graph, name)
        if value not in self._by_name:
            raise UsageError(f"'{name}' does not depend on '{self.input.name}'.")
        return _called(self._by_name[value], name)

    def select(self, globs: str | Sequence[str]) -> tuple[Row, ...]:
        """The rows whose name or module path matches a glob.  Raises UsageError if none does.

        Each has the name by which it was asked for.
        """
        return tuple(
            _called(self._by_name[value], name)
            for value, name in matched(self.graph, globs).items()
            if value in self._by_name
        )

    def between(self, earlier: str, later: str) -> ValueField:
        """The field of the value ``later`` with respect to the value ``earlier``.

        ``earlier`` is what ``wrt`` is to ``receptive_fields``; its axes from 2 on are reported.
        Raises UsageError for an unknown name, or where ``later`` does not depend on ``earlier``.
        """
        return receptive_fields(self.graph, wrt=earlier)[later]

    def projective_field(self, *unit: int, target: str | None = None) -> UnitField:
        """The units of ``target`` (by default the output) that depend on one source sample.

        ``unit`` holds one index per reported axis of the source, of which all channels count.
        Raises UsageError for a sample outside the source, or an unknown target.
        """
        name = self.graph.outputs[0] if target is None else resolve(self.graph, target)
        source = self.input
        sides = [IndexSet.range(0, size) for size in source.shape]
        unit = tuple(map(_integer, unit))
        indices = _checked(unit, source.shape, self.axes, source.name)
        for axis, index in zip(self.axes, indices, strict=True):
            sides[axis] = IndexSet(index, 1)
        reached = push(self.graph, source.name, Region.of([tuple(sides)]))
        reach = reached.get(name, Reach(Region(), Region()))
        return _unit_field(reach, self.roles(name).unit, self.graph.shape(name), unit)

    def roles(self, name: str) -> Roles:
        """Which dimensions of a value are its unit's, its batch's and its channels'."""
        return roles(self.closed(name).state.layout, self.axes, len(self.input.shape))

    def reach(self, name: str, unit: Sequence[int], *, channel: int | None = None) -> Reach:
        """Everything in the source that a unit depends on, all dimensions included."""
        region = self.unit_region(name, unit, channel=channel)
        return pull(self.graph, resolve(self.graph, name), region, source=self.input.name)

    @property
    def values(self) -> tuple[str, ...]:
        """The names of all values that depend on the source, in execution order, it first."""
        return tuple(self._closed)

    def closed(self, name: str) -> Closed:
        """The closed form of a value, or of what a module returned."""
        name = resolve(self.graph, name)
        if name not in self._closed:
            raise UsageError(f"'{name}' does not depend on '{self.input.name}'.")
        return self._closed[name]

    def unit_region(self, name: str, unit: Sequence[int], *, channel: int | None = None) -> Region:
        """The elements of one unit, in the first of a batch: of all channels, or one."""
        name = resolve(self.graph, name)
        shape, place = self.graph.shape(name), self.roles(name)
        sides = [IndexSet.range(0, size) for size in shape]
        if not place.unit and len(unit) <= len(self.axes) and not any(unit):
            unit = ()
        for dim, index in zip(place.unit, _checked(unit, shape, place.unit, name), strict=True):
            sides[dim] = IndexSet(index, 1)
        for dim in place.batch:
            sides[dim] = IndexSet(0, 1).clip(shape[dim])
        if channel is not None:
            dim, channel = _channel_dim(name, shape, place), _integer(channel)
            if not 0 <= channel < shape[dim]:
                raise UsageError(
                    f"'{name}' has channels 0 to {shape[dim] - 1}; {channel} is none of them."
                )
            sides[dim] = IndexSet(channel, 1)
        return Region.of([tuple(sides)])

    def unbounded(
        self, name: str, unit: Sequence[int], *, local: bool = False
    ) -> tuple[Sides, ...]:
        """What a unit sees by the closed form (see ``ValueField.unbounded``).

        local: through the local paths alone
        """
        name = resolve(self.graph, name)
        place = self.roles(name)
        indices = _checked(unit, self.graph.shape(name), place.unit, name)
        state = self.closed(name).state
        if local:
            state = replace(state, products=state.local)
        return closed_region(state, dict(zip(place.unit, indices, strict=True)))


@dataclass(frozen=True)
class ValueField:
    """The field of one value: its row, and the exact region of any of its units."""

    report: FieldReport
    row: Row

    def at(self, *unit: int, channel: int | None = None) -> UnitField:
        """The region that this unit sees in this input, borders and padding included.

        ``unit`` holds one index per unit dimension of the value, counted from 0; all channels count
        unless one is named.  Raises UsageError for a unit or channel outside the map, and for an
        index that is not an integer.
        """
        unit = tuple(map(_integer, unit))
        reach = self.report.reach(self.row.name, unit, channel=channel)
        return _unit_field(reach, self.report.axes, self.report.input.shape, unit)

    def unbounded(self, *unit: int) -> tuple[Sides, ...]:
        """What this unit sees by the closed form, as if the input had no borders.

        Products of index sets, one per reported axis; indices may be negative or beyond the
        input.  A whole axis is given as the indices that this input has.
        """
        return self.report.unbounded(self.row.name, unit)


def _called(row: Row, name: str) -> Row:
    """A row under one of its names."""
    return row if name == row.name else replace(row, name=name, aliases=row.names)


def _unit_field(reach: Reach, axes: Sequence[int], shape: Shape, unit: Sequence[int]) -> UnitField:
    return UnitField(
        unit=tuple(unit),
        shape=tuple(shape[axis] for axis in axes),
        products=reach.region.project(axes).products,
        exact=reach.exact or reach.region.project(axes).issubset(reach.sure.project(axes)),
        why=reach.why,
        inside=reach.inside,
    )


def _checked(unit: Sequence[int], shape: Shape, dims: Sequence[int], name: str) -> Sequence[int]:
    unit = tuple(map(_integer, unit))
    sizes = tuple(shape[dim] for dim in dims)
    spelled = "x".join(map(str, sizes)) or "no spatial axes"
    if len(unit) != len(sizes):
        raise UsageError(
            f"'{name}' has {spelled} positions; name one by {len(sizes)} indices, not {len(unit)}."
        )
    for index, size in zip(unit, sizes, strict=True):
        if not 0 <= index < size:
            raise UsageError(
                f"Position {','.join(map(str, unit))} is outside '{name}', which has {spelled} "
                "positions, counted from 0."
            )
    return unit


def _integer(index: SupportsIndex) -> int:
    """Python's integer for anything that stands for one (NumPy's, a tensor of one element)."""
    try:
        return as_integer(index)
    except TypeError:
        raise UsageError(f"An output position is given by integers; {index!r} is none.") from None


def _channel_dim(name: str, shape: Shape, place: Roles) -> int:
    found = [dim for dim in place.channel if shape[dim] > 1] or list(place.channel)
    if len(found) != 1:
        spelled = "x".join(map(str, shape))
        raise UsageError(f"'{name}' of shape {spelled} has no single channel axis.")
    return found[0]
