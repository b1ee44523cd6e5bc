"""On random networks three independent answers agree: closed form, pull, and gradients."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from hypothesis import HealthCheck, assume, given, seed, settings

from fieldwise.axes import Region
from fieldwise.capture.torch import capture
from fieldwise.errors import CaptureError
from fieldwise.field import FieldReport, receptive_fields
from fieldwise.field.probes import GradientProbe
from tests.field.random_networks import Drawn, networks

NETWORKS = 130
UNITS = 12
LARGEST = 1 << 13


def _captured(drawn: Drawn) -> FieldReport:
    """The report of a drawn network, unless it cannot run at all on so small an input."""
    try:
        report = receptive_fields(capture(drawn.model, torch.empty(drawn.shape)))
    except CaptureError:
        assume(False)
    assume(all(0 < torch.Size(v.shape).numel() <= LARGEST for v in report.graph.values.values()))
    return report


def _units(report: FieldReport, name: str) -> list[tuple[int, ...]]:
    shape = report.graph.shape(name)
    units = list(itertools.product(*(range(shape[dim]) for dim in report.roles(name).unit)))
    return random.Random(0).sample(units, min(UNITS, len(units)))


@pytest.mark.parametrize("part", range(4))
def test_pull_agrees_with_gradients_and_the_closed_form_with_both_inside(part):
    """For sampled units of every value of 4 × 130 networks, channels apart for one of them."""

    @settings(
        max_examples=NETWORKS, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(networks())
    def agree(drawn: Drawn) -> None:
        report = _captured(drawn)
        probe = GradientProbe.of_graph(report.graph)
        name = report.graph.outputs[0]
        dims = report.roles(name).unit
        for unit in _units(report, name):
            seen = report[name].at(*unit)
            measured = probe.field(name, unit, dims=dims)
            assert seen.exact
            assert measured.exact
            assert (seen.mask() == measured.mask).all(), (name, unit)
            _check_closed_form(report, name, unit)
        _check_channel(report, probe, name, dims)

    seed(part)(agree)()


def _check_closed_form(report: FieldReport, name: str, unit: tuple[int, ...]) -> None:
    """Inside, where no border takes part, the closed form is what is pulled."""
    row, seen = report.find(name), report[name].at(*unit)
    assert row.exact, row.why
    closed = Region(report[name].unbounded(*unit))
    pulled = Region(seen.products)
    if any(axis.full for axis in row.axes):
        assert pulled.issubset(closed)
    elif seen.inside:
        assert pulled.issubset(closed), (closed, pulled)
        assert closed.issubset(pulled), (closed, pulled)


def _check_channel(
    report: FieldReport, probe: GradientProbe, name: str, dims: tuple[int, ...]
) -> None:
    unit = tuple(report.graph.shape(name)[dim] // 2 for dim in dims)
    channels = [dim for dim in report.roles(name).channel if report.graph.shape(name)[dim] > 1]
    if len(channels) != 1 or channels[0] != 1:
        return
    for channel in range(report.graph.shape(name)[1]):
        seen = report[name].at(*unit, channel=channel)
        measured = probe.field(name, unit, channel=channel, dims=dims)
        assert (seen.mask() == measured.mask).all(), (name, unit, channel)
