"""Values that hold something for some units only: crops side by side, zeros between samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.axes import IndexSet
from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.probes import GradientProbe


class Op(nn.Module):
    """A function of a tensor, after a convolution."""

    def __init__(self, function) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv1d(2, 2, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


def _report(function) -> FieldReport:
    return receptive_fields(Op(function).eval(), torch.empty(1, 2, 12))


def test_a_mean_over_crops_reads_the_crops_and_not_the_whole_axis():
    report = _report(lambda y: torch.cat([y[..., :3], y[..., 9:]], 2).mean(2, keepdim=True))
    row = report.rows[-1]
    assert (row.exact, row.full, row.at_this_size) == (True, (False,), True)
    (seen,) = report[row.name].at(0).products
    assert seen == (IndexSet.of([0, 1, 2, 3, 8, 9, 10, 11]),)
    assert (report[row.name].at(0).mask() == GradientProbe.of_graph(report.graph).field(
        row.name, (0,)).mask).all()  # fmt: skip


def test_a_padded_channel_sees_nothing_and_does_not_spread_into_space():
    """Zeros between the samples, made by padding a new dimension: as transposed convolutions."""

    def spread(y: Tensor) -> Tensor:
        return F.pad(y.unsqueeze(-1), (0, 2)).flatten(2)

    report = _report(spread)
    row = report.rows[-1]
    (axis,) = row.axes
    assert (axis.period, axis.stride * 3, row.at_this_size) == (3, 1, False)
    assert [report[row.name].at(unit).count for unit in (12, 13, 14, 15)] == [3, 0, 0, 3]
    assert axis.map is not None
    assert [axis.map(unit).count for unit in (12, 13, 14, 15)] == [3, 0, 0, 3]


def test_interleaved_branches_have_a_period_of_two():
    report = _report(lambda y: torch.stack([y, F.max_pool1d(y, 3, 1, 1)], -1).flatten(2))
    (axis,) = report.rows[-1].axes
    assert (axis.period, axis.extent, report.rows[-1].at_this_size) == (2, 5, False)
    assert [axis.map(unit).extent for unit in (10, 11)] == [3, 5]
