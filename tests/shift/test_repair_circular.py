"""Circular repair: exact by measurement on every op that looks beyond a border, and on networks."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18

from fieldwise.shift.measure import measure
from fieldwise.shift.repair import circular


def test_resnet18_is_exactly_invariant_at_the_total_stride_once_it_is_circular():
    repaired = circular(resnet18(), (1, 3, 96, 96))
    assert repaired.done
    assert repaired.measurement.error < 1e-11
    assert repaired.changes[0].module == "conv1"


def test_a_size_that_the_stride_does_not_divide_is_not_done():
    assert not circular(resnet18(), (1, 3, 48, 100), shift=16).done


@pytest.mark.parametrize("axis", [2, 3])
def test_only_the_axes_asked_for_become_periodic(axis: int):
    net = torch.nn.Conv2d(1, 2, 3, padding=1)
    repaired = circular(net, (1, 1, 8, 8), axes=[axis])
    assert repaired.done
    assert [moved.axis for moved in repaired.measurement.outputs] == [axis]
    assert measure(repaired.model, (1, 1, 8, 8), axis=5 - axis).verdict == "broken"
