"""A row is true of all the units that it speaks of: values whose units are of several kinds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.axes import IndexSet, Region
from fieldwise.field import FieldReport, UnitField, receptive_fields
from fieldwise.field.probes import GradientProbe
from fieldwise.field.report import Piece, Row


class Net(nn.Module):
    """A function of a tensor and of two branches, of extents 3 and 7."""

    def __init__(self, function, rank: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d)[rank - 1]
        self.function = function
        self.three = conv(1, 1, 3, padding=1, stride=rank)
        self.seven = conv(1, 1, 7, padding=3, stride=2 * rank)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.three(x), self.seven(x))


def _written(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    out = torch.zeros(1, 1, 24)
    out[..., 4:20] = a[..., 4:20]
    return out


def _levels(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a.flatten(2), b.flatten(2)], 2).transpose(1, 2)


def _upsampled_levels(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """As in a feature pyramid: units of the finer level see 11, 7, 11 and 7 rows."""
    merged = a + F.interpolate(b, scale_factor=2)
    return torch.cat([v.flatten(2) for v in (F.avg_pool2d(merged, 3, 1, 1), b)], 2)


def _anchored_levels(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Three anchors per position, as the leading digit of the flattened dimension."""
    return torch.cat([v.repeat(1, 3, 1, 1).flatten(1)[:, None] for v in (a, b)], 2)


def _class_token(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, 1, 1), a.flatten(2).transpose(1, 2)], 1)


LINES = {
    "a concatenation": lambda x, a, b: torch.cat([a, b], 2),
    "history and look-ahead": lambda x, a, b: torch.cat([a[..., -8:], b[..., :4]], 2),
    "a written slice": _written,
    "a flip beside the original": lambda x, a, b: torch.cat([a, a.flip(2)], 2),
    "picked indices in two runs": lambda x, a, b: a[..., [0, 1, 2, 9, 11, 13, 15]],
    "picked indices without order": lambda x, a, b: x[..., [5, 3, 19, 2]],
    "a running sum": lambda x, a, b: a.cumsum(2),
    "a running sum of a part": lambda x, a, b: torch.cat([b, a.cumsum(2)], 2),
    "a stack, read in turns": lambda x, a, b: torch.stack([a, x], 3).flatten(2),
    "a where with a constant mask": lambda x, a, b: torch.where(torch.arange(24) < 9, a, x),
    "a sum of different strides at this size": lambda x, a, b: a[..., [0, *range(2, 13)]] + b,
    "zeros before it": lambda x, a, b: torch.cat([torch.zeros(1, 1, 5), a], 2),
    "a concatenation, convolved": lambda x, a, b: F.avg_pool1d(torch.cat([a, b], 2), 3, 3),
    "a concatenation, convolved and padded": lambda x, a, b: F.avg_pool1d(
        torch.cat([a, b], 2), 3, 1, 1
    ),
    "a look-back, convolved and padded": lambda x, a, b: F.avg_pool1d(
        torch.cat([a[..., -5:], a], 2), 3, 1, 1
    ),
}
PLANES = {
    "two levels of a head": _levels,
    "a class token before the others": _class_token,
    "two levels of a pyramid": _upsampled_levels,
}


def _report(function, shape: tuple[int, ...]) -> FieldReport:
    return receptive_fields(Net(function, len(shape) - 2).eval(), shape)


def _parts(report: FieldReport, row: Row) -> tuple[Piece | Row, ...]:
    return row.pieces or (row,)


def _units(report: FieldReport, row: Row, part: Piece | Row) -> IndexSet:
    (dim,) = report.roles(row.name).unit
    return part.units[0] if isinstance(part, Piece) else IndexSet.range(0, row.shape[dim])


def _agrees(report: FieldReport, row: Row) -> None:
    """Every unit sees what the form of its part says, clipped to the input."""
    probe, shape = GradientProbe.of_graph(report.graph), report.input.shape
    (dim,) = report.roles(row.name).unit
    known = []
    for part in _parts(report, row):
        units = _units(report, row, part)
        known.extend(units)
        for unit in units:
            sides = tuple(
                axis.map(unit).clip(shape[axis.axis]) if axis.map else IndexSet()
                for axis in part.axes
            )
            formed = UnitField((unit,), shape[2:], Region.of([sides]).products).mask()
            measured = probe.field(row.name, (unit,), dims=(dim,)).mask
            assert (formed == measured).all(), (row.name, unit)
    assert sorted(known) == list(range(row.shape[dim]))


