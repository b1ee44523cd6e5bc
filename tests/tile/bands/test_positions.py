"""Sessions of unknown length over what depends on positions, far beyond the example."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.tile import streamed
from fieldwise.tile.bands.live import Session
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.errors import Blocked, StreamError
from tests.tile.bands.attentions import ATTENTIONS, MASKS, heads, joined
from tests.tile.bands.laws import Law, Net
from tests.tile.bands.overlaps import OVERLAPS

TABLES: dict[str, Callable[[Tensor], Tensor]] = {
    "sines": lambda at: torch.stack([(at * step).sin() for step in (1.0, 0.1, 0.01)], -1),
    "a clock": lambda at: torch.stack([at % 5, at % 3, at % 2], -1).to(torch.float64),
    "a late clock": lambda at: (at[:, None] % 4 + 10 * (at[:, None] < 3)).to(torch.float64),
    "a running sum": lambda at: at[:, None].cumsum(0).to(torch.float64).log1p(),
}


def with_positions(x: Tensor, table: str) -> Tensor:
    """(batch, position, feature) with a table of positions added."""
    return (x + TABLES[table](torch.arange(x.shape[1]))).tanh()


def scored(x: Tensor, mix: nn.Module, seen: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Attention with scores that fall with the distance, more slowly in the second head."""
    at = torch.arange(x.shape[1])
    away = at[:, None] - at[None]
    bias = -away.abs() * torch.tensor([0.5, 0.1])[:, None, None]
    mask = bias.to(x).masked_fill(~seen(at[:, None], at[None]), -torch.inf)
    return joined(F.scaled_dot_product_attention(*heads(x, mix), attn_mask=mask))


def sinks(q: Tensor, k: Tensor) -> Tensor:
    """The first two positions, and the last three."""
    return (q >= k) & ((k < 2) | (q - k < 3))


VOCODER = OVERLAPS["vocoder"]
LAWS = {
    **{name: Law(partial(with_positions, table=name), (1, 20, 3), 1) for name in TABLES},
    **{
        f"{name} with distances": Law(
            partial(scored, seen=seen), (1, 20, 8), 1, (nn.Linear(8, 24),)
        )
        for name, seen in (*MASKS.items(), ("sinks", sinks))
        if name != "first and near"
    },
    **{name: law for name, law in ATTENTIONS.items() if law.live is True and law.axis == 1},
    "vocoder": VOCODER,
}  # fmt: skip


def session_and_whole(law: Law, rows: int, shown: int) -> tuple[Session, Tensor, Tensor]:
    """A session made with an example of few rows, more rows to push, and what the whole gives."""
    shape = [rows if dim == law.axis else size for dim, size in enumerate(law.shape)]
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    with torch.no_grad():
        whole = law.model(x)
    shape[law.axis] = shown
    return streamed(law.model, torch.randn(shape).double(), axis=law.axis).session(), x, whole


def pushed(session: Session, x: Tensor, axis: int, sizes: list[int]) -> list[Tensor]:
    return [*(session.push(chunk) for chunk in x.split(sizes, axis)), session.close()]


def partition(rows: int, seed: int) -> list[int]:
    """One at a time, then a few at a time, then many."""
    numbers, most, left, found = random.Random(seed), (1, 7, 31)[seed % 3], rows, list[int]()
    while left:
        found.append(numbers.randrange(1, min(most, left) + 1))
        left -= found[-1]
    return found


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_stream_that_outgrows_its_example_is_the_whole(law):
    for seed, rows in enumerate((97, 60, 7)):
        session, x, whole = session_and_whole(law, rows, shown=20)
        found = torch.cat(
            pushed(session, x, law.axis, partition(rows, seed)), -1 if law is VOCODER else law.axis
        )
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in LAWS if name != "vocoder"])
def test_nothing_after_the_look_ahead_is_read_and_all_before_is_kept(name):
    law = LAWS[name]
    session, x, whole = session_and_whole(law, 40, shown=20)
    wait = session.latency["output"]
    poisoned = x.clone()
    poisoned[:, 30:] = torch.nan
    before = torch.cat([session.push(poisoned[:, :30]), session.push(poisoned[:, 30:])], 1)
    assert before[:, : 30 - wait].isfinite().all()
    torch.testing.assert_close(before[:, : 30 - wait], whole[:, : 30 - wait], rtol=0, atol=1e-10)


