"""Networks that users bring: closed form, pull, gradients and NaN agree, or a mark says why not."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn

from fieldwise.axes import IndexSet, Region
from fieldwise.axes.region import Sides
from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.probes import GradientProbe, nan_check
from tests.field import user_networks
from tests.field.user_networks import USERS

DATA_DEPENDENT = (user_networks.Deformed,)
EXACT = [network for network in USERS if network not in DATA_DEPENDENT]
SAMPLED = 5


def _report(network: type[nn.Module]) -> tuple[nn.Module, FieldReport]:
    torch.manual_seed(0)
    model = network().eval()
    return model, receptive_fields(model, torch.empty(USERS[network]))


def _middle(report: FieldReport, name: str) -> tuple[int, ...]:
    return tuple(report.graph.shape(name)[dim] // 2 for dim in report.roles(name).unit)


def _units(report: FieldReport, name: str) -> list[tuple[int, ...]]:
    sizes = [report.graph.shape(name)[dim] for dim in report.roles(name).unit]
    units = list(itertools.product(*map(range, sizes)))
    return random.Random(0).sample(units, min(SAMPLED, len(units)))


@pytest.mark.parametrize("network", EXACT, ids=lambda network: network.__name__)
def test_every_value_has_the_field_that_gradients_find(network):
    _, report = _report(network)
    probe = GradientProbe.of_graph(report.graph)
    for row in report.rows:
        dims = report.roles(row.name).unit
        for unit in _units(report, row.name):
            seen, measured = report[row.name].at(*unit), probe.field(row.name, unit, dims=dims)
            assert (row.exact, seen.exact, measured.exact) == (True, True, True)
            np.testing.assert_array_equal(seen.mask(), measured.mask, err_msg=f"{row.name} {unit}")
            assert Region(seen.products).issubset(Region(report[row.name].unbounded(*unit)))


@pytest.mark.parametrize("network", EXACT, ids=lambda network: network.__name__)
def test_the_closed_form_of_the_middle_unit_is_what_it_sees(network):
    """Cut off at the border of the input; none of these networks folds padding back into it."""
    _, report = _report(network)
    for row in report.rows:
        if any(axis.full for axis in row.axes):
            continue
        unit = _middle(report, row.name)
        pulled = Region(report[row.name].at(*unit).products)
        closed = _cut_off(report, report[row.name].unbounded(*unit))
        assert closed.issubset(pulled), row.name
        assert pulled.issubset(closed), row.name


def _cut_off(report: FieldReport, products: tuple[Sides, ...]) -> Region:
    inside = tuple(IndexSet.range(0, report.input.shape[axis]) for axis in report.axes)
    cut = (tuple(a & b for a, b in zip(product, inside, strict=True)) for product in products)
    return Region.of(cut)


@pytest.mark.parametrize("network", EXACT, ids=lambda network: network.__name__)
def test_nan_finds_the_ends_of_the_field_in_the_unmodified_model(network):
    model, report = _report(network)
    name = report.graph.outputs[0]
    unit = _middle(report, name)
    seen, dims = report[name].at(*unit), report.roles(name).unit
    example = torch.rand(USERS[network])
    assert nan_check(model, example, None, unit, seen.lo, seen.hi, dims=dims).ok


@pytest.mark.parametrize("network", DATA_DEPENDENT, ids=lambda network: network.__name__)
def test_what_looks_where_data_says_is_a_bound_with_a_reason(network):
    _, report = _report(network)
    row = report.rows[-1]
    assert not row.exact
    assert "reads at positions that its" in (row.why or "")


@pytest.mark.parametrize(
    ("network", "extent", "stride"),
    [
        (user_networks.TemporalConvolutions, [29], [1]),
        (user_networks.NestedUNet, [30, 30], [1, 1]),
        (user_networks.UpFirDn, [4, 4], [0.5, 0.5]),
        (user_networks.Involution, [3, 3], [1, 1]),
        (user_networks.FusedPyramid, [33, 33], [4, 4]),
        (user_networks.CostVolume, [7, 7], [1, 1]),
        (user_networks.Wavelets, [6, 6], [1, 1]),
        (user_networks.WaveNet, [8], [1]),
        (user_networks.AxialAttention, [1, None], [1, None]),
    ],
)
def test_their_fields_have_a_form_that_does_not_depend_on_the_input_size(network, extent, stride):
    _, report = _report(network)
    row = report.rows[-1]
    assert (list(row.extent), list(row.stride)) == (extent, stride)
    assert not row.at_this_size
