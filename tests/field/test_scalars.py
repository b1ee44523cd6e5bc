"""A value without dimensions has one unit, and a report like any other."""

from __future__ import annotations

import torch
from torch import nn

from fieldwise import receptive_fields


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
