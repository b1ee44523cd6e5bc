"""The page computes what the report says, position by position: its modules, run in Node."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, reject, settings
from torch import nn

from fieldwise import CaptureError
from fieldwise.capture.layers import layers_graph
from fieldwise.field import receptive_fields
from tests.field.networks import conv
from tests.field.random_networks import networks
from tests.see.asking import Questions, ask_node, check_answers, needs_node

pytestmark = needs_node


def check(report, *, units=12, who=2, seed=0):
    questions = Questions.drawn(report, random.Random(seed), units=units, who=who)
    assert check_answers(report, questions, ask_node(report, questions)) > units // 2


@settings(max_examples=10)
@given(networks())
def test_a_random_network_is_answered_as_the_report_does(drawn):
    try:
        report = receptive_fields(drawn.model, drawn.shape)
    except CaptureError:
        reject()  # it does not run at this size
    check(report)


@pytest.mark.parametrize(
    "text",
    [
        "conv3/2 conv3 maxpool2/2 conv3",
        "conv3d4 conv5/3",
        "tconv3/2 conv3",
        "tconv1/3 conv2",
        "conv3 globalpool",
    ],
)
def test_a_list_of_layers_is_answered_as_the_report_does(text):
    check(receptive_fields(layers_graph(text)))


class Borders(nn.Module):
    """A convolution behind padding of some mode."""

    def __init__(self, mode):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 5, stride=2, padding=3, padding_mode=mode)
        self.next = nn.Conv2d(2, 1, 3, padding=1, padding_mode=mode)

    def forward(self, x):
        return self.next(self.conv(x))


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
def test_what_is_read_beyond_a_border_is_answered_as_the_report_does(mode):
    check(receptive_fields(Borders(mode), (1, 1, 11, 14)), units=40, who=6)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.LSTM(3, 4, bidirectional=True), (9, 2, 3)),
        (nn.GRU(3, 4), (9, 2, 3)),
        (nn.Sequential(nn.PixelUnshuffle(2), conv(4, 4), nn.PixelShuffle(2)), (1, 1, 12, 16)),
        (nn.Sequential(nn.Flatten(2), nn.Conv1d(1, 1, 3, padding=1)), (1, 1, 5, 6)),
        (nn.Upsample(scale_factor=1.5, mode="bilinear"), (1, 1, 8, 6)),
        (nn.Sequential(nn.Conv3d(1, 2, 3, stride=2), nn.ConvTranspose3d(2, 1, 2)), (1, 1, 7, 9, 8)),
    ],
    ids=["lstm", "gru", "shuffled", "flattened", "resized", "volume"],
)
def test_scans_shuffles_and_volumes_are_answered_as_the_report_does(model, shape):
    axes = (0,) if isinstance(model, (nn.LSTM, nn.GRU)) else None
    check(receptive_fields(model.eval(), torch.zeros(shape), axes=axes), units=30, who=4)


def test_one_channel_is_answered_as_the_report_does():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.PixelShuffle(2))
    report = receptive_fields(model, (1, 4, 6, 6))
    value = report.values.index(report.graph.nodes[0].results[0])
    questions = Questions([(value, [0, 3], channel) for channel in range(4)], [])
    assert check_answers(report, questions, ask_node(report, questions)) == 8


def test_an_unknown_op_is_a_bound_with_its_reason():
    report = receptive_fields(nn.Sequential(nn.Conv1d(1, 1, 3), Unruled()), (1, 1, 9))
    questions = Questions.drawn(report, random.Random(1), units=8, who=1)
    answers = ask_node(report, questions)
    check_answers(report, questions, answers)
    assert not all(found["exact"] for found in answers["at"])


@torch.library.custom_op("fieldwise_see::unruled", mutates_args=())
def unruled(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@unruled.register_fake
def _(x):
    return torch.empty_like(x)


class Unruled(nn.Module):
    def forward(self, x):
        return unruled(x)
