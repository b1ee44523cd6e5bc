"""Every law holds however the input is cut: float64, to 1e-10 of what the whole gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fieldwise.errors import Refused
from fieldwise.tile import streamed, tiled
from fieldwise.tile.bands import StreamedModel
from fieldwise.tile.errors import StreamError
from tests.tile.bands.attentions import ATTENTIONS, INF
from tests.tile.bands.laws import Law
from tests.tile.bands.overlaps import OVERLAPS
from tests.tile.bands.pools import POOLS
from tests.tile.bands.scans import SCANS
from tests.tile.bands.videos import VIDEOS

LAWS = OVERLAPS | VIDEOS | ATTENTIONS | SCANS | POOLS
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
def test_bands_of_any_height_give_the_whole(law, band):
    _close(_run(law, band)(law.example), law)


@SESSIONS
def test_chunks_of_any_size_give_the_whole(law):
    rows = law.shape[law.axis]
    for sizes in _partitions(rows):
        _close(_pushed(law, sizes, rows), law)


@SESSIONS
def test_a_stream_without_an_end_is_the_whole_or_is_refused(law):
    sizes = _partitions(law.shape[law.axis])
    if isinstance(law.live, str):
        with pytest.raises(StreamError, match=law.live):
            _run(law).session()
        return
    for one in sizes:
        _close(_pushed(law, one, None), law)


@EVERY
def test_tiles_give_the_whole_or_are_refused(law):
    tile = law.tile if isinstance(law.tile, int) else 4
    if isinstance(law.tile, str):
        with pytest.raises(Refused, match=law.tile):
            tiled(law.model, law.example, tile=tile, axes=[law.axis]).plan(law.shape)
        return
    run = tiled(law.model, law.example, tile=tile, axes=[law.axis])
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


def _mixed(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    seen = torch.ones(x.shape[1], x.shape[1]).tril().bool()
    scores = change((x @ x.transpose(1, 2)).masked_fill(~seen, -INF))
    return scores @ x


RELATED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "no mask": (lambda x: (x @ x.transpose(1, 2)).softmax(-1) @ x, "reads the whole streamed axis"),
    "scores alone": (lambda x: x @ x.transpose(1, 2), "an output holds what is made of them"),
    "a finite mask": (
        lambda x: (x @ x.transpose(1, 2) - 100 * torch.ones(24, 24).triu(1)).softmax(-1) @ x,
        "reads the whole streamed axis",
    ),
    "a mask after the softmax": (
        lambda x: _mixed(x, lambda y: y.softmax(-1).triu(-3)),
        "a softmax weighs rows that no mask hides from it",
    ),
    "scores in another order": (
        lambda x: _mixed(x, lambda y: y.softmax(-1).flip(1)), "up to a sum that a mask limits",
    ),
    "scores of a norm": (
        lambda x: F.layer_norm((x @ x.transpose(1, 2)).tril(), (24,)).tril() @ x,
        "up to a sum that a mask limits",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "why"), RELATED.values(), ids=RELATED)
def test_pairs_of_rows_are_refused_with_the_reason(function, why):
    law = Law(function, (2, 24, 8), 1)
    with pytest.raises(StreamError, match=rf"as attention does, and .*{why}"):
        _run(law).plan(law.shape)


def test_rows_that_see_nothing_are_what_the_op_makes_of_them():
    def ahead(x: Tensor) -> Tensor:
        seen = torch.ones(x.shape[1], x.shape[1]).triu(3).bool()
        return F.scaled_dot_product_attention(x, x, x, attn_mask=seen)

    law = Law(ahead, (2, 24, 8), 1)
    for band in (1, 5, 64):
        torch.testing.assert_close(_run(law, band)(law.example), _whole(law), equal_nan=True)


def test_the_plan_says_what_grows_and_what_does_not():
    plans = {mask: _run(ATTENTIONS[f"fused, {mask}"], 2).plan((2, 48, 8)) for mask in
             ("causal", "window")}  # fmt: skip
    grown, kept = (max(one.rows for one in plan.kept) for plan in plans.values())
    assert (grown, kept) == (46, 4)
    assert "(attention) reads all of its past, which grows by 128 B a row" in str(plans["causal"])
    assert "grows" not in str(plans["window"])


def test_a_slice_of_so_many_rows_is_no_stream_without_an_end():
    law = Law(lambda x: x[:, :, :5].sin(), (1, 2, 24), 2)
    with pytest.raises(StreamError, match="depends on the total length"):
        _run(law).session()
    _close(_pushed(law, [1] * 24, 24), law)


def test_a_pool_that_is_needed_whole_is_refused_in_one_pass_with_the_remedy():
    law = POOLS["style"]
    told = r"\(avg_pool\): every result reads the whole streamed axis\n(.*\n)*.*global_ops="
    with pytest.raises(StreamError, match=told):
        streamed(law.model, law.example, axis=2).plan(law.shape)
