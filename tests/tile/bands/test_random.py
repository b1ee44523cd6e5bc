"""Random networks, streamed in random bands or pushed in random chunks, are what they are whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldwise.errors import CaptureError
from fieldwise.tile import latency, streamed
from fieldwise.tile.bands import StreamedModel, StreamError
from tests.field.random_networks import Drawn, Function, networks

LARGEST = 1 << 15
TOLERANCE = 1e-12
EXAMPLES = settings(
    max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(autouse=True)
def _doubles() -> Iterator[None]:
    """Constants that networks make themselves are float64 too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _whole(drawn: Drawn, shape: list[int]) -> tuple[Tensor, Tensor]:
    """A random input and what the network makes of it, unless it cannot run on such an input."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    try:
        with torch.no_grad():
            y = drawn.model.double()(x)
    except (RuntimeError, ValueError, IndexError):
        assume(False)
    assume(0 < y.numel() <= LARGEST)
    return x, y


def _assert_close(found: Tensor, wanted: Tensor) -> None:
    """Equal up to rounding; a max-pool of nothing but padding is −inf in both."""
    scale = wanted[wanted.isfinite()].abs().max().item() if wanted.isfinite().any() else 1.0
    torch.testing.assert_close(
        found, wanted, rtol=0, atol=TOLERANCE * max(scale, 1), equal_nan=True
    )


def _axis_and_shape(drawn: Drawn, data: st.DataObject) -> tuple[int, list[int]]:
    """A streamed axis, and a size along it that is not the example's."""
    axis = data.draw(st.integers(2, len(drawn.shape) - 1), label="axis")
    shape = list(drawn.shape)
    shape[axis] += data.draw(st.integers(0, 13), label="longer by")
    return axis, shape


def _in_bands(
    drawn: Drawn, axis: int, shape: list[int], data: st.DataObject
) -> StreamedModel | None:
    """The engine, whose results were compared with the whole; None where it refuses."""
    x, wanted = _whole(drawn, shape)
    band = data.draw(st.integers(1, 8), label="band")
    try:
        run = streamed(drawn.model, torch.empty(drawn.shape), axis=axis, band=band)
        plan = run.plan(shape)
    except StreamError:
        return None
    _assert_close(run(x), wanted)
    assert run.peak_bytes <= plan.peak_bytes
    return run


@pytest.mark.parametrize("part", range(4))
def test_streamed_in_bands_is_whole_and_keeps_to_its_plan(part):
    outcomes: Counter[str] = Counter()

    @seed(part)
    @EXAMPLES
    @given(networks(), st.data())
    def agree(drawn: Drawn, data: st.DataObject) -> None:
        axis, shape = _axis_and_shape(drawn, data)
        run = _in_bands(drawn, axis, shape, data)
        outcomes["refused" if run is None else "streamed"] += 1

    agree()
    assert outcomes["streamed"] > 2 * outcomes["refused"]


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("known", [False, True], ids=["endless", "announced"])
def test_pushed_in_chunks_is_whole(part, known):
    outcomes: Counter[str] = Counter()

    @seed(part)
    @EXAMPLES
    @given(networks(), st.data())
    def agree(drawn: Drawn, data: st.DataObject) -> None:
        axis, shape = _axis_and_shape(drawn, data)
        multiple = data.draw(st.sampled_from([1, 1, 2, 6]), label="multiple")
        shape[axis] = -(-shape[axis] // multiple) * multiple
        x, wanted = _whole(drawn, shape)
        try:
            run = streamed(drawn.model, torch.empty(drawn.shape), axis=axis)
            pieces = _pushed(run, x, axis, shape[axis] if known else None, multiple, data)
        except (StreamError, CaptureError):
            outcomes["refused"] += 1
            return
        dim = next(d for d in range(wanted.dim()) if pieces[0].shape[d] != wanted.shape[d])
        _assert_close(torch.cat(pieces, dim), wanted)
        outcomes["streamed"] += 1

    agree()
    assert outcomes["streamed"] > outcomes["refused"]


def _emitted_is_whole(part: int, examples: int) -> None:
    outcomes: Counter[str] = Counter()

    @seed(part)
    @settings(EXAMPLES, max_examples=examples)
    @given(networks(), st.data())
    def agree(drawn: Drawn, data: st.DataObject) -> None:
        axis = data.draw(st.integers(2, len(drawn.shape) - 1), label="axis")
        torch.manual_seed(0)
        try:
            run = streamed(drawn.model.double(), torch.empty(drawn.shape), axis=axis)
            grid = latency(drawn.model, torch.empty(drawn.shape), axis=axis).grid
            chunk = (grid or 1) * data.draw(st.integers(1, 3), label="chunk")
            rest = data.draw(st.integers(0, 3), label="rest") * (grid or 1)
            emitted = run.emit(chunk=chunk, rest=rest)
        except (StreamError, CaptureError):
            outcomes["refused"] += 1
            return
        shape = list(drawn.shape)
        shape[axis] = emitted.first + data.draw(st.integers(0, 3)) * chunk + rest
        x, wanted = _whole(drawn, shape)
        (found,) = emitted.run(x)
        _assert_close(found, wanted)
        assert "fieldwise" not in emitted.step.code
        outcomes["emitted"] += 1

    agree()
    assert outcomes["emitted"] > outcomes["refused"]


@pytest.mark.parametrize("part", range(2))
def test_an_emitted_stream_is_whole(part):
    _emitted_is_whole(part, 25)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2, 6))
