"""The prover says of single ops what is known of them by hand."""

from __future__ import annotations

import pytest
import torch

from fieldwise.shift import certify
from fieldwise.testing.shifts import moved
from tests.shift.proof.singles import SINGLES, Single


@pytest.mark.parametrize("name", SINGLES)
def test_a_single_op_has_the_verdict_known_by_hand(name):
    """Period, step, interior, and of what breaks it the reason."""
    single = SINGLES[name]
    found = _certified(single)
    assert found.circular.period == single.period
    assert found.circular.holds == (single.period is not None)
    assert (found.circular.step or 0) == single.step
    assert found.interior.range == single.interior
    assert bool(found.broken_by) == (single.why is not None)
    if single.why is not None:
        assert any(single.why in breaker.why for breaker in found.broken_by), found.broken_by


@pytest.mark.parametrize("name", [n for n, s in SINGLES.items() if s.step])
def test_the_moves_of_a_certificate_carry_the_output_where_the_network_does(name):
    """In float64, for every multiple of the period."""
    single = SINGLES[name]
    model, x = single.make().double(), torch.randn(single.shape, dtype=torch.float64)
    certificate = certify(model, x, axes=[single.axis]).outputs[0].axes[0].circular
    before = model(x)
    for times in range(1, single.shape[single.axis] // certificate.period):
        after = model(x.roll(times * certificate.period, single.axis))
        assert torch.allclose(moved(before, certificate.moves, times), after, atol=1e-9)


def _certified(single: Single):
    x = torch.randn(single.shape, dtype=torch.float64)
    return certify(single.make().double(), x, axes=[single.axis]).outputs[0].axes[0]
