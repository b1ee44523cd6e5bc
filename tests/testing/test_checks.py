"""The public checks pass what is right, and name what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fieldwise.axes import AxisMap, Border
from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.capture.torch.rules.common import along_but, source
from fieldwise.graph.ir import Along
from fieldwise.testing import (
    check_field,
    check_fold,
    check_reads,
    check_shift,
    check_streamed,
    check_tiled,
    fields,
    shifts,
    tiles,
)


def edges(x: Tensor, step: int) -> Tensor:
    """What lies so many columns to the right, minus what lies as far to the left."""
    padded = nn.functional.pad(x, (step, step))
    return padded[..., 2 * step :] - padded[..., : -2 * step]


def _registered(name: str, taps: tuple[int, ...]) -> None:
    """A custom op, and a rule that says that it reads these multiples of its step."""
    op = torch.library.custom_op(f"fieldwise_tests::{name}", edges, mutates_args=())
    op.register_fake(lambda x, step: torch.empty_like(x))

    @rule(f"fieldwise_tests::{name}")
    def _(call: OpCall) -> Reads:
        number, shape = source(call, "x")
        last = len(shape) - 1
        maps = (AxisMap.affine(1, tap * call["step"]) for tap in taps)
        return one(
            *(along_but(number, len(shape), {last: Along(last, m, Border.DROP)}) for m in maps)
        )


_registered("right", (-1, 1))
_registered("too_little", (1,))
_registered("too_much", (-1, 0, 1))
OPS = torch.ops.fieldwise_tests


def test_a_right_rule_passes():
    found = check_reads(lambda x: OPS.right(x, 2), torch.randn(1, 5, 16))
    assert (found.verdict, found.failed) == ("exact", False)
    assert found.compared > 1000


def test_a_rule_that_reads_too_little_is_told_the_first_pair():
    with pytest.raises(AssertionError, match="output misses elements of input: 0,0,2<-0,0,0"):
        check_reads(lambda x: OPS.too_little(x, 2), torch.randn(1, 5, 16))


def test_a_rule_that_reads_too_much_is_told_the_first_pair():
    with pytest.raises(AssertionError, match="elements of input that do not matter: 0,0,0<-0,0,0"):
        check_reads(lambda x: OPS.too_much(x, 2), torch.randn(1, 5, 16))


def test_an_op_without_a_rule_is_unknown_and_not_wrong():
    op = torch.library.custom_op("fieldwise_tests::ruleless", edges, mutates_args=())
    op.register_fake(lambda x, step: torch.empty_like(x))
    found = check_reads(lambda x: OPS.ruleless(x, 2), torch.randn(1, 2, 8))
    assert (found.verdict, found.why) == ("unknown", "fieldwise_tests::ruleless has no rule")


def test_whole_numbers_are_tried_up_to_the_largest():
    given = torch.tensor([0, torch.iinfo(torch.int8).max], dtype=torch.int8)
    assert check_reads(lambda x: x.eq(77), given).verdict == "exact"


@pytest.mark.parametrize("check", [check_reads, check_shift, check_streamed, check_tiled])
def test_a_check_that_compared_nothing_does_not_pass(check):
    with pytest.raises(AssertionError, match="Nothing was compared"):
        check(nn.Softsign(), torch.zeros(1, 0, 0))


def test_what_cannot_be_captured_is_no_success():
    with pytest.raises(AssertionError, match="Nothing was compared: CaptureError: The model looks"):
        check_field(lambda x: x * 2 if x.sum() > 0 else x, torch.randn(1, 1, 8))


NETWORK = nn.Sequential(
    nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), nn.Softsign(), nn.AvgPool1d(2)
)
SIGNAL = torch.randn(1, 2, 12)


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (check_field, "exact"),
        (check_shift, "holds"),
        (lambda *given: check_streamed(nn.Conv1d(2, 2, 3), given[1], axis=-1), "exact"),
        (lambda *given: check_tiled(nn.Conv1d(2, 2, 3), given[1], axis=-1), "exact"),
        (lambda *given: check_fold(nn.Sequential(nn.Conv1d(2, 2, 3), norm()), given[1]), "exact"),
    ],
    ids=["field", "shift", "streamed", "tiled", "fold"],
)
def test_a_right_network_passes_every_check(check, verdict):
    assert check(NETWORK, SIGNAL).verdict == verdict


def norm() -> nn.Module:
    norm = nn.BatchNorm1d(2)
    nn.init.uniform_(norm.weight)
    norm.running_var.uniform_(0.5, 2)
    return norm


class Other:
    """In place of a function of fieldwise: what it answers for another model."""

    def __init__(self, function, model: nn.Module) -> None:
        self.function, self.model = function, model

    def __call__(self, model: nn.Module, *given, **options):
        return self.function(self.model.double().eval(), *given, **options)


@pytest.fixture
def answered_for(monkeypatch) -> Iterator:
    def replace(room, name: str, model: nn.Module) -> None:
        monkeypatch.setattr(room, name, Other(getattr(room, name), model))

    return replace


def test_a_field_of_another_network_is_wrong(answered_for):
    answered_for(fields, "capture", nn.Conv1d(2, 2, 1))
    with pytest.raises(AssertionError, match="output misses elements of input"):
        check_field(nn.Conv1d(2, 2, 3, padding=1), SIGNAL)


def test_a_certificate_of_another_network_is_wrong(answered_for):
    answered_for(shifts, "certify", NETWORK)
    with pytest.raises(AssertionError, match="certified: output answers a roll by 2"):
        check_shift(nn.Sequential(nn.Conv1d(2, 2, 3, padding=1), nn.AvgPool1d(2)), SIGNAL)


def test_a_network_called_broken_that_is_not_is_wrong(answered_for):
    answered_for(shifts, "certify", nn.Conv1d(2, 2, 3, padding=1))
    with pytest.raises(AssertionError, match=r"said to be broken \(zero padding\), but answers"):
        check_shift(nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), SIGNAL)


@pytest.mark.parametrize(("name", "check"), [("streamed", check_streamed), ("tiled", check_tiled)])
def test_pieces_of_another_network_are_wrong(answered_for, name, check):
    answered_for(tiles, name, nn.Conv1d(2, 2, 3, padding=1))
    with pytest.raises(AssertionError, match="output differs by"):
        check(nn.Conv1d(2, 2, 3, padding=1), SIGNAL, axis=-1)


class Listed(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x * 2]


def test_outputs_in_another_nesting_are_wrong():
    assert tiles.unlike((SIGNAL,), [SIGNAL]) == (
        "the outputs come as ('tensor',), not as ['tensor']"
    )
    assert tiles.unlike([SIGNAL], [SIGNAL]) is None


def test_a_window_that_is_an_input_is_read_by_every_frame():
    def spectrum(x: Tensor, window: Tensor) -> Tensor:
        return torch.stft(x, 4, 2, 4, window, center=False, return_complex=True).abs()

    assert check_reads(spectrum, torch.randn(1, 10), torch.rand(4) + 0.5).verdict == "exact"
