"""Other tools are asked in one frame: verdicts are computed, and the page is written by it."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PAGE = BENCHMARKS.parent / "docs" / "comparison.md"


@pytest.fixture
def load(monkeypatch):
    """A module of the benchmarks by name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in [name for name in sys.modules if name.startswith(("peers", "fold_", "tile"))]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 3, batch_first=True)

    def forward(self, x):
        return self.lstm(x.transpose(1, 2))[0].transpose(1, 2)


SHUT = nn.Conv2d(3, 3, 3, padding=1)
nn.init.constant_(SHUT.bias, -100)


SHRUNK = nn.Sequential(nn.Conv2d(3, 2, 3, 2), nn.MaxPool2d(2))
POOLED = nn.Sequential(SHUT, nn.ReLU(inplace=True), nn.MaxPool2d(3))
NORMED = nn.Sequential(nn.Conv1d(3, 2, 3), nn.BatchNorm1d(2), nn.ELU())


@pytest.mark.parametrize(
    ("net", "shape", "unit", "box"),
    [
        (SHRUNK, (1, 3, 20, 20), (1, 2), ((4, 9), (8, 13))),
        (POOLED, (1, 3, 9, 9), (0, 1), ((0, 4), (2, 7))),
        (NORMED, (1, 3, 9), (4,), ((4, 7),)),
        (Recurrent(), (1, 3, 30), (28,), ((0, 29),)),
    ],
    ids=["strides", "a rectifier that is shut", "batch norm", "a recurrence"],
)
def test_truth_is_where_there_is_a_path_whatever_the_values(load, net, shape, unit, box):
    assert load("peers_truth").true_boxes(net.eval(), shape, [unit]) == [box]


@pytest.mark.parametrize(
    ("box", "exact", "verdict"),
    [
        (((0, 5),), True, "right"),
        (((0, 5),), False, "right, called a bound"),
        (((0, 6),), False, "a bound"),
        (((0, 6),), True, "silently wrong"),
        (((1, 6),), False, "silently wrong"),
    ],
)
def test_a_box_is_judged_by_the_truth_and_by_what_the_tool_says_of_it(load, box, exact, verdict):
    assert load("peers_fields").verdict(box, ((0, 5),), exact=exact) == verdict


def test_tiles_that_differ_are_silent_unless_the_tool_spoke_before(load):
    tiles = load("peers_tiles")
    image = tiles.Image(lambda: nn.Sequential(nn.Conv2d(3, 2, 3, padding=1)), (1, 3, 8, 8), 4)
    whole = image.made()(image.image())
    holed = whole.clone()
    holed[..., 0, :] = torch.nan
    found = [
        tiles.judge(image, tiles.Tiled(output, said))
        for output, said in (
            (whole, ""),
            (whole + whole.std(), ""),
            (whole + whole.std(), "not the same"),
            (holed, ""),
            (holed, "no border"),
            (whole[..., 1:], ""),
        )
    ]
    assert found == [
        ("right", ""),
        ("silently wrong", "by 1 σ"),
        ("differs, as said", "by 1 σ"),
        ("silently wrong", "12% NaN"),
        ("right but the border", "12% NaN"),
        ("silently wrong", "of shape (1, 2, 8, 7), not (1, 2, 8, 8)"),
    ]


def test_a_delay_that_is_named_is_taken_off_and_one_that_is_not_is_wrong(load):
    streams = load("peers_streams")
    network = streams.Network("one", lambda: nn.Conv1d(1, 1, 3, padding=1), (1, 1, 96))
    model = streams.in_double(network)

    def late(x):
        return nn.functional.pad(model(x), (2, 0))[..., : x.shape[-1]]

    def warm(x):
        return torch.cat([model(x)[..., :5] + 1, model(x)[..., 5:]], -1)

    assert streams.judge(network, streams.Streamed(model)) == ("right", "")
    assert streams.judge(network, streams.Streamed(late, 2)) == ("right", "2 samples late")
    assert streams.judge(network, streams.Streamed(late)) == ("silently wrong", "96 of 96 samples")
    assert streams.judge(network, streams.Streamed(warm)) == (
        "right but the border",
        "but the first 5 of 96",
    )


def test_folding_is_judged_by_the_network_in_float64(load):
    folds = load("peers_folds")
    subject = folds.Subject(folds.Twice)
    kept, wrong = (
        folds.of_modules(by)(subject)() for by in (folds.by_fieldwise, folds.by_adjacency)
    )
    assert folds.judge(subject, kept) == ("right", "1 left")
    verdict, note = folds.judge(subject, wrong)
    assert (verdict, note[:6]) == ("silently wrong", "0 left")


def test_each_end_of_a_question_has_its_verdict(load, monkeypatch):
    frame = load("peers_frame")

    def unknown(_):
        raise frame.NoAnswerError("its status is 'unknown'")

    def broken(_):
        raise ValueError("no such layer. Try another")

    tools = {
        "good": lambda subject: lambda: subject,
        "unknown": unknown,
        "broken": broken,
    }
    capability = frame.Capability(
        module="peers_none",
        subjects={"one": 1},
        tools={name: frame.Tool(work, ()) for name, work in tools.items()},
        judge=lambda subject, found: ("right" if found == subject else "silently wrong", "seen"),
        base=lambda subject: lambda: sum(range(10_000)),
    )
    found = [frame.asked(capability, "one", tool) for tool in tools]
    assert [(one.verdict, one.note, one.why) for one in found] == [
        ("right", "seen", ""),
        ("no answer", "", "its status is 'unknown'"),
        ("refuses", "", "ValueError: no such layer"),
    ]
    assert found[0].ratio > 0
    peers = load("peers")
    answers = {"one": dict(zip(tools, found, strict=True))}
    head = peers.summary(capability, answers)[0]
    assert head == "| tool | version | right | refuses | no answer | time |"
    assert peers.reasons(answers) == [
        "- unknown, no answer: its status is 'unknown' (one)",
        "- broken, refuses: ValueError: no such layer (one)",
    ]


def test_a_question_has_a_process_of_its_own_which_may_die_or_not_end(load, monkeypatch):
    frame, effective = load("peers_frame"), load("peers_streams")
    name = "causal, cut (TCN)"
    found = frame.ask(effective.CAPABILITY, name, "fieldwise")
    assert found.verdict == "right"
    monkeypatch.setattr(frame, "SECONDS", 0)
    found = frame.ask(effective.CAPABILITY, name, "fieldwise")
    assert (found.verdict, found.why) == ("no answer", "nothing within 0 s")


def test_the_page_names_the_versions_that_are_pinned():
    root = BENCHMARKS.parent
    pinned = (root / "Makefile").read_text("utf-8") + (root / "constraints.txt").read_text("utf-8")
    pins = dict(re.findall(r"([\w-]+)==([\w.]+)", pinned))
    named = dict(re.findall(r"\| ([\w-]+)==([\w.]+) \|", PAGE.read_text("utf-8")))
    assert named.pop("fieldwise")
    assert named == {name: pins[name] for name in named}
    assert {"torchlens", "monai", "torchao", "torchstream-lib", "openerf"} <= set(named)


def test_the_page_has_the_marks_of_every_capability_and_a_table_between_them(load):
    peers, marks, page = load("peers"), load("marks"), PAGE.read_text(encoding="utf-8")
    for mark in peers.CAPABILITIES:
        text = marks.between(page, mark)
        tools = load(f"peers_{mark}").CAPABILITY.tools
        assert all(f"\n| {name} |" in text for name in tools)
        assert marks.replaced(page, mark, text) == page