@pytest.mark.parametrize("way", ["fused", "filled", "added"])
def test_a_window_keeps_what_it_sees_however_long_the_stream(way):
    session, x, _ = session_and_whole(ATTENTIONS[f"{way}, window"], 200, shown=24)
    sizes = []
    for row in x.split(1, 1):
        session.push(row)
        sizes.append(session.state_bytes)
    assert session.program.lasts
    assert len(set(sizes[10:])) == 1


def test_a_window_that_is_longer_than_the_example_is_found_as_the_stream_grows():
    law = Law(partial(scored, seen=lambda q, k: (q >= k) & (q - k < 30)), (1, 20, 8), 1,
              (nn.Linear(8, 24),))  # fmt: skip
    session, x, whole = session_and_whole(law, 300, shown=20)
    assert not session.program.lasts
    rows = [session.push(row) for row in x.split(1, 1)]
    assert session.program.lasts
    torch.testing.assert_close(torch.cat([*rows, session.close()], 1), whole, rtol=0, atol=1e-10)


REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "a table in parts of the length": lambda x: x * torch.linspace(0, 1, x.shape[1])[:, None],
    "a table that ends in nothing": lambda x: x * torch.hann_window(x.shape[1])[:, None].to(x),
    "a table from the end": lambda x: x + torch.arange(x.shape[1]).flip(0)[:, None],
}


@pytest.mark.parametrize("function", REFUSED.values(), ids=REFUSED)
def test_a_table_that_knows_the_length_is_refused_by_name(function):
    run = streamed(Net(function), torch.randn(1, 20, 3), axis=1)
    told = (
        r"\((mul|add)\): a constant of it depends on the total length\n.*session\(length=\.\.\.\)"
    )
    with pytest.raises(StreamError, match=told):
        run.session()
    assert run.session(length=20).push(torch.randn(1, 20, 3)).shape == (1, 20, 3)


def test_rows_near_the_end_wait_where_a_table_knows_it():
    def faded(x: Tensor) -> Tensor:
        table = torch.ones(x.shape[1], dtype=x.dtype)
        table[-4:] = torch.tensor([0.8, 0.6, 0.4, 0.2])
        return x * table[:, None]

    session, x, whole = session_and_whole(Law(faded, (1, 20, 3), 1), 50, shown=20)
    assert session.latency == {"output": 4}
    pieces = pushed(session, x, 1, [1] * 50)
    assert [piece.shape[1] for piece in pieces] == [0] * 4 + [1] * 46 + [4]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=0)


def test_a_rule_that_changes_later_is_noticed():
    def changing(x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1])
        return x * torch.where(at < 30, at, at if x.shape[1] < 90 else 0)[:, None]

    run = streamed(Net(changing), torch.randn(1, 20, 3), axis=1)
    session = run.session()
    session.push(torch.randn(1, 75, 3))
    with pytest.raises(StreamError, match=r"\(mul\): what it computes depends on the total length"):
        session.push(torch.randn(1, 15, 3))


# -------------------------------------------------------------------- random networks


