"""What a stream of live data takes, held against NaNs, against sessions and against torch."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fieldwise import latency
from fieldwise.errors import UsageError
from fieldwise.tile import streamed
from tests.tile.bands.attentions import ATTENTIONS
from tests.tile.bands.decoders import WIDTHS, Vocoder, WaveUNet, decoder, encoder, made
from tests.tile.bands.networks import Chomped, Recurrent
from tests.tile.bands.networks import WaveUNet as Aligned

LENGTH = 240


def seen(model: nn.Module, width: int) -> tuple[Fraction, Fraction]:
    """How far rows in the middle see ahead and back, as NaNs in single input samples tell."""
    x = torch.randn(1, width, LENGTH, dtype=torch.float64)
    with torch.no_grad():
        rows = model(x).shape[2]
        ahead, back = Fraction(-LENGTH), Fraction(-LENGTH)
        for sample in range(LENGTH // 3, 2 * LENGTH // 3):
            spoilt = x.clone()
            spoilt[..., sample] = math.nan
            told = model(spoilt)[0].isnan().any(0).nonzero().flatten().tolist()
            positions = [Fraction(row * LENGTH, rows) for row in told]
            ahead = max([ahead, *(sample - at for at in positions)])
            back = max([back, *(at - sample for at in positions)])
    return ahead, back


@pytest.mark.parametrize("make", [decoder, encoder, Vocoder, WaveUNet], ids=lambda f: f.__name__)
def test_rows_look_ahead_and_back_as_far_as_a_nan_reaches(make):
    model, width = made(make), WIDTHS[make]
    (row,) = latency(model, torch.randn(1, width, LENGTH, dtype=torch.float64))
    assert (row.look_ahead, row.past) == seen(model, width)
    assert not row.causal


@pytest.mark.parametrize("make", WIDTHS, ids=lambda f: f.__name__)
def test_a_row_waits_for_what_it_sees_and_no_longer_than_a_session_lets_it_wait(make):
    model, width = made(make), WIDTHS[make]
    x = torch.randn(1, width, LENGTH, dtype=torch.float64)
    report = latency(model, x)
    (row,) = report
    session = streamed(model, x, axis=-1).session(
        multiple=report.grid if report.lengths == "multiple" else 1
    )
    waited, late, rows = 0, 0, 0
    for at in range(LENGTH):
        for _ in range(session.push(x[..., at : at + 1]).shape[2]):
            own = int(rows / row.per_sample)
            waited, rows = max(waited, at - own), rows + 1
            late = max(late, at - own) if own > LENGTH // 2 else late
    assert row.latency == late
    assert max(row.latency, row.at_start) == waited == session.latency["output"]
    assert row.look_ahead is not None
    assert row.latency >= math.floor(row.look_ahead)
    assert row.all_past == ("recurrent" in make.__name__)


@pytest.mark.parametrize("make", WIDTHS, ids=lambda f: f.__name__)
def test_the_state_between_chunks_is_what_a_session_holds(make):
    model, width = made(make), WIDTHS[make]
    x = torch.randn(1, width, LENGTH, dtype=torch.float64)
    report = latency(model, x)
    session = streamed(model, x, axis=-1).session(multiple=report.grid)
    for chunk in x.split(report.grid, -1):
        session.push(chunk)
    assert report.state_bytes == session.state_bytes > 0


def test_the_cost_of_a_sample_is_what_longer_inputs_cost_more():
    kinds = (nn.Conv1d, nn.ConvTranspose1d)  # what torch counts
    model = nn.Sequential(*(layer for layer in made(decoder) if isinstance(layer, kinds)))

    def whole(length: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.randn(1, 3, length, dtype=torch.float64))
        return counter.get_total_flops()

    report = latency(model, torch.randn(1, 3, 40, dtype=torch.float64), rate=100)
    assert report.flops_per_sample == Fraction(whole(90) - whole(40), 50)
    assert report.flops_per_second == 100 * report.flops_per_sample


# -------------------------------------------------------------------- what is in the way


def test_a_causal_network_is_said_to_be_causal():
    (row,) = latency(Chomped().eval(), (1, 2, 40))
    assert (row.causal, row.look_ahead, row.past, row.latency) == (True, 0, 14, 0)


def test_a_network_that_carries_all_of_the_past_is_causal_and_streams_at_any_length():
    report = latency(Recurrent().eval(), (1, 2, 40))
    assert report.lengths == "any"
    assert [(row.causal, row.look_ahead, row.latency) for row in report] == [(True, 0, 0)]
    assert report["output"].all_past


def test_what_needs_the_length_is_named_with_the_remedy():
    report = latency(Aligned().eval(), (1, 1, 64))
    assert report.lengths == "announced"
    assert {reason.op for reason in report.reasons} == {"upsample_linear"}
    assert report.remedy == "Announce the length, session(length=...)."
    assert report["output"].latency is not None


def test_the_remedy_is_what_was_tried_and_works():
    class Padded(nn.Module):
        """Mirrored up to whole frames, as codecs do: by how much depends on the length."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 4, 4)

        def forward(self, x):
            return self.conv(nn.functional.pad(x, (0, -x.shape[-1] % 4), mode="reflect"))

    report = latency(Padded().eval(), (1, 1, 40))
    assert report.lengths == "multiple"
    assert report.remedy == "Announce what the length is a multiple of, session(multiple=4)."
    streamed(Padded().eval(), (1, 1, 40), axis=-1).session(multiple=4)


