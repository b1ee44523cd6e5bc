"""Every law holds however the input is cut: float64, to 1e-10 of what the whole gives."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fieldwise.errors import Refused
from fieldwise.tile import streamed, tiled
from fieldwise.tile.bands import StreamedModel
from fieldwise.tile.errors import StreamError
from tests.tile.bands.laws import Law
from tests.tile.bands.overlaps import OVERLAPS
from tests.tile.bands.videos import VIDEOS

LAWS = OVERLAPS | VIDEOS
IN_ONE_PASS = {name: law for name, law in LAWS.items() if not law.passes}
EVERY = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
SESSIONS = pytest.mark.parametrize("law", IN_ONE_PASS.values(), ids=IN_ONE_PASS)


def _whole(law: Law) -> Tensor:
    with torch.no_grad():
        return law.model(law.example)


def _close(found: Tensor, law: Law) -> None:
    torch.testing.assert_close(found, _whole(law), rtol=0, atol=1e-10)


def _run(law: Law, band: int = 64) -> StreamedModel:
    passes = "multipass" if law.passes else "refuse"
    return streamed(law.model, law.example, axis=law.axis, band=band, global_ops=passes)


def _pushed(law: Law, sizes: list[int], length: int | None) -> Tensor:
    session, x = _run(law).session(length=length, multiple=law.multiple), law.example
    pieces = [session.push(chunk) for chunk in x.split(sizes, law.axis)]
    pieces.append(session.close())
    shape = _whole(law).shape
    dim = next(d for d in range(len(shape)) if any(p.shape[d] != shape[d] for p in pieces))
    return torch.cat(pieces, dim)


def _partitions(rows: int) -> list[list[int]]:
    """One row at a time, and some at random."""
    numbers, found = random.Random(0), [[1] * rows]
    for _ in range(2):
        cuts = sorted({0, *(numbers.randrange(1, rows) for _ in range(5)), rows})
        found.append([hi - lo for lo, hi in pairwise(cuts)])
    return found


@EVERY
@pytest.mark.parametrize("band", [1, 3, 64])
def test_bands_of_any_height_give_the_whole(law: Law, band: int):
    _close(_run(law, band)(law.example), law)


@SESSIONS
def test_chunks_of_any_size_give_the_whole(law: Law):
    rows = law.shape[law.axis]
    for sizes in _partitions(rows):
        _close(_pushed(law, sizes, rows), law)


@SESSIONS
def test_a_stream_without_an_end_is_the_whole_or_is_refused(law: Law):
    sizes = _partitions(law.shape[law.axis])
    if isinstance(law.live, str):
        with pytest.raises(StreamError, match=law.live):
            _run(law).session()
        return
    for one in sizes:
        _close(_pushed(law, one, None), law)


@EVERY
def test_tiles_give_the_whole_or_are_refused(law: Law):
    tile = law.tile if isinstance(law.tile, int) else 4
    run = tiled(law.model, law.example, tile=tile, axes=[law.axis])
    if isinstance(law.tile, str):
        with pytest.raises(Refused, match=law.tile):
            run.plan(law.shape)
        return
    assert len(run.plan(law.shape)) > 1
    _close(run(law.example), law)


FOLDED = Law(lambda x: x.transpose(0, 1).flatten(0, 1).sin(), (24, 2, 5), 0)


def test_an_output_with_the_axis_folded_away_comes_whole():
    _close(_run(FOLDED, 5)(FOLDED.example), FOLDED)


def test_an_output_with_the_axis_folded_away_is_not_handed_on_row_by_row():
    told = r"the streamed axis is folded into dimension 0.*\n.*unflatten\(0, \(b, t\)\)"
    with pytest.raises(StreamError, match=told):
        _run(FOLDED).session()
    with pytest.raises(StreamError, match=told):
        next(_run(FOLDED).bands(FOLDED.example))
