"""A streamed run in sections gives what it gives in one go, within the planned memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fieldwise.tile.jobs.banded import BandedInput
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.run import gathered
from fieldwise.tile.jobs.streams import stream_work
from fieldwise.tile.jobs.work import Output, PieceState
from tests.field.networks import Lstm
from tests.tile.bands.test_streamed import CASES


def assembled(work, x: np.ndarray) -> list[np.ndarray]:
    """All pieces, in a scattered order; what none of them writes stays NaN."""
    found = [np.full(out.shape, np.nan, out.dtype) for out in work.plan.outputs]
    for piece in (*work.plan.pieces[1::2], *work.plan.pieces[::2]):
        source = Guarded(x, piece.reads)
        for one in work.blocks(piece, source):
            if isinstance(one, PieceState):
                continue
            number, start, block = one
            region = tuple(slice(at, at + n) for at, n in zip(start, block.shape, strict=True))
            inside = zip(region, piece.writes[number], strict=True)
            assert all(lo <= one.start and one.stop <= hi for one, (lo, hi) in inside)
            found[number][region] = block
    return found


class Guarded:
    """An array of which only what a piece says that it reads may be read."""

    def __init__(self, values, reads):
        self.values, self.reads = values, reads

    def __getitem__(self, index):
        for one, size, (lo, hi) in zip(index, self.values.shape, self.reads, strict=False):
            start, stop, _ = one.indices(size)
            assert lo <= start
            assert stop <= hi
        return self.values[index]


@pytest.mark.parametrize(("kind", "shape"), CASES, ids=lambda case: getattr(case, "__name__", ""))
@settings(max_examples=4)
@given(band=st.integers(1, 6), section=st.integers(1, 9), grain=st.integers(1, 4))
def test_every_micro_network_gives_in_sections_what_it_gives_whole(
    kind, shape, band, section, grain
):
    torch.manual_seed(0)
    model = kind().double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    given = BandedInput(model, shape, torch.float64, band=band, grains=lambda _: grain)
    work = stream_work(given, section=section)
    (found,) = assembled(work, x.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(found, model(x).numpy(), atol=1e-11)


class Parts(nn.Module):
    """One result of an op is an output, another one goes on."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts
        self.conv = nn.Conv2d(2, 2, 5, padding=2)

    def forward(self, x):
        first, second = self.parts(x)
        return first, self.conv(second)


PARTS = {
    "chunk": lambda x: x.chunk(2, 1),
    "unbind": lambda x: x.unflatten(1, (2, 2)).unbind(2),
    "var_mean": lambda x: torch.var_mean(x.unflatten(1, (2, 2)), 1),
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_results_of_one_op_begin_together_in_every_section(parts):
    torch.manual_seed(0)
    model, x = Parts(parts).double().eval(), torch.randn(1, 4, 40, 8, dtype=torch.float64)
    work = stream_work(BandedInput(model, x.shape, torch.float64, band=2), section=8)
    assert len(work.plan.pieces) > 2
    with torch.no_grad():
        for found, expected in zip(assembled(work, x.numpy()), model(x), strict=True):
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-11)


@pytest.mark.parametrize(("kind", "shape"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_every_micro_network_is_gone_on_with_from_any_halt_to_the_same_bits(
    kind, shape, monkeypatch, tmp_path
):
    monkeypatch.setattr("fieldwise.tile.bands.drive.STEPS", 1)
    torch.manual_seed(0)
    x = torch.randn(shape).numpy()
    work = stream_work(BandedInput(kind().eval(), shape, torch.float32, band=2), section=9)
    kept = Checkpoint(tmp_path / "kept", "run", least=0.0)
    for piece in work.plan.pieces:
        parts = list(work.blocks(piece, x))
        halts = [number for number, part in enumerate(parts) if isinstance(part, PieceState)]
        for number in halts[:: max(len(halts) // 4, 1)]:
            kept.offer(lambda at=parts[number].at: at)
            kept._cost = 0.0
            rest = list(work.blocks(piece, x, PieceState(kept.load())))
            wanted = parts[number + 1 :]
            assert len(rest) == len(wanted)
            for one, other in zip(rest, wanted, strict=True):
                if not isinstance(one, PieceState):
                    assert one[:2] == other[:2]
                    assert one[2].tobytes() == other[2].tobytes()


class Pyramid(nn.Module):
    """Three outputs at different rates, one of which the others are made of."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 5, padding=2)
        self.down = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(2, 2, 4, 4)

    def forward(self, x):
        stem = self.stem(x)
        down = self.down(stem)
        return stem, down, self.up(down)


@given(band=st.integers(1, 9), section=st.integers(1, 30), grain=st.integers(1, 5))
@settings(max_examples=12)
def test_outputs_at_several_rates_are_cut_together(band, section, grain):
    torch.manual_seed(0)
    model = Pyramid().double()
    x = torch.randn(1, 1, 61, 9, dtype=torch.float64)
    given = BandedInput(model, x.shape, torch.float64, band=band, grains=lambda _: grain)
    work = stream_work(given, section=section)
    starts = [[lo for lo, _ in (box[2] for box in piece.writes)] for piece in work.plan.pieces]
    assert all(row % grain == 0 for rows in starts for row in rows)
    with torch.no_grad():
        for found, wanted in zip(assembled(work, x.numpy()), model(x), strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-11)


def test_sections_share_little_of_what_they_read():
    model = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(4)))
    work = stream_work(BandedInput(model, (1, 1, 2000, 8), torch.float32, band=16))
    assert len(work.plan.pieces) > 10
    assert 1 < work.plan.reread < 1.07


def test_a_state_that_is_carried_along_makes_one_piece_and_says_so():
    work = stream_work(BandedInput(Lstm(), (2, 3, 700), torch.float32, band=16))
    assert len(work.plan.pieces) == 1
    assert any("keeps a state from row to row" in note for note in work.plan.notes)


@given(st.lists(st.integers(1, 7), min_size=1), st.integers(1, 9))
def test_gathered_blocks_end_at_multiples_of_the_grain_and_lose_nothing(sizes, grain):
    values = np.arange(2 * sum(sizes)).reshape(2, -1)
    starts = np.cumsum([0, *sizes])
    blocks = [
        (0, (0, int(lo)), values[:, lo : lo + n]) for lo, n in zip(starts, sizes, strict=False)
    ]
    out = Output("y", values.shape, values.dtype, 1, (None, None))
    found = list(gathered(iter(blocks), [out], [grain]))
    assert all(start[1] % grain == 0 for _, start, _ in found)
    assert all(block.shape[1] % grain == 0 for _, _, block in found[:-1])
    np.testing.assert_array_equal(np.concatenate([block for *_, block in found], 1), values)
