"""Layer lists that nobody writes by hand: each is answered, or refused in a sentence, at once."""

from __future__ import annotations

import random
import time

import pytest

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.layer_kinds import KINDS
from fieldwise.capture.layer_limits import MAX_LAYERS, MAX_LENGTH, MAX_NUMBER
from fieldwise.capture.layers import layers_graph
from fieldwise.errors import FieldwiseError, UsageError
from fieldwise.field import receptive_fields


def refusal(text, shape=None):
    with pytest.raises(UsageError) as caught:
        layers_graph(text, shape)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "relu conv3d999999999999",
            "The number 999999999999 in 'conv3d999999999999' is too large; use at most 1000000.\n"
            "  relu conv3d999999999999\n"
            "            ^^^^^^^^^^^^^",
        ),
        (
            "conv99999999999999999999",
            "The number 99999999999999999999 in 'conv99999999999999999999' is too large; "
            "use at most 1000000.",
        ),
        (
            "conv3x3x3x3",
            "'conv3x3x3x3' gives 4 numbers for at most 3 axes.",
        ),
        (
            "conv" + "9" * 6000,
            "The layer 'conv999999'... has 6004 characters; separate layers by spaces.",
        ),
        (
            "tconv9999/9999 tconv9999/9999",
            "Layer 'tconv9999/9999' is too large: what output positions see repeats after 99980001 "
            "of them, and at most 16384 are allowed; use smaller strides or factors.\n"
            "  tconv9999/9999 tconv9999/9999\n"
            "                 ^^^^^^^^^^^^^^",
        ),
        (
            "conv9d1000000 " * 40,
            "Layer 'conv9d1000000' is too large: an output position sees 24000001 samples, and at "
            "most 16777216 are allowed; use smaller kernels, strides or dilations.",
        ),
        (
            "conv1000d1000 " * 40,
            "Layer 'conv1000d1000' is too large: the list takes too much memory or time up to "
            "here; use fewer layers, smaller numbers or a smaller input.",
        ),
        (
            "conv1000000d2 conv1000000d2",
            "Layer 'conv1000000d2' is too large: the list takes too much memory or time up to "
            "here; use fewer layers, smaller numbers or a smaller input.",
        ),
        ("conv３", "Cannot read '３' in layer 'conv３'"),
        ("\x1b[31mconv3", "Unknown layer '\\x1b[31mconv3'"),
    ],
)
def test_a_list_that_is_too_large_is_refused_where_it_passes_a_limit(text, sentence):
    assert refusal(text).startswith(sentence)


def test_of_a_long_list_what_surrounds_the_caret_is_shown():
    said = refusal("conv3 " * 1_000_000)
    first, shown, caret = said.splitlines()
    assert (
        first == f"A layer list has at most {MAX_LAYERS} layers; leave out what comes after them."
    )
    assert shown.startswith("  ...")
    assert shown.endswith("...")
    assert len(shown) < 150
    assert shown[caret.index("^") :].startswith("conv3 ")


def test_forty_convolutions_whose_dilation_triples_are_refused_at_the_first_that_is_too_large():
    said = refusal(" ".join(f"conv3d{3**i}" for i in range(40)))
    assert said.startswith(f"The number {3**13} in 'conv3d{3**13}' is too large")


def test_an_input_that_is_too_long_is_refused():
    assert refusal("conv3", (1, 1, MAX_LENGTH + 1)) == (
        f"The input 1x1x{MAX_LENGTH + 1} of a layer list is too large; use at most {MAX_LENGTH} "
        "along each axis."
    )


def test_a_result_that_is_too_long_is_refused():
    assert "its result has 1000000000 samples" in refusal("conv3p1 up1000", (1, 1, 1_000_000))


@pytest.mark.parametrize(
    "text",
    [
        f"conv{MAX_NUMBER}",
        "conv1000d1000 conv1000d1000",
        " ".join(f"conv3d{3**i}" for i in range(13)),
        "conv3 relu " * 1000,
        "tconv1024/1024 conv3",
        "up256 conv7 up2 bilinear3",
        "up9973 bn elu",
        "maxpool16384d255",
        "tconv1000000 " * 16,
        "tconv256p5 dwconv65536d127",
        "dwconv63095/12416d256",
        "maxpool2 " * 20 + "globalpool " + "conv3p1 " * 40,
    ],
)
def test_a_list_that_somebody_may_want_is_answered(text):
    before = time.process_time()
    assert receptive_fields(layers_graph(text)).rows[-1].exact
    assert time.process_time() - before < 20


def test_what_bounds_a_list_does_not_change_what_its_layers_read():
    taps = [tap * 3 for tap in range(7)]
    found = AxisMap.transposed(7, stride=5, dilation=3, padding=4)
    for output in range(-20, 20):
        wanted = {(output + 4 - tap) // 5 for tap in taps if (output + 4 - tap) % 5 == 0}
        assert set(found(output)) == wanted
    for step in (2, 3, 64):
        assert list(IndexSet.range(-5, 900, step)) == list(range(-5, 900, step))


# ------------------------------------------------------------------ drawn at random


SMALL = ["1", "2", "3", "5", "7", "2x3", "16"]
ODD = ["0", "1000", "65536", "999999", "1000001", "9" * 30, "1x2x3x4", "x", ""]
WRITTEN = {"stride": "/", "dilation": "d", "padding": "p", "output padding": "o", "same": "same"}


def by_grammar(draw):
    """A list of layer names, with options that they take and now and then one that they do not."""
    layers = []
    for _ in range(draw.randint(1, 6)):
        kind = draw.choice(list(KINDS))
        takes = [mark for what, mark in WRITTEN.items() if what in KINDS[kind].takes]
        token = kind + (draw.choice(SMALL) if "kernel" in KINDS[kind].takes else "")
        for mark in draw.sample(takes, draw.randint(0, len(takes)) // 2):
            token += mark + ("" if mark == "same" else draw.choice(SMALL[:3]))
        if draw.random() < 0.1:
            token += draw.choice(["", *WRITTEN.values()]) + draw.choice(ODD)
        layers.append(token)
    return draw.choice([" ", ",", "  ", "\t"]).join(layers)


def by_noise(draw):
    """Characters of a layer list, and some that are not."""
    letters = "conv3d2p1/x ,oabrelumxsbn\n\t\0\x1b٣²é😀\ud800-+.'\"{}%"
    return "".join(draw.choice(letters) for _ in range(draw.randint(0, 60)))


@pytest.mark.parametrize("make", [by_grammar, by_noise])
def test_any_text_is_answered_or_refused_in_a_sentence(make):
    draw, answered = random.Random(7), 0
    for _ in range(300):
        text = make(draw)
        try:
            receptive_fields(layers_graph(text))
            answered += 1
        except FieldwiseError as error:
            said = str(error).split("\n")
            assert len(said) in (1, 3), text
            assert said[0].endswith((".", "?")), text
            assert len(said[0]) < 400, text
    assert make is by_noise or answered >= 60
