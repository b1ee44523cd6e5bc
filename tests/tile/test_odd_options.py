"""Options, chunks, states and signals that are none: one sentence each, at once."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile import latency, streamed, tiled

CONV = nn.Sequential(nn.Conv1d(2, 4, 5, 2, 2), nn.ConvTranspose1d(4, 2, 4, 2, 1)).eval()
SIGNAL = (1, 2, 64)


def emitted():
    return streamed(CONV, SIGNAL, axis=-1).emit(chunk=8)


def states_of(stream):
    return [torch.zeros(one.shape, dtype=one.dtype) for one in stream.states]


def pushed_after_the_end() -> None:
    session = streamed(CONV, SIGNAL, axis=-1).session(length=4)
    session.push(torch.zeros(1, 2, 4))
    session.close()
    session.push(torch.zeros(1, 2, 4))


ODD = {
    **{
        f"{name} {value!r}": (call, f"{told}, got {re.escape(repr(value))}")
        for name, told, values, call in (
            ("chunk", "A chunk is .* of samples, 1 or more", (2.5, math.nan, "a"),
             lambda v: streamed(CONV, SIGNAL, axis=-1).emit(chunk=v)),
            ("rest", "The rest of a stream is .* of samples, 0 or more", (-1, 0.5, "a"),
             lambda v: streamed(CONV, SIGNAL, axis=-1).emit(chunk=8, rest=v)),
            ("band", "A band is .* of rows, 1 or more", (0, -4, 2.5, math.nan, "a"),
             lambda v: streamed(CONV, SIGNAL, axis=-1, band=v)),
            ("memory", "memory is a number of bytes", (math.nan, "2GB"),
             lambda v: streamed(CONV, SIGNAL, memory=v)),
            ("length", "The length of a stream is .* of samples, 0 or more", (-1, 1.5, "a"),
             lambda v: streamed(CONV, SIGNAL).session(length=v)),
            ("multiple", "a multiple of is .* of samples, 1 or more", (0, 1.5, "a"),
             lambda v: streamed(CONV, SIGNAL).session(multiple=v)),
            ("rate", "A rate is a number of samples per second above 0",
             (0, -1, math.nan, math.inf, "a", 1j), lambda v: latency(CONV, SIGNAL, rate=v)),
            ("pushed chunk", "A chunk is .* of samples, 1 or more", (0, 1.5),
             lambda v: streamed(CONV, SIGNAL).session().plan(v)),
            ("steps", "The steps of a comparison are .* of steps, 0 or more", (-1, 1.5),
             lambda v: emitted().verify(steps=v)),
        )
        for value in values
        for call in (lambda v=value, call=call: call(v),)
    },
    "a chunk off the grid": (
        lambda: streamed(CONV, SIGNAL, axis=-1).emit(chunk=7), "no multiple of the grid 2"
    ),
    "an axis that is none": (lambda: streamed(CONV, SIGNAL, axis=1.5), "an integer; 1.5 is none"),
    "an axis out of range": (lambda: streamed(CONV, SIGNAL, axis=3), "none numbered 3"),
    "a shape with a size below 0": (
        lambda: streamed(CONV, SIGNAL).plan((1, 2, -4)), "each 0 or more; got"
    ),
    "a text for a shape": (lambda: tiled(CONV, SIGNAL, tile=8).plan("abc"), "a list of sizes"),
    "states of another stream": (
        lambda: emitted().advance(
            torch.zeros(1, 2, 8),
            states_of(streamed(nn.Conv1d(2, 2, 3, padding=1), SIGNAL, axis=-1).emit(chunk=8)),
        ),
        "has 2 states, and was given 1; pass on",
    ),
    "no states": (lambda: emitted().advance(torch.zeros(1, 2, 8), None), "was given none"),
    "states of another type": (
        lambda: emitted().advance(
            torch.zeros(1, 2, 8), [one.double() for one in states_of(emitted())]
        ),
        r"State 0 of this stream \('input'\) is 1x2x4 float32, and was given as 1x2x4 float64",
    ),
    "numbers for states": (
        lambda: emitted().advance(torch.zeros(1, 2, 8), [1, 2]), "was given as a int"
    ),
    **{
        f"a step of {value.dtype}": (
            lambda value=value: emitted().advance(value, states_of(emitted())),
            "A step takes 1x2x8 samples, and was given 1x2x8 .*; it computes in float32",
        )
        for value in (
            torch.zeros(1, 2, 8).double(), torch.zeros(1, 2, 8).long(),
            torch.zeros(1, 2, 8, dtype=torch.complex64),
        )
    },
    "a step of an array": (
        lambda: emitted().advance(np.zeros((1, 2, 8), "f4"), states_of(emitted())),
        "was given a ndarray",
    ),
    **{
        f"a signal of {value.dtype} {tuple(value.shape)}": (
            lambda value=value: emitted().run(value), "A signal of this stream is 1x2xT float32"
        )
        for value in (
            torch.zeros(2, 16), torch.zeros(1, 3, 16), torch.zeros(1, 2, 16).double(),
            torch.zeros(1, 2, 16).long(),
        )
    },
    "a signal of another length": (
        lambda: emitted().run(torch.zeros(1, 2, 13)), "this one has 13; emit it with another rest"
    ),
    "a signal of nothing": (lambda: emitted().run(torch.zeros(1, 2, 0)), "this one has 0"),
    "a file without a known suffix": (lambda: emitted().save("a.txt"), "end it in .onnx or .pt2"),
    "a file where none can be": (
        lambda: emitted().save("/proc/no/a.pt2"), "Cannot write .*; choose another place"
    ),
    "a push after the end": (pushed_after_the_end, "The session is closed; open another one"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "told"), ODD.values(), ids=ODD)
def test_what_is_no_option_or_input_is_told_in_a_sentence(call, told):
    with pytest.raises(UsageError, match=told) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_state_that_is_given_twice_gives_the_same_twice():
    """A step changes nothing that it is given."""
    stream, x = emitted(), torch.randn(1, 2, 8)
    with torch.no_grad():
        _, *states = stream.start(torch.randn(1, 2, stream.first))
    kept = [one.clone() for one in states]
    one, other = stream.advance(x, states), stream.advance(x, states)
    assert all(map(torch.equal, states, kept))
    assert all(map(torch.equal, [*one[0], *one[1]], [*other[0], *other[1]]))
