"""Consistency, EQ-T and the Lie derivative: what they say, and when they say nothing."""

from __future__ import annotations

from math import inf

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from fieldwise.errors import UsageError
from fieldwise.shift.measurement.equivariance import measure
from fieldwise.shift.measurement.lie import lie_derivative
from fieldwise.shift.measurement.metrics import consistency, eq_t
from fieldwise.shift.repair import circular
from tests.shift.proof.singles import SINGLES


def test_a_fresh_zero_padded_resnet_is_fully_consistent_for_want_of_an_opinion():
    torch.manual_seed(0)
    net = resnet18().eval()
    images = torch.randn(4, 3, 64, 64)
    found = consistency(net, images, repeats=2)
    assert found.agreement == 1
    assert found.control == 1
    assert not found.evidence
    assert measure(net, (1, 3, 64, 64)).verdict == "broken"


def test_a_classifier_with_opinions_is_consistent_only_where_it_is_invariant():
    torch.manual_seed(0)
    position = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    invariant = nn.Sequential(
        nn.Conv1d(1, 5, 3, padding=1, padding_mode="circular"), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.BatchNorm1d(5, momentum=1.0),
    )  # fmt: skip
    images = torch.randn(32, 1, 64)
    invariant(images)
    one, two = (consistency(net, images, repeats=3) for net in (invariant, position))
    assert one.evidence
    assert two.evidence
    assert one.agreement == 1
    assert two.agreement < 0.8


def test_consistency_leaves_the_training_flag_alone():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(8, 2)).train()
    consistency(net, torch.randn(2, 1, 8))
    assert net.training


def test_consistency_of_one_image_is_refused():
    with pytest.raises(UsageError, match="two images"):
        consistency(nn.Flatten(), torch.randn(1, 1, 8))


def test_consistency_of_maps_is_refused():
    with pytest.raises(UsageError, match=r"\(batch, classes\)"):
        consistency(nn.ReLU(), torch.randn(2, 1, 8))


def test_eq_t_of_an_error_of_a_hundredth_of_the_range_is_40_db():
    wanted = torch.tensor([0.0, 5.0])
    assert eq_t(wanted, wanted + 0.05) == pytest.approx(40, abs=1e-3)
    assert eq_t(wanted, wanted) == inf
    assert eq_t(torch.ones(2), torch.zeros(2)) == -inf


# ---------------------------------------------------------------------- Lie derivative

CONV = {"kernel_size": 3, "padding": 1}


@pytest.mark.parametrize("size", [15, 16])
def test_an_exactly_equivariant_conv_has_no_lie_derivative(size):
    (found,) = lie_derivative(nn.Conv1d(1, 2, padding_mode="circular", **CONV), (1, 1, size))
    assert found.error < 1e-12
    assert found.speed > 0.1


@pytest.mark.parametrize(
    "name", ["identity", "flip", "transpose", "roll", "x - mean", "FFT low-pass", "circular conv"]
)
def test_linear_ops_that_hold_at_every_shift_have_none(name):
    case = SINGLES[name]
    (found,) = lie_derivative(case.make(), case.shape, axis=case.axis)
    assert found.error < 1e-12
    assert found.speed > 0.1


@pytest.mark.parametrize("name", ["zero-padded conv", "position embedding", "linear over the axis"])
def test_ops_that_break_equivariance_have_one(name):
    case = SINGLES[name]
    (found,) = lie_derivative(case.make(), case.shape, axis=case.axis)
    assert found.error > 1e-2


def test_what_aliases_or_pads_has_one():
    circular_conv = nn.Conv2d(1, 2, padding_mode="circular", **CONV)
    cases = {
        "zero padding": nn.Conv2d(1, 2, **CONV),
        "relu": nn.Sequential(circular_conv, nn.ReLU()),
        "stride": nn.Conv2d(1, 2, stride=2, padding_mode="circular", **CONV),
        "max-pool": nn.Sequential(circular_conv, nn.MaxPool2d(2)),
    }
    for name, net in cases.items():
        for found in lie_derivative(net, (1, 1, 16, 16)):
            assert found.error > 1e-2, name


def test_the_lie_derivative_agrees_with_a_small_finite_shift():
    net = nn.Sequential(nn.Conv1d(1, 3, 5, padding=2), nn.GELU())
    (found,) = lie_derivative(net, (1, 1, 16))
    step = 1e-6
    finite = measure(net, (1, 1, 16), shift=step).outputs[0]
    rms_per_step = 10 ** (-finite.eq_t / 20) / step
    near = measure(net, (1, 1, 16), shift=2 * step).outputs[0]
    assert near.eq_t == pytest.approx(finite.eq_t - 6.02, abs=0.01)
    assert 0 < found.error < rms_per_step * 10


def test_layers_have_their_own_lie_derivatives():
    net = circular(resnet18(), (1, 3, 64, 64)).model
    found = {
        lie.name: lie for lie in lie_derivative(net, (1, 3, 64, 64), axis=3, layers=["bn1", "relu"])
    }
    assert found["bn1"].error > 0.1
    assert set(found) == {"bn1", "relu", "output"}


def test_what_does_not_move_has_no_speed():
    (found,) = lie_derivative(nn.AdaptiveAvgPool1d(1), (1, 1, 16))
    assert found.error == pytest.approx(found.speed)
    assert found.speed < 1e-12