def _speaks_for_all(report: FieldReport, row: Row) -> None:
    """Extents lie between the least and the largest; stride and start are those of each unit."""
    for part in _parts(report, row):
        units = list(_units(report, row, part))
        for axis in part.axes:
            seen = [axis.map(unit) if axis.map else IndexSet() for unit in units]
            if axis.past:
                assert axis.extent is None
                assert all(one.first is None for one in seen)
                assert axis.look_ahead == seen[0].last - axis.stride * units[0]
                continue
            assert max(one.extent for one in seen) == axis.extent
            if row.pieces or axis.period is None:
                low = axis.extent if axis.least is None else axis.least
                assert low == min(one.extent for one in seen)
            if axis.start is not None:
                assert seen[0].first == axis.start
            if axis.period == 1 and axis.stride is not None:
                step = units[-1] - units[0]
                assert seen[-1].first - seen[0].first == axis.stride * step
        if row.pieces:
            lows = [axis.extent if axis.least is None else axis.least for axis in part.axes]
            together = [axis.extent if axis.least is None else axis.least for axis in row.axes]
            ends = [(low, least) for low, least in zip(lows, together, strict=True) if low]
            assert all(low >= least for low, least in ends)


@pytest.mark.parametrize("kind", LINES)
def test_along_a_line_every_unit_sees_what_its_part_of_the_row_says(kind):
    report = _report(LINES[kind], (1, 1, 24))
    row = report.find(report.graph.outputs[0])
    assert row.exact
    _agrees(report, row)
    _speaks_for_all(report, row)


@pytest.mark.parametrize("kind", PLANES)
def test_of_flattened_planes_every_unit_sees_what_its_part_of_the_row_says(kind):
    report = _report(PLANES[kind], (1, 1, 16, 16))
    row = report.find(report.graph.outputs[0])
    assert row.exact
    _agrees(report, row)
    _speaks_for_all(report, row)


def test_a_concatenation_has_a_range_of_extents_and_neither_stride_nor_start():
    report = _report(LINES["a concatenation"], (1, 1, 24))
    (axis,) = report.rows[-1].axes
    assert (axis.extent, axis.least, axis.stride, axis.start) == (7, 3, None, None)
    assert [piece.units for piece in report.rows[-1].pieces] == [
        (IndexSet.range(0, 24),), (IndexSet.range(24, 36),)
    ]  # fmt: skip
    assert [piece.axes[0].start for piece in report.rows[-1].pieces] == [-1, -3]


def test_of_flattened_levels_every_stride_is_that_of_rows_and_columns():
    row = _report(PLANES["two levels of a head"], (1, 1, 16, 16)).rows[-1]
    assert [[axis.stride for axis in piece.axes] for piece in row.pieces] == [[2, 2], [4, 4]]
    tokens = _report(PLANES["a class token before the others"], (1, 1, 16, 16)).rows[-1]
    assert [axis.stride for axis in tokens.pieces[1].axes] == [2, 2]
    pyramid = _report(PLANES["two levels of a pyramid"], (1, 1, 16, 16)).rows[-1]
    assert [[axis.stride for axis in piece.axes] for piece in pyramid.pieces] == [[2, 2], [4, 4]]
    anchored = _report(_anchored_levels, (1, 1, 16, 16)).rows[-1]
    assert [[axis.stride for axis in piece.axes] for piece in anchored.pieces] == [[2, 2], [4, 4]]


def test_an_axis_along_which_all_units_are_alike_keeps_its_stride_and_start():
    report = _report(lambda x, a, b: torch.cat([a, a.flip(2)], 2), (1, 1, 16, 16))
    rows, columns = report.rows[-1].axes
    assert (rows.stride, rows.start) == (None, None)
    assert (columns.stride, columns.start, columns.map) == (2, -1, report.find("three").axes[1].map)


