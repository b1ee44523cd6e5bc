"""Single reads whose closed form is at the edge of what there is a form for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.axes import IndexSet
from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.probes import GradientProbe


class Op(nn.Module):
    """A function of a tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def report(function: Callable[[Tensor], Tensor], *shape: int) -> FieldReport:
    return receptive_fields(Op(function).eval(), torch.zeros(shape))


def resampled(x: Tensor, *factors: float) -> Tensor:
    for factor in factors:
        x = F.interpolate(x, scale_factor=factor)
    return x


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x.reshape(1, 1, 4, 6), (1, 1, 6, 4)),
        (lambda x: F.avg_pool2d(x, 3, 1, 1).reshape(1, 1, 4, 6), (1, 1, 6, 4)),
        (lambda x: x.flatten(2)[..., 3:15].mean(2, keepdim=True), (1, 1, 4, 6)),
        (lambda x: F.avg_pool1d(x.flatten(2), 5, 2), (1, 1, 4, 6)),
        (lambda x: resampled(x, 1.7, 1.3, 1.9), (1, 1, 12)),
        (lambda x: F.avg_pool1d(resampled(x, 1.7, 0.7, 1.9, 0.6), 2, 1), (1, 1, 30)),
    ],
    ids=["rows cut", "windows cut", "some tokens", "tokens in a row", "long", "longer"],
)
def test_every_unit_sees_what_its_gradient_reaches(function, shape):
    """Reshapes across rows, pairs of rows and columns, and periods longer than the axis."""
    found = report(function, *shape)
    row = found.rows[-1]
    probe = GradientProbe.of_graph(found.graph)
    *_, size = found.graph.shape(row.name)
    assert row.exact
    for unit in range(size):
        index = (0,) * (len(found.graph.shape(row.name)) - 3) + (unit,)
        assert (found[row.name].at(*index).mask() == probe.field(row.name, index).mask).all()


def test_of_some_tokens_the_rows_are_told_and_the_columns_are_all():
    """A mean over the first two rows, read as one line."""
    found = report(lambda x: x.flatten(2)[..., :12].mean(2, keepdim=True), 1, 1, 4, 6)
    row = found.rows[-1]
    assert (row.exact, row.full) == (True, (False, True))
    assert row.axes[0].map is not None
    assert row.axes[0].map(0) == IndexSet.range(0, 2)


def test_a_window_that_is_read_by_the_data_is_a_bound_and_says_why():
    """Which element of its window is read is not known, and the window is."""

    def picked(x: Tensor) -> Tensor:
        windows = x.unflatten(-1, (3, 4))
        return windows.gather(3, (windows > 0).long())

    row = report(picked, 1, 1, 12).rows[-1]
    (axis,) = row.axes
    assert (row.exact, axis.extent, axis.stride) == (False, 4, 1)
    assert row.why == "gather with indices that depend on the data"


def test_a_few_hundred_rectangles_are_told_one_by_one():
    class Rectangles(nn.Module):
        """From wide and low to narrow and high: no rectangle covers another one."""

        def __init__(self, number: int) -> None:
            super().__init__()
            dilations = [(i, number - i) for i in range(1, number)]
            self.branches = nn.ModuleList(
                nn.Conv2d(1, 1, 3, dilation=d, padding=d) for d in dilations
            )
            self.join = nn.Conv2d(number - 1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.join(torch.cat([branch(x) for branch in self.branches], 1))

    row = receptive_fields(Rectangles(300).eval(), (1, 1, 8, 8))["output"].row
    assert (row.products, row.extent, row.stride) == (299, (599, 599), (1, 1))
    assert row.exact
    assert not row.at_this_size
