"""A plan that skips steps which are alike is the plan of all steps."""

from __future__ import annotations

import pytest
import torch

from fieldwise.capture.torch import capture
from fieldwise.tile.bands import plan as plans
from fieldwise.tile.bands.alike import AlikeSteps
from fieldwise.tile.bands.column_steps import column_steps
from fieldwise.tile.bands.compile import compile_program
from fieldwise.tile.errors import StreamError
from tests.tile.bands.test_streamed import CASES


@pytest.mark.parametrize("band", [1, 4, 8, 12])
def test_every_micro_network_is_planned_alike_with_and_without_skipping(band, monkeypatch):
    skipped, planned = [], []
    find = AlikeSteps.shift

    def noted(self, stand, spare):
        found = find(self, stand, spare)
        skipped.append(found[0])
        return found

    for kind, shape in CASES:
        long = (*shape[:2], 24 * shape[2], *shape[3:])
        try:
            program = compile_program(capture(kind().eval(), torch.empty(long, device="meta")), 2)
        except (StreamError, RuntimeError):
            continue
        with monkeypatch.context() as patch:
            patch.setattr(AlikeSteps, "shift", noted)
            found = plans.plan_of(program, band)
        with monkeypatch.context() as patch:
            patch.setattr(AlikeSteps, "shift", lambda *_: (0, 0, []))
            assert plans.plan_of(program, band) == found
        planned.append(kind)
    assert len(planned) > len(CASES) / 2
    assert sum(1 for turns in skipped if turns) > len(planned) / 3


def test_the_end_of_a_long_input_is_gone_through_step_by_step(monkeypatch):
    taken = []
    take = plans._Tally.take
    monkeypatch.setattr(
        plans._Tally, "take", lambda self, step: (taken.append(1), take(self, step))
    )
    net = torch.nn.Conv2d(1, 1, 5, padding=2).eval()
    program = compile_program(capture(net, torch.empty(1, 1, 64_000, 8, device="meta")), 2)
    assert plans.plan_of(program, 64).steps == 1001
    assert len(taken) < 20


@pytest.mark.parametrize("strip", [4, 12, 48])
def test_strips_that_are_alike_are_the_strips_that_are_gone_through_one_by_one(strip, monkeypatch):
    skipped, compared = [], 0
    find = AlikeSteps.shift

    def noted(self, stand):
        found = find(self, stand)
        skipped.append(found[0])
        return found

    for kind, shape in CASES:
        long = (*shape[:2], 6 * strip * shape[2], *shape[3:])
        try:
            program = compile_program(capture(kind().eval(), torch.empty(long, device="meta")), 2)
            with monkeypatch.context() as patch:
                patch.setattr(AlikeSteps, "shift", lambda *_: (0, 0, []))
                wanted = column_steps(program, strip)
        except (StreamError, RuntimeError):
            continue
        with monkeypatch.context() as patch:
            patch.setattr(AlikeSteps, "shift", noted)
            assert column_steps(program, strip) == wanted
        compared += 1
    assert compared > len(CASES) / 3
    assert sum(1 for turns in skipped if turns) > compared / 3