def test_a_frame_of_zeros_is_one_kind_of_units_in_two_rectangles():
    def framed(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        out = torch.zeros(1, 1, 8, 8)
        out[..., 2:6, 2:6] = a[..., 2:6, 2:6]
        return out

    row = _report(framed, (1, 1, 16, 16)).rows[-1]
    assert [piece.axes[0].extent for piece in row.pieces].count(3) == 1
    covered = Region.of(piece.units for piece in row.pieces)
    assert covered == Region.whole((8, 8))
    assert sum(side[0].count * side[1].count for side in (p.units for p in row.pieces)) == 64


def test_units_that_see_everything_beside_others_are_told_apart():
    row = _report(lambda x, a, b: torch.cat([a, x.mean(2, keepdim=True)], 2), (1, 1, 24)).rows[-1]
    assert (row.axes[0].full, row.axes[0].extent, row.axes[0].least) == (True, None, 3)
    assert [piece.axes[0].full for piece in row.pieces] == [False, True]


def test_units_of_very_many_kinds_have_a_range_alone():
    """More than 64 kinds along a line are listed, unit by unit."""

    def mixed(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        pick = torch.randperm(200, generator=torch.Generator().manual_seed(0))
        parts = [a[..., i : i + 1] if i % 3 else b[..., i // 2 : i // 2 + 1] for i in pick[:90]]
        return torch.cat(parts, 2)

    report = _report(mixed, (1, 1, 200))
    row = report.find(report.graph.outputs[0])
    (axis,) = row.axes
    assert (row.pieces, row.of_unit, axis.least, axis.extent, axis.stride) == ((), None, 3, 7, None)
    _agrees(report, row)


def test_where_no_form_is_short_the_row_says_of_which_unit_it_speaks():
    """Twelve pixels on a diagonal cut a plane into 169 parts: only the middle one is described."""

    def diagonal(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        out = torch.zeros(1, 1, 12, 12)
        for place in range(12):
            pixel = ..., slice(place, place + 1), slice(place, place + 1)
            out[pixel] = a[pixel]
        return out

    report = _report(diagonal, (1, 1, 24, 24))
    row = report.find(report.graph.outputs[0])
    assert (row.pieces, row.of_unit, row.axes[0].stride) == ((), (6, 6), None)
    assert row.extent == (3, 3)
    assert report[row.name].at(6, 6).count == 9


def test_a_unit_that_was_pulled_is_named():
    """Tokens mixed along a diagonal have no closed form: the row is that of the middle one."""

    def diagonal(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return F.max_pool1d(a.flatten(2), 5, 1, 2)

    row = _report(diagonal, (1, 1, 16, 16)).rows[-1]
    assert row.at_this_size
    assert row.of_unit == (32,)


def test_what_has_no_unit_along_space_is_not_said_to_be_of_one():
    """Scores behind a pool of a warped image have one kind of unit: themselves."""
    turn = torch.tensor([[[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1]]])
    grid = F.affine_grid(turn, (1, 1, 8, 8), align_corners=False)

    def scores(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        warped = F.grid_sample(a, grid, align_corners=False)
        return F.max_pool2d(warped, 4).mean((2, 3))

    report = _report(scores, (1, 1, 8, 8))
    row = report.find(report.graph.outputs[0])
    assert (row.of_unit, row.at_this_size) == (None, True)
    assert "of unit  alone" not in str(report)


def test_a_recurrent_row_sees_all_of_the_past_at_any_size():
    model = nn.LSTM(1, 2, batch_first=True)
    rows = [
        receptive_fields(model.eval(), (1, size, 1), axes=(1,)).find("lstm[0]") for size in (8, 30)
    ]
    for row in rows:
        (axis,) = row.axes
        assert (axis.past, axis.look_ahead, axis.stride, axis.causal) == (True, 0, 1, True)
        assert (axis.extent, axis.count, axis.start) == (None, None, None)
        assert not row.at_this_size
    assert rows[0].axes[0].map == rows[1].axes[0].map


def test_all_of_the_past_at_two_strides_has_no_one_map():
    row = _report(lambda x, a, b: a[..., :12].cumsum(2) + b, (1, 1, 24)).rows[-1]
    (axis,) = row.axes
    assert (axis.past, axis.future, axis.full) == (True, False, False)
    assert (axis.map, axis.extent, axis.stride, row.misaligned) == (None, None, None, "add")


def test_a_value_whose_units_differ_on_local_paths_alone_does_not_depend_on_the_size():
    class Tokens(nn.Module):
        """A class token before the others, then attention: every unit sees the whole input."""

        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 1, 4))
            self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

        def forward(self, x):
            tokens = torch.cat([self.token, x], 1)
            return tokens + self.attention(tokens, tokens, tokens)[0]

    report = receptive_fields(Tokens(), torch.randn(1, 12, 4), axes=(1,), ignore_global=True)
    row = report["output"].row
    assert row.axes[0].extent is None
    assert row.at_this_size is False
    assert len(row.pieces) == 2
    assert report["cat"].row.at_this_size is True


def test_units_that_see_nothing_are_among_those_of_a_row():
    """What is written over by a mask, every other time, leaves a row of units without a field."""

    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.masked_scatter(torch.tensor([True, False] * 4), torch.zeros(8))

    report = receptive_fields(Masked(), (1, 1, 8))
    assert report.rows[-1].extent == (1,)
    assert [bool(report["output"].at(unit).products) for unit in range(8)] == [False, True] * 4