def test_a_stride_that_sizes_must_be_multiples_of_is_the_grid():
    class Cropped(nn.Module):
        """As many samples out as in, whatever the stride leaves over."""

        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Conv1d(1, 2, 4, 4), nn.ConvTranspose1d(2, 1, 4, 4)

        def forward(self, x):
            return self.up(self.down(x)) + x

    report = latency(Cropped().eval(), (1, 1, 40))
    assert (report.lengths, report.grid) == ("multiple", 4)


def test_what_the_first_rows_wait_for_is_told_apart():
    class Mirrored(nn.Conv1d):
        """Causal, with the first samples mirrored."""

        def forward(self, x):
            return super().forward(nn.functional.pad(x, (6, 0), mode="reflect"))

    report = latency(Mirrored(1, 1, 7).eval(), (1, 1, 40))
    assert [(row.causal, row.latency, row.at_start) for row in report] == [(True, 0, 6)]
    assert "6 at the start" in str(report)


def test_a_layer_that_needs_everything_is_named_and_what_is_behind_it_sees_everything():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.GroupNorm(1, 2), nn.Conv1d(2, 2, 3)).eval()
    report = latency(model, (1, 1, 40))
    assert (report.lengths, report.grid, report.state_bytes) == ("refused", None, None)
    (reason,) = report.reasons
    assert (reason.module, reason.op) == ("1", "group_norm")
    assert "A session sees its input once" in report.remedy
    (row,) = report
    assert (row.causal, row.latency, row.why) == (False, None, "'1' sees the whole axis")


def test_outputs_have_a_row_each_and_a_constant_has_none():
    class Net(nn.Module):
        def forward(self, x):
            return {"fine": x.relu(), "coarse": x[..., ::2], "table": torch.ones(3)}

    report = latency(Net(), (1, 1, 40))
    assert [(row.name, row.per_sample) for row in report] == [
        ("fine", 1),
        ("coarse", Fraction(1, 2)),
    ]
    assert "coarse" in report


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"example": (1, 3, 8, 8), "rate": 30}, r"2 spatial ones; say which is time: axis=2"),
        ({"example": (1, 1, 8), "rate": 0}, "A rate is a number of samples per second above 0"),
        ({"example": (1, 1, 8), "rate": float("nan")}, "above 0, got nan"),
        ({"example": (1, 1, 8), "axis": 5}, "axes 0 to 2; axis 5 is none of them"),
        ({"example": ((1, 1, 8), (1, 1, 8))}, "one input; this model takes 2"),
    ],
    ids=str,
)
def test_a_question_that_makes_no_sense_is_answered_in_a_sentence(given, said):
    model = nn.Bilinear(8, 8, 2) if isinstance(given["example"][0], tuple) else nn.ReLU()
    with pytest.raises(UsageError, match=said):
        latency(model, **given)


@pytest.mark.parametrize(
    "name", ["fused, window", "filled, chunk", "rotated", "added, past chunks"]
)
def test_the_state_of_attention_is_what_a_session_holds_and_grows_by(name):
    law = ATTENTIONS[name]
    report = latency(law.model, law.example, axis=1)
    assert (report.lengths, report.reasons, report.grid) == ("any", (), 1)
    session, held = streamed(law.model, law.example, axis=1).session(), []
    for sample in torch.randn(2, 96, 8, dtype=torch.float64).split(1, 1):
        session.push(sample)
        held.append(session.state_bytes)
    assert report.state_growth == (held[-1] - held[-49]) / 48
    if not report.state_growth:
        assert report.state_bytes == max(held[-6:])
    assert ("more with every sample" in str(report)) == (report.state_growth > 0)