def test_many_more_emitted_streams_are_whole(part):
    _emitted_is_whole(part, 100)


def _pushed(
    run: StreamedModel, x: Tensor, axis: int, length: int | None, multiple: int, data: st.DataObject
) -> list[Tensor]:
    """What a session gives, push by push; first an empty push, which gives nothing."""
    session = run.session(length=length, multiple=multiple)
    pieces, at = [session.push(x.narrow(axis, 0, 0))], 0
    while at < x.shape[axis]:
        size = min(data.draw(st.integers(1, 6), label="chunk"), x.shape[axis] - at)
        pieces.append(session.push(x.narrow(axis, at, size)))
        at += size
    return [*pieces, session.close()]


# ------------------------------------------------------------------------------ sequences


def _by_sample(x: Tensor, axis: int) -> Tensor:
    """With the axis in the batch: each position by itself."""
    y = x.movedim(axis, 1).flatten(0, 1)
    y = (y - y.mean(1, keepdim=True)).tanh()
    return y.unflatten(0, (x.shape[0], x.shape[axis])).movedim(1, axis)


def _attended(x: Tensor, axis: int, past: int, ahead: int, *, written: bool) -> Tensor:
    """Attention to some positions before and behind."""
    tokens = x.movedim(axis, 1)
    flat = tokens.flatten(2)
    at = torch.arange(flat.shape[1])
    seen = (at[:, None] - at <= past) & (at - at[:, None] <= ahead)
    if written:
        scores = (flat @ flat.transpose(1, 2)).masked_fill(~seen, -torch.inf)
        found = scores.softmax(-1) @ flat
    else:
        found = F.scaled_dot_product_attention(flat, flat, flat, attn_mask=seen)
    return found.reshape(tokens.shape).movedim(1, axis)


def _framed(x: Tensor, axis: int, size: int, hop: int) -> Tensor:
    """Windows, weighed and laid on one another."""
    lines = x.movedim(axis, -1)
    frames = lines.flatten(0, -2).unfold(1, size, hop) * torch.arange(1.0, size + 1)
    length = (frames.shape[1] - 1) * hop + size
    found = F.fold(frames.transpose(1, 2), (1, length), (1, size), stride=(1, hop))
    return found.reshape(*lines.shape[:-1], length).movedim(-1, axis)


def _spectral(x: Tensor, axis: int, size: int) -> Tensor:
    """Spectra of frames, changed, and back."""
    lines, window = x.movedim(axis, -1), torch.hann_window(size)
    flat = lines.flatten(0, -2)
    spectra = torch.stft(flat, size, size // 4, window=window, return_complex=True)
    spectra = spectra * spectra.abs().tanh()
    found = torch.istft(spectra, size, size // 4, window=window, length=flat.shape[1])
    return found.reshape(lines.shape).movedim(-1, axis)


@st.composite
def sequences(draw: st.DrawFn) -> tuple[Drawn, int]:
    """A random network before or behind an op on sequences, and the axis of these."""
    drawn = draw(networks())
    axis = draw(st.integers(2, len(drawn.shape) - 1))
    past, ahead = draw(st.sampled_from([1, 4, 99])), draw(st.integers(0, 2))
    size, written = draw(st.integers(1, 4)), draw(st.booleans())
    hop = draw(st.integers(1, size + 1))
    functions = {
        "time in the batch": lambda x: _by_sample(x, axis),
        "attention": lambda x: _attended(x, axis, past, ahead, written=written),
        "frames": lambda x: _framed(x, axis, size, hop),
        "spectra": lambda x: _spectral(x, axis, 4),
        "extremes": lambda x: x.cummax(axis).values,
        "triangle": lambda x: x.transpose(axis, -1).triu(-past).transpose(axis, -1),
    }
    label = draw(st.sampled_from(sorted(functions)))
    layers = [Function(functions[label], label), drawn.model]
    model = nn.Sequential(*(layers if draw(st.booleans()) else reversed(layers)))
    return Drawn(model, drawn.shape), axis


@pytest.mark.parametrize("part", range(2))
def test_ops_on_sequences_in_random_networks_give_the_whole(part: int) -> None:
    outcomes: Counter[str] = Counter()

    @seed(part)
    @settings(EXAMPLES, max_examples=75)
    @given(sequences(), st.data())
    def agree(given: tuple[Drawn, int], data: st.DataObject) -> None:
        drawn, axis = given
        shape = list(drawn.shape)
        shape[axis] += data.draw(st.integers(0, 13), label="longer by")
        run = _in_bands(drawn, axis, shape, data)
        outcomes["refused" if run is None else "streamed"] += 1
        if run is None:
            return
        x, wanted = _whole(drawn, shape)
        pieces = _pushed(run, x, axis, shape[axis], 1, data)
        dim = next(d for d in range(wanted.dim()) if pieces[0].shape[d] != wanted.shape[d])
        _assert_close(torch.cat(pieces, dim), wanted)

    agree()
    assert outcomes["streamed"] > 2 * outcomes["refused"]
