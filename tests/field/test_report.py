"""A report as Python reads it: names, lengths, indices of any integer type, empty values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.errors import UsageError
from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.saturation import unproductive


class Op(nn.Module):
    """A function of a tensor."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.fixture(scope="module")
def report() -> FieldReport:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    return receptive_fields(model.eval(), (1, 1, 8, 8))


def test_a_report_holds_its_rows_and_knows_their_names_and_modules(report):
    assert list(report) == list(report.rows)
    assert len(report) == 3
    assert all(row in report for row in report)
    assert all(row.name in report for row in report)
    assert "conv" not in report
    assert 3 not in report


def test_a_value_that_does_not_depend_on_the_source_is_not_in_the_report(
    report,
):
    later = receptive_fields(report.graph, wrt="1")
    assert "0" not in later
    assert "1" in later


def test_a_row_is_asked_for_by_a_name(report):
    with pytest.raises(UsageError, match="A value is asked for by its name, not by 3"):
        report[3]


@pytest.mark.parametrize("index", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_a_unit_is_named_by_integers_of_any_type(report, index):
    found = report["0"].at(index, 3, channel=np.int64(1))
    assert found == report["0"].at(3, 3, channel=1)
    assert type(found.unit[0]) is int
    assert report["0"].unbounded(index, 3) == report["0"].unbounded(3, 3)
    assert report.projective_field(index, 3) == report.projective_field(3, 3)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ((1.5, 3), "An output position is given by integers; 1.5 is none."),
        ((-1, 3), "Position -1,3 is outside '0', which has 6x6 positions, counted from 0."),
        ((np.int64(6), 3), "Position 6,3 is outside '0'"),
        ((3,), "'0' has 6x6 positions; name one by 2 indices, not 1."),
    ],
)
def test_what_names_no_unit_is_refused_with_the_reason(report, unit, message):
    with pytest.raises(UsageError) as caught:
        report["0"].at(*unit)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :, :0],
        lambda x: x[:, :0],
        lambda x: x[:0],
        lambda x: x[:, :, :0].sum(2),
        lambda x: x[:, :, :0].reshape(1, -1),
    ],
)
def test_a_value_without_elements_and_what_is_made_of_it_sees_nothing(function):
    report = receptive_fields(Op(function), (1, 2, 8))
    name = report.graph.outputs[0]
    assert report.find(name).extent == (0,)
    if all(report.graph.shape(name)[dim] for dim in report.roles(name).unit):
        unit = (0,) * len(report.roles(name).unit)
        assert report[name].at(*unit).count == 0


def test_a_layer_is_saturated_only_where_all_its_units_saw_everything():
    model = Op(lambda x: torch.cat([x, x.mean(2, keepdim=True)], 2))
    layers = nn.Sequential(model, nn.Conv1d(2, 2, 3))
    assert unproductive(receptive_fields(layers.eval(), (1, 2, 8))).saturated == ()
