"""Every refusal is a ``Refused`` with reasons, and every unknown name is told its close ones."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from fieldwise.errors import (
    CaptureError,
    FieldwiseError,
    Reason,
    Refused,
    UnsuitableError,
    UsageError,
    check_choice,
    close_names,
)
from fieldwise.field import receptive_fields
from fieldwise.folding import fold
from fieldwise.shift import certify, circular, measure, polyphase
from fieldwise.tile.api import plan_tiles, streamed, suggest_tile
from fieldwise.tile.certificate import verify
from fieldwise.tile.errors import StreamError, TileError


class Mean(nn.Module):
    def forward(self, x):
        return x - x.mean((2, 3), keepdim=True)


class Locked(nn.Conv2d):
    def __deepcopy__(self, memo):
        raise RuntimeError("locked")


def squared(x):
    return x**2


SHAPE = (1, 1, 8, 8)
REFUSALS = {
    "capture": lambda: receptive_fields(nn.LazyLinear(3), SHAPE),
    "fold": lambda: fold(nn.Sequential(Locked(1, 1, 3), nn.BatchNorm2d(1)).eval(), SHAPE),
    "repair": lambda: circular(torch.jit.script(nn.ReLU()), SHAPE),
    "polyphase": lambda: polyphase(nn.Conv1d(1, 1, 3, stride=2, padding=1), (1, 1, 15)),
    "streamed": lambda: streamed(Mean().eval(), torch.ones(SHAPE), axis=2)(torch.ones(SHAPE)),
    "tiled": lambda: plan_tiles(Mean().eval(), SHAPE, tile=4),
    "verify": lambda: verify(np.sqrt, squared, np.ones((2, 3), dtype="float32")),
}


@pytest.mark.parametrize("verb", REFUSALS)
def test_what_a_verb_refuses_is_caught_by_one_class_and_says_why(verb):
    with pytest.raises(Refused) as refused:
        REFUSALS[verb]()
    assert refused.value.reasons
    for reason in refused.value.reasons:
        assert isinstance(reason, Reason)
        assert reason.why
        assert str(reason) in str(refused.value)


def test_a_refusal_names_the_layer_in_the_way():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), Mean()).eval()
    with pytest.raises(Refused) as refused:
        streamed(net, torch.ones(SHAPE)).plan(SHAPE)
    assert [(one.module, one.op) for one in refused.value.reasons] == [("1", "mean")]


def test_a_wrong_call_is_no_refusal():
    with pytest.raises(UsageError) as wrong:
        receptive_fields(nn.ReLU(), SHAPE, wrt="inptu")
    assert not isinstance(wrong.value, Refused)


WHOLE = Reason("a", "mean", "it reads the whole axis")


@pytest.mark.parametrize(
    "error",
    [
        *(kind("No.", [WHOLE]) for kind in (Refused, CaptureError, UnsuitableError)),
        TileError("No tiles", [WHOLE], "Take more."),
        StreamError("No bands", [WHOLE], "Take more.", passable=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_survives_the_way_to_another_process(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_a_reason_with_a_remedy_says_it():
    told = Reason("", "sort", "it reads the whole axis", "sort along another")
    assert str(told) == "'the model itself' (sort): it reads the whole axis; sort along another"


NET = nn.Sequential()
NET.stem = nn.Conv2d(1, 1, 3, padding=1)
NET.act = nn.ReLU()

UNKNOWN = {
    "wrt": (lambda: receptive_fields(NET, SHAPE, wrt="inptu"), "'input'"),
    "layer of a report": (lambda: receptive_fields(NET, SHAPE)["stam"], "'stem'"),
    "layers by glob": (lambda: receptive_fields(NET, SHAPE).select(["stam"]), "'stem'"),
    "shifted input": (lambda: certify(NET, SHAPE, wrt="inptu"), "'input'"),
    "certificate": (lambda: certify(NET, SHAPE)["stam"], "'stem'"),
    "measured layer": (lambda: measure(NET, SHAPE, layers=["stam"]), "'stem'"),
    "measurement": (lambda: measure(NET, SHAPE, layers=["stem"])["stam"], "'stem'"),
    "global_ops": (lambda: streamed(NET, torch.ones(SHAPE), global_ops="refused"), "'refuse'"),
    "valid": (lambda: circular(NET, SHAPE, valid="keeps"), "'keep'"),
    "interpolation": (lambda: circular(NET, SHAPE, interpolation="Clamped"), "'clamp'"),
    "valid of polyphase": (lambda: polyphase(NET, SHAPE, valid="wrapped"), "'wrap'"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_told_its_close_ones(name):
    call, close = UNKNOWN[name]
    with pytest.raises(UsageError, match=f"did you mean {close}"):
        call()


MEMORY = {
    "streamed": lambda: streamed(NET, SHAPE, memory="64MB"),
    "suggest_tile": lambda: suggest_tile(NET, SHAPE, memory="64MB"),
}


@pytest.mark.parametrize("verb", MEMORY)
def test_memory_that_is_text_is_told_what_is_taken(verb):
    with pytest.raises(UsageError, match="memory is a number of bytes, got '64MB'; write for ex"):
        MEMORY[verb]()


def test_a_choice_far_from_all_lists_them():
    with pytest.raises(UsageError, match=r"^x='zzz' is none of 'a1', 'b2', 'c3'; give one of them"):
        check_choice("x", "zzz", ("a1", "b2", "c3"))


def test_close_names_are_few_and_the_likeliest_first():
    known = ["layer1", "layer2", "layer3", "layer12", "head"]
    assert close_names("layer1x", known, most=2) == ["layer1", "layer12"]
    assert close_names("qqq", known) == []


def test_every_error_is_a_fieldwise_error():
    assert issubclass(Refused, FieldwiseError)
    assert issubclass(UnsuitableError, Refused)
    assert issubclass(UnsuitableError, UsageError)
