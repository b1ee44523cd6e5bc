"""Emitted streams of attention to windows and of tables of positions."""

from __future__ import annotations

from functools import partial

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from fieldwise.errors import UsageError
from fieldwise.tile import EmittedStream, streamed
from fieldwise.tile.bands.emitted import PARTS, file_of
from fieldwise.tile.errors import StreamError
from tests.tile.bands.attentions import ATTENTIONS
from tests.tile.bands.laws import Law
from tests.tile.bands.test_positions import LAWS, VOCODER, scored

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


@pytest.mark.parametrize("law", [LAWS["window with distances"], LAWS["keys before queries"]])
def test_files_are_the_stream(law, tmp_path):
    law_shape = [24 if dim == law.axis else size for dim, size in enumerate(law.shape)]
    run = streamed(law.model.float(), torch.randn(law_shape), axis=law.axis)
    emitted = run.emit(chunk=8)
    emitted.save(tmp_path / "net.onnx")
    sessions = {
        part: onnxruntime.InferenceSession(file_of(tmp_path / "net.onnx", part))
        for part in PARTS
        if file_of(tmp_path / "net.onnx", part).exists()
    }

    def part_by(part: str, given: list[Tensor]) -> list[Tensor]:
        if part not in sessions:
            return list(getattr(emitted, part)(*given))
        names = [one.name for one in sessions[part].get_inputs()]
        arrays = dict(zip(names, (one.numpy() for one in given), strict=True))
        return [torch.from_numpy(made) for made in sessions[part].run(None, arrays)]

    assert emitted.verify(steps=5, by=part_by).kind in ("noise", "bit-identical")
