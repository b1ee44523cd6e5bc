"""Emitted streams of attention to windows and of tables of positions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.errors import UnsuitableError, UsageError
from fieldwise.tile import EmittedStream, streamed
from fieldwise.tile.bands.emitted import file_of
from fieldwise.tile.errors import StreamError
from tests.tile.bands.attentions import ATTENTIONS, MASKS, heads, joined
from tests.tile.bands.laws import Law
from tests.tile.bands.test_positions import LAWS, VOCODER, scored, with_positions

STEADY = {
    name: law
    for name, law in LAWS.items()
    if any(word in name for word in ("window", "chunk", "around", "clock", "keys before"))
    and "past" not in name
}


def emitted_of(law: Law, shown: int, **options: int) -> EmittedStream:
    shape = [shown if dim == law.axis else size for dim, size in enumerate(law.shape)]
    run = streamed(law.model, torch.randn(shape, dtype=torch.float64), axis=law.axis)
    return run.emit(**options)


def error_of(emitted: EmittedStream, law: Law, steps: int) -> float:
    shape = list(law.shape)
    shape[law.axis] = emitted.first + steps * emitted.chunk + emitted.rest
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        wanted = law.model(x)
    (found,) = emitted.run(x)
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max())


@pytest.mark.parametrize("law", STEADY.values(), ids=STEADY)
def test_windows_and_tables_that_come_back_are_handed_on(law):
    for rest in (0, 6):
        emitted = emitted_of(law, 24, chunk=60, rest=rest)
        assert max(error_of(emitted, law, steps) for steps in (0, 3)) < 1e-10


def test_a_vocoder_is_handed_on_with_its_envelope():
    for chunk in (1, 4):
        emitted = emitted_of(VOCODER, 30, chunk=chunk)
        assert max(error_of(emitted, VOCODER, steps) for steps in (0, 1, 7)) < 1e-10


def test_a_window_keeps_what_it_sees():
    emitted = emitted_of(ATTENTIONS["fused, window"], 24, chunk=1)
    assert [one.shape for one in emitted.states] == [(2, 2, 4, 4)] * 2
    assert emitted.outputs[0].delay == 0
    law = Law(partial(scored, seen=lambda q, k: (q >= k) & (q - k < 30)), (1, 20, 8), 1,
              (nn.Linear(8, 24),))  # fmt: skip
    longer = emitted_of(law, 20, chunk=3)
    assert [one.shape for one in longer.states] == [(1, 2, 29, 4)] * 2
    assert error_of(longer, law, 20) < 1e-10


def test_chunks_are_multiples_of_what_comes_back():
    with pytest.raises(UsageError, match="no multiple of the grid 30"):
        emitted_of(LAWS["a clock"], 100, chunk=20)
    with pytest.raises(UsageError, match="no multiple of the grid 6"):
        emitted_of(ATTENTIONS["fused, chunk"], 24, chunk=4)


def test_all_of_the_past_has_no_steady_state():
    for law in (ATTENTIONS["fused, causal"], ATTENTIONS["filled, past chunks"]):
        told = r"what is kept of '.*' grows with every chunk\n.*attend to a window of the past"
        with pytest.raises(StreamError, match=told):
            emitted_of(law, 24, chunk=6)


def turned_in_a_window(x: Tensor, mix: nn.Module) -> Tensor:
    """Queries and keys turned by their position, and a window of the past."""
    query, key, value = heads(x, mix)
    at = torch.arange(x.shape[1])
    angles = at[:, None].to(x) * torch.tensor([1.0, 0.1]).to(x)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def turn(y: Tensor) -> Tensor:
        left, right = y.chunk(2, -1)
        return y * cos + torch.cat([-right, left], -1) * sin

    seen = MASKS["window"](at[:, None], at[None])
    return joined(F.scaled_dot_product_attention(turn(query), turn(key), value, attn_mask=seen))


def upsampled(x: Tensor) -> Tensor:
    """A table at twice the rate of the input."""
    return with_positions(x.repeat_interleave(2, 1), "sines")


TURNED = Law(turned_in_a_window, (1, 20, 8), 1, (nn.Linear(8, 24),))
COUNTED = {
    "sines": LAWS["sines"],
    "a running sum": LAWS["a running sum"],
    "turned in a window": TURNED,
    "at twice the rate": Law(upsampled, (1, 20, 3), 1),
}


@pytest.mark.parametrize("law", COUNTED.values(), ids=COUNTED)
def test_tables_as_long_as_the_stream_are_read_by_a_counter(law):
    for chunk, rest in ((1, 0), (5, 3)):
        emitted = emitted_of(law, 20, chunk=chunk, rest=rest, longest=70)
        assert (emitted.states[-1].name, emitted.states[-1].shape) == ("steps", (1,))
        assert emitted.metadata["longest"] == emitted.longest == 70
        most = (70 - emitted.first - rest) // chunk
        assert max(error_of(emitted, law, steps) for steps in (0, 1, most)) < 1e-10
        with pytest.raises(UsageError, match=r"70 samples at most, .*another longest\.$"):
            error_of(emitted, law, most + 1)


def test_the_longest_stream_has_to_be_known():
    told = r"a table of positions in it is as long as the stream\n.*emit\(longest=\.\.\.\)"
    with pytest.raises(StreamError, match=told):
        emitted_of(TURNED, 24, chunk=4)
    with pytest.raises(UsageError, match="4 samples at least, and the longest 3"):
        emitted_of(TURNED, 24, chunk=4, longest=3)


def test_a_mask_whose_pairs_are_told_apart_is_no_table():
    def irregular(x: Tensor, mix: nn.Module) -> Tensor:
        at = torch.arange(x.shape[1])
        away = at[:, None] - at
        bias = (at * at[:, None]).to(x).sin().masked_fill((away < 0) | (away > 3), -torch.inf)
        return joined(F.scaled_dot_product_attention(*heads(x, mix), attn_mask=bias))

    law = Law(irregular, (1, 20, 8), 1, (nn.Linear(8, 24),))
    with pytest.raises(StreamError, match=r"\(attention\): .* no row of it comes back"):
        emitted_of(law, 24, chunk=4, longest=90)


def file_cases() -> Iterator[tuple[Law, dict[str, int]]]:
    yield LAWS["window with distances"], {"chunk": 8}
    yield LAWS["keys before queries"], {"chunk": 8, "rest": 3}
    yield TURNED, {"chunk": 4, "rest": 4, "longest": 60}


@pytest.mark.parametrize(("law", "options"), file_cases())
def test_files_are_the_stream(law, options, tmp_path):
    run = streamed(law.model.float(), torch.randn(law.shape), axis=law.axis)
    emitted = run.emit(**options)
    emitted.save(tmp_path / "net.onnx")
    sessions = {
        part: onnxruntime.InferenceSession(file_of(tmp_path / "net.onnx", part))
        for part in emitted.parts
    }

    def part_by(part: str, given: list[Tensor]) -> list[Tensor]:
        if part not in sessions:
            return list(getattr(emitted, part)(*given))
        names = [one.name for one in sessions[part].get_inputs()]
        arrays = dict(zip(names, (one.numpy() for one in given), strict=True))
        return [torch.from_numpy(made) for made in sessions[part].run(None, arrays)]

    assert emitted.verify(steps=5, by=part_by).kind in ("noise", "bit-identical")


def test_complex_numbers_are_told_another_file(tmp_path):
    emitted = emitted_of(VOCODER, 30, chunk=4)
    with pytest.raises(
        UnsuitableError, match=r"complex numbers, .* as \.onnx; write it as \.pt2\."
    ):
        emitted.save(tmp_path / "net.onnx")
    assert emitted.save(tmp_path / "net.pt2")[1].name == "net.pt2"
