"""Values without dimensions have one unit, those without elements none, and all have a row."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise import receptive_fields


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Spread(nn.Module):
    def forward(self, x):
        return x * torch.ones(3)


def test_a_scalar_input_has_one_unit_that_is_seen_by_all():
    report = receptive_fields(Spread(), torch.tensor(1.0))
    assert report.axes == ()
    assert [(row.shape, row.exact, row.extent) for row in report.rows] == [
        ((), True, ()),
        ((3,), True, ()),
    ]
    assert report["output"].at().mask().all()
    assert report.projective_field().mask().all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: nn.functional.pixel_shuffle(x, 2),
        lambda x: x.flatten(),
        lambda x: x.transpose(2, 3).reshape(0, 4),
        lambda x: x.movedim(3, 0).unsqueeze(0),
        lambda x: x.sum(2),
    ],
    ids=["pixel_shuffle", "flatten", "reshape", "movedim", "sum"],
)
def test_values_without_elements_have_no_field_and_a_row_like_others(function):
    """However their dimensions are regrouped."""
    report = receptive_fields(Applied(function), torch.zeros(1, 4, 3, 0))
    for axes in ((2, 3), (1,)):
        rows = receptive_fields(report.graph, axes=axes).rows
        assert rows[-1].exact
        assert rows[-1].products == 0
