"""Connections: rows, where units stand, which edges there are and which a unit depends on."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from fieldwise.axes import IndexSet, Region
from fieldwise.capture.layers import layers_graph
from fieldwise.errors import UsageError
from fieldwise.field import receptive_fields
from fieldwise.field.probes import GradientProbe
from fieldwise.field.pull import pull
from fieldwise.field.unit_connections import connections
from tests.field.networks import CATALOGUE, Attention, Concat, ShiftedWindows

IN_ROWS = [network for network in CATALOGUE if network not in (Attention, ShiftedWindows)]


def of(text, shape=None, **options):
    return connections(layers_graph(text, shape), **options)


@pytest.mark.parametrize(
    ("text", "extent"), [("conv3 conv1", 3), ("conv3 conv3", 5), ("conv3/2 conv3", 7)]
)
def test_the_three_cases_of_the_exercise_see_3_5_and_7(text, extent):
    found = of(text)
    assert found.field == found.unbounded
    assert found.field.extent == found.field.count == extent


def test_every_layer_is_a_row_but_elementwise_ones_share_that_of_their_operand():
    found = of("conv3 bn relu conv1 relu")
    assert [row.names for row in found.rows] == [
        ("input",), ("conv3", "bn", "relu"), ("conv1", "relu#2"),
    ]  # fmt: skip


def test_a_unit_stands_above_the_centre_of_what_it_sees():
    found = of("conv3/2 conv4/3", (1, 1, 40))
    report = receptive_fields(layers_graph("conv3/2 conv4/3", (1, 1, 40)))
    for row in found.rows:
        for index in range(row.size):
            ((seen,),) = report[row.names[0]].unbounded(index)
            assert row.position(index) == Fraction(seen.first + seen.last, 2)


def test_upsampled_units_stand_at_their_sampling_points():
    assert [of("up2").rows[1].position(index) for index in range(4)] == [
        Fraction(-1, 4), Fraction(1, 4), Fraction(3, 4), Fraction(5, 4),
    ]  # fmt: skip


def test_a_unit_that_sees_everything_stands_in_the_middle():
    found = of("conv3p1 globalpool", (1, 1, 9))
    assert found.rows[-1].position(0) == 4
    assert len(found.rows[-1].edges) == 9


def test_padding_is_read_at_positions_outside_and_depends_on_nothing():
    edges = of("conv3p1", (1, 1, 4), unit=0).rows[1].edges
    assert [(e.out, e.position, e.index, e.seen) for e in edges if e.index is None] == [
        (0, -1, None, True), (3, 4, None, False),
    ]  # fmt: skip


def test_circular_padding_is_read_outside_and_lands_at_the_other_end():
    model = torch.nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")
    found = connections(model, (1, 1, 5), unit=0)
    pad = found.rows[1]
    assert [(e.position, e.index) for e in pad.edges if e.position != e.index] == [(-1, 4), (5, 0)]
    assert found.field == IndexSet.of([0, 1, 4])


def test_a_channel_that_is_dropped_carries_no_dependence():
    """cat of 3 and 5 wide, of which only the 3 wide channels are kept."""

    class Kept(Concat):
        def forward(self, x):
            return super().forward(x)[:, :2]

    found = connections(Kept(), (1, 3, 9, 9))
    assert found.field.count == 3
    wide = next(row for row in found.rows if row.names == ("five",))
    assert not wide.seen
    assert wide.edges


@pytest.mark.parametrize("network", IN_ROWS, ids=lambda network: network.__name__)
def test_what_a_unit_depends_on_agrees_with_gradients_and_with_its_edges(network):
    torch.manual_seed(0)
    shape = CATALOGUE[network]
    report = receptive_fields(network().eval(), shape)
    probe = GradientProbe.of_graph(report.graph)
    for axis in report.axes:
        along = receptive_fields(report.graph, axes=(axis,))
        name = along.graph.outputs[0]
        dims = along.roles(name).unit
        for unit in {0, along.graph.shape(name)[dims[0]] // 2} if dims else {0}:
            found = connections(report.graph, unit=unit, axis=axis)
            position = (unit,) if dims else ()
            measured = probe.field(name, position, dims=dims, wrt_dims=(axis,))
            assert list(found.field) == measured.mask.nonzero()[0].tolist()
            assert followed(found) == [row.seen for row in found.rows]
            assert found.rows[0].seen == found.field


def followed(found):
    """Per row the units that are reached from the chosen one along the edges it depends on."""
    reached = [set() for _ in found.rows]
    reached[-1].add(found.unit)
    for number in reversed(range(len(found.rows))):
        for edge in found.rows[number].edges:
            if edge.out in reached[number] and edge.seen and edge.index is not None:
                reached[edge.below].add(edge.index)
    return [IndexSet.of(units) for units in reached]


@pytest.mark.parametrize("network", IN_ROWS, ids=lambda network: network.__name__)
def test_the_edges_of_every_unit_are_what_a_pull_through_its_node_finds(network):
    report = receptive_fields(network().eval(), CATALOGUE[network])
    axis, graph = report.axes[-1], report.graph
    report = receptive_fields(graph, axes=(axis,))
    found = connections(graph, axis=axis)
    numbers = {name: number for number, row in enumerate(found.rows) for name in row.names}
    for row in found.rows[1:]:
        name = row.names[0]
        operands = {operand for operand in graph.producer(name).operands if operand in numbers}
        for out in range(row.size):
            drawn = {
                (edge.below, edge.index)
                for edge in row.edges
                if edge.out == out and edge.index is not None
            }
            assert drawn == {
                (numbers[operand], index)
                for operand in operands
                for index in directly_read(report, name, out, operand)
            }


def directly_read(report, name, out, operand):
    """The units of an operand that a unit reads, by pulling through the graph to it."""
    sides = [IndexSet.range(0, size) for size in report.graph.shape(name)]
    for dim in report.roles(name).unit:
        sides[dim] = IndexSet.of([out])
    node = report.graph.producer(name)
    alone = type(report.graph)(node.operands, (node,), (name,), report.graph.values)
    region = pull(alone, name, Region.of([tuple(sides)]), source=operand).region
    dims = report.roles(operand).unit
    if not region:
        return IndexSet()
    return region.hull()[dims[0]] if dims else IndexSet.of([0])


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unit": 99}, "Position 99 is outside 'conv3', which has 9 positions, counted from 0."),
        ({"unit": -1}, "Position -1 is outside 'conv3'"),
        ({"layer": "cnv3"}, "No value or module is called 'cnv3'; did you mean 'conv3'?"),
        ({"axis": 5}, "'input' has axes 0 to 2; axis 5 is none of them."),
    ],
)
def test_what_is_not_there_is_refused(options, said):
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        of("conv3", **options)


@pytest.mark.parametrize("network", [Attention, ShiftedWindows])
def test_windows_are_refused_with_a_remedy(network):
    said = "over 2 dimensions, which a row of positions cannot show; name an earlier layer."
    with pytest.raises(UsageError, match=said):
        connections(network().eval(), CATALOGUE[network])