class Block(nn.Module):
    """A convolution at some rate, a table, then attention behind a mask; all drawn."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        width, chunk = draw.randrange(2, 9), draw.randrange(2, 7)
        ahead = draw.randrange(4)
        self.seen: Callable[[Tensor, Tensor], Tensor] = draw.choice(
            [
                lambda q, k: (q - k < width) & (k - q <= ahead),
                lambda q, k: q // chunk == k // chunk,
                lambda q, k: (q // chunk - k // chunk < 2) & (q >= k),
                lambda q, k: q >= k,
                lambda q, k: (q >= k) & ((q - k) % chunk == 0) & (q - k < 3 * chunk),
            ]
        )
        self.stride = draw.choice([1, 1, 2])
        self.conv: nn.Module = draw.choice(
            [nn.Conv1d(8, 8, 3, padding=1), nn.ConvTranspose1d(8, 8, 2, stride=2), nn.Identity()]
        )
        if self.stride == 2:
            self.conv = nn.Conv1d(8, 8, 2, stride=2)
        self.table = draw.choice([None, "sines", "a clock"])
        self.turns, self.fused = draw.random() < 0.5, draw.random() < 0.5
        self.mix = nn.Linear(8, 24)
        self.spread = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.mT).mT
        at = torch.arange(x.shape[1])
        if self.table is not None:
            x = x + self.spread(TABLES[self.table](at).to(x))
        query, key, value = heads(x, self.mix)
        if self.turns:
            angles = (at[:, None] * torch.tensor([1.0, 0.1])).to(x).repeat(1, 2)
            query, key = query * angles.cos(), key * angles.sin()
        seen = self.seen(at[:, None], at[None])
        if self.fused:
            return x + joined(F.scaled_dot_product_attention(query, key, value, attn_mask=seen))
        scores = (query @ key.mT).masked_fill(~seen, -torch.inf)
        return x + joined(scores.softmax(-1) @ value)


@pytest.mark.parametrize(
    "numbers", [range(10), pytest.param(range(10, 60), marks=pytest.mark.slow)]
)
def test_random_networks_of_unknown_length_are_the_whole(numbers):
    """At a length far beyond the example, in chunks of any size."""
    streams = 0
    for number in numbers:
        draw = random.Random(number)
        torch.manual_seed(number)
        blocks = [Block(draw) for _ in range(draw.choice([1, 2]))]
        model = nn.Sequential(*blocks).double().eval()
        multiple = math.prod(block.stride for block in blocks)
        try:
            run = streamed(model, torch.randn(1, 48, 8, dtype=torch.float64), axis=1)
            session = run.session(multiple=multiple)
        except StreamError:
            continue
        x = torch.randn(1, 4 * draw.randrange(20, 40), 8, dtype=torch.float64)
        found = pushed(session, x, 1, partition(x.shape[1], number))
        with torch.no_grad():
            torch.testing.assert_close(torch.cat(found, 1), model(x), rtol=0, atol=1e-10)
        streams += 1
    assert streams >= 0.9 * len(numbers)


# -------------------------------------------------------------------- what rows see


def listed(see: Callable[[int], IndexSet], rows: int) -> RowReach:
    table = Table(tuple(see(row).clip(rows) for row in range(rows)))
    return RowReach.of(table, Border.DROP, size=rows, count=rows)


SEEN: dict[str, Callable[[int], IndexSet]] = {
    "a window": lambda row: IndexSet.range(row - 3, row + 1),
    "around": lambda row: IndexSet.range(row - 2, row + 4),
    "a chunk": lambda row: IndexSet.range(row // 4 * 4, row // 4 * 4 + 4),
    "the past": lambda row: IndexSet.range(0, row + 1),
    "past chunks": lambda row: IndexSet.range(0, row // 4 * 4 + 4),
}


@pytest.mark.parametrize("see", SEEN.values(), ids=SEEN)
def test_rows_that_are_listed_go_on_as_they_would_in_a_longer_list(see):
    longer = listed(see, 60)
    for rows in (17, 20, 23):
        opened = listed(see, rows).opened()
        assert opened.is_past == (see(40).first == 0)
        for row in range(50):
            assert opened.span(row, row + 1) == longer.span(row, row + 1)
        assert opened.reads_like(longer)
        assert not opened.reads_like(listed(lambda row: see(max(row - 1, 0)), 60))


def test_a_window_that_few_rows_have_whole_is_taken_for_the_past():
    def see(row: int) -> IndexSet:
        return IndexSet.range(row - 11, row + 1)

    assert listed(see, 20).opened().is_past
    assert listed(see, 20).opened().reads_like(listed(see, 60).opened())
    assert not listed(see, 60).opened().is_past


@pytest.mark.parametrize(
    "see",
    [
        lambda row: IndexSet.of([row * row % 7, row]),
        lambda row: IndexSet.range(row, row + 2 if row < 9 else row + 3),
        lambda row: IndexSet.range(19 - row, 20),
    ],
)
def test_rows_that_follow_no_law_are_refused(see):
    with pytest.raises(Blocked, match="which rows it reads depends on the total length"):
        listed(see, 20).opened()


def test_maps_without_a_list_go_on_as_they_did():
    reach = RowReach.of(AxisMap.window(3, padding=1), Border.DROP, size=8, count=8)
    assert reach.opened().span(50, 51) == (49, 52)
    assert not reach.opened().is_past
