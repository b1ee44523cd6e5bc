"""Streamed jobs as a card runs them, with stand-ins: the same bytes, begun there and ended here."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from fieldwise.cli import app
from fieldwise.tile.bands import ahead, drive
from fieldwise.tile.bands.ahead import NoMove
from fieldwise.tile.bands.choosing import BandRoom
from fieldwise.tile.bands.repeating import Repeating
from fieldwise.tile.files import FileView
from fieldwise.tile.jobs import begun_cut, fingerprint, journal_path
from tests.tile.bands.standin import StandIn
from tests.tile.jobs.cases import carried_out, content, enter, image, planned

CARD = "cuda:0 NVIDIA H100"
WIDE = BandRoom(1 << 30, 1 << 30, few=4)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 1100, 12))


def as_on_a_card(monkeypatch) -> list[Repeating]:
    """Steps are recorded, rows are read ahead, bands are wide; the runs that were made."""
    made = []

    class Noted(Repeating):
        def __init__(self, engine, make) -> None:
            super().__init__(engine, make)
            made.append(self)

    for room in (ahead, drive):
        monkeypatch.setattr(room, "find_mover", lambda _: NoMove())
    monkeypatch.setattr(drive, "Repeating", Noted)
    monkeypatch.setattr(drive, "find_recorder", lambda _: StandIn)
    monkeypatch.setattr(fingerprint, "described", lambda _: CARD)
    monkeypatch.setattr("fieldwise.tile.jobs.streams.room_on", lambda *_, **__: WIDE)
    return made


@pytest.mark.parametrize("net", ["unet", "several"])
def test_a_job_on_a_card_has_the_same_bytes(tmp_path, monkeypatch, net):
    options = {"band": 16, "piece": 1100}
    here = planned(tmp_path / "in.npy", tmp_path / "here.npy", net, **options)
    carried_out(here)
    with monkeypatch.context() as patch:
        runs = as_on_a_card(patch)
        there = planned(tmp_path / "in.npy", tmp_path / "there.npy", net, **options)
        carried_out(there)
    assert sum(one.engine.replayed for one in runs) > 20
    pairs = zip(here.files, there.files, strict=True)
    assert all(content(one.path) == content(other.path) for one, other in pairs)


class CardLostError(Exception):
    """The card is gone."""


def test_a_job_begun_on_a_card_ends_on_the_processor_and_says_so(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    with monkeypatch.context() as patch:
        as_on_a_card(patch)
        begun = planned(tmp_path / "in.npy", out, piece=100)
        writes = []

        def write(self, start, block, *, whole=FileView.write):
            writes.append(start)
            if len(writes) > 3:
                raise CardLostError
            whole(self, start, block)

        patch.setattr(FileView, "write", write)
        with pytest.raises(CardLostError):
            carried_out(begun)
    assert planned(tmp_path / "in.npy", out, piece=100).plan.step != begun.plan.step
    assert begun_cut(journal_path(out)) == begun.cut
    arguments = ["tile", "job_nets:unet", "in.npy", "out.npy", "--piece", "100", "--layout", "CHW"]
    said = CliRunner().invoke(app, [*arguments, "--resume"])
    assert said.exit_code == 0
    assert f"device {CARD} → cpu): the last bits may differ" in " ".join(said.output.split())
    whole = tmp_path / "whole.npy"
    carried_out(planned(tmp_path / "in.npy", whole, piece=100))
    assert np.abs(np.load(out) - np.load(whole)).max() <= 1e-6 * np.abs(np.load(whole)).max()
