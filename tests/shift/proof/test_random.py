"""On random networks the prover and brute force agree, both ways, in float64."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, assume, given, seed, settings
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.errors import CaptureError
from fieldwise.shift import AxisCertificate, Move, certify
from fieldwise.testing.shifts import moved
from tests.field.random_networks import Concat, Drawn, Mixed
from tests.shift.proof.random_networks import randomised, shift_networks

NETWORKS = 80
EXACT, DIFFERENT = 1e-9, 1e-6
INPUTS = 3
UNDESCRIBED = ("is not supported",)


@pytest.mark.parametrize("part", range(4))
def test_the_prover_and_brute_force_agree_on_random_networks(part):
    """Period, control shifts and interior, along one axis, for 4 × 80 networks."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=NETWORKS, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(shift_networks())
    def agree(drawn: Drawn) -> None:
        torch.manual_seed(0)
        list(randomised(drawn.model))
        axis = axis_of(drawn)
        certificate = _certified(drawn, axis)
        case = Case(drawn, axis)
        assume(case.depends)
        if certificate.circular.holds:
            seen["holds"] += 1
            case.check_holds(certificate)
        else:
            seen["broken"] += 1
            case.check_broken(certificate)
        seen["interior"] += case.check_interior(certificate)

    seed(part)(agree)()
    assert min(seen["holds"], seen["broken"], seen["interior"]) >= NETWORKS // 8, seen


def axis_of(drawn: Drawn) -> int:
    """The last axis, where most layers do most; for some shapes the first one of space."""
    return 2 if sum(drawn.shape) % 3 == 0 else len(drawn.shape) - 1


def _certified(drawn: Drawn, axis: int) -> AxisCertificate:
    example = torch.empty(drawn.shape, dtype=torch.float64)
    try:
        graph = capture(drawn.model, example)
    except CaptureError:
        assume(False)
    assume(graph.outputs and all(0 not in graph.shape(name) for name in graph.outputs))
    outputs = certify(graph, axes=[axis]).outputs
    assume(outputs)
    return outputs[0].axes[0]


class Case:
    """A network, some inputs that hold more than it sees, and what it makes of them."""

    def __init__(self, drawn: Drawn, axis: int) -> None:
        self.model, self.axis, self.size = drawn.model, axis, drawn.shape[axis]
        self.long = [
            torch.randn(
                *drawn.shape[:axis], 2 * self.size, *drawn.shape[axis + 1 :], dtype=torch.float64
            )
            for _ in range(INPUTS)
        ]
        self.inputs = [x.narrow(axis, 0, self.size) for x in self.long]
        self.outputs = [self(x) for x in self.inputs]
        self.scale = max((self.outputs[0] - y).abs().max() for y in self.outputs[1:]).item()
        peak = max(y.abs().max() for y in self.outputs).item()
        blunt = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Upsample, Mixed, Concat)
        self.sharp = not any(isinstance(module, blunt) for module in drawn.model.modules())
        self.depends = EXACT * peak < 1e-3 * self.scale < float("inf")

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(x)

    def error(self, one: Tensor, two: Tensor) -> float:
        return (one - two).abs().max().item() / self.scale

    # ---------------------------------------------------------------- circular

    def rolled(self, by: int) -> list[Tensor]:
        return [self(x.roll(by, self.axis)) for x in self.inputs]

    def check_holds(self, certificate: AxisCertificate) -> None:
        """Every multiple of the period acts as said, and no other shift acts alike."""
        circular = certificate.circular
        for by in range(1, self.size):
            after = self.rolled(by)
            if by % circular.period == 0:
                times = by // circular.period
                wanted = [moved(y, circular.moves, times) for y in self.outputs]
                errors = [self.error(*pair) for pair in zip(wanted, after, strict=True)]
                assert max(errors) <= EXACT, (by, circular, errors)
            else:
                assert not self.acts(after, circular.moves), (by, circular)

    def acts(self, after: list[Tensor], moves: tuple[Move, ...]) -> bool:
        """Whether the outputs are rolled by whatever step along some of these moves."""
        steps = range(moves[0].size) if moves else range(1)
        return any(
            all(
                self.error(moved(before, _stepping(moves, step)), now) <= DIFFERENT
                for before, now in zip(self.outputs, after, strict=True)
            )
            for step in steps
        )

    def check_broken(self, certificate: AxisCertificate) -> None:
        """No shift rolls the output along any dimension, and somebody is named."""
        assert certificate.broken_by
        if any(why in b.why for b in certificate.broken_by for why in UNDESCRIBED):
            return
        shape = self.outputs[0].shape
        whole = [Move(d, 0, shape[d], 1, shape[d], 1, 1) for d in range(2, len(shape))]
        for by in range(1, self.size):
            after = self.rolled(by)
            for move in whole:
                assert not self.acts(after, (move,)), (by, move, certificate.broken_by)

    # ---------------------------------------------------------------- interior

    def check_interior(self, certificate: AxisCertificate) -> bool:
        """What is out of reach of the edges moves as the view does, and no position more.

        The latter where it can be told: a pool may find its maximum inside, what is clamped may be
        equal to its neighbour, and the proof does not follow channels one by one.
        """
        interior = certificate.interior
        if interior.range is None or len(interior.moves) != 1:
            return False
        (move,), (start, stop) = interior.moves, interior.range
        if move.outer * move.inner != 1 or move.start:
            return False
        for times in range(1, self.size // interior.period + 1):
            step = times * interior.step
            low, high = max(start, start - step), min(stop, stop - step)
            start_at = times * interior.period
            later = [self(x.narrow(self.axis, start_at, self.size)) for x in self.long]
            if low < high:
                assert self._differ(later, move.dim, range(low, high), step) <= EXACT, (low, high)
            for edge in (low - 1, high) if self.sharp else ():
                if 0 <= edge < move.size and 0 <= edge + step < move.size and low < high:
                    assert self._differ(later, move.dim, range(edge, edge + 1), step) > EXACT, edge
        return True

    def _differ(self, later: list[Tensor], dim: int, where: range, step: int) -> float:
        return max(
            self.error(
                now.narrow(dim, where.start, len(where)),
                before.narrow(dim, where.start + step, len(where)),
            )
            for before, now in zip(self.outputs, later, strict=True)
        )


def _stepping(moves: tuple[Move, ...], step: int) -> list[Move]:
    return [
        Move(m.dim, m.start, m.stop, m.outer, m.size, m.inner, step if m.step > 0 else -step)
        for m in moves
    ]


def test_a_network_is_not_changed_by_certifying_it():
    """The proof looks at the graph alone."""
    model = nn.Conv2d(1, 1, 3, padding=1)
    before = model.weight.clone()
    certify(model, (1, 1, 8, 8))
    assert torch.equal(model.weight, before)
