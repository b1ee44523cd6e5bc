"""Concatenations in one go see what they see part by part, and share how they begin."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fieldwise.capture.torch import capture
from fieldwise.field import receptive_fields
from fieldwise.field.beside import Concatenations, _Row
from fieldwise.field.closed import FOUND, closed_forms
from fieldwise.field.rows import SUMMARIES


class Op(nn.Module):
    """A function of the input, and of it behind three convolutions that see more and more."""

    def __init__(self, function):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, k, padding=k // 2) for k in (3, 5, 7))
        self.wide = nn.Conv2d(2, 2, (1, 5), padding=(0, 2))
        self.function = function

    def forward(self, x):
        return self.function(x, *(conv(x) for conv in (*self.convs, self.wide)))


def dense(x, *values):
    for number in range(2, len(values) + 1):
        x = F.relu(torch.cat(values[:number], 1))
    return F.conv2d(x, torch.ones(3, x.shape[1], 1, 1))


def gated(x, a, b, *_):
    return torch.cat([a, b * b.mean((2, 3), keepdim=True)], 1)


CASES = {
    "branches": lambda x, *values: torch.cat(values, 1),
    "layers of a dense block": dense,
    "the same twice": lambda x, a, b, *_: torch.cat([a, b, a], 1),
    "nothing else": lambda x, a, *_: torch.cat([a, a], 1),
    "the input too": lambda x, a, *_: torch.cat([x, a], 1),
    "concatenations of concatenations": lambda x, a, b, *_: torch.cat([torch.cat([a, b], 1), a], 1),
    "a constant between": lambda x, a, b, *_: torch.cat([a, torch.ones(1, 1, 12, 12), b], 1),
    "of columns": lambda x, a, b, *_: torch.cat([a, b], 3),
    "a chunk of it": lambda x, a, b, *_: torch.cat([a, b], 1).chunk(2, 1)[1] + b,
    "behind a global pool": lambda x, a, b, *_: torch.cat([v.mean((2, 3)) for v in (a, b)], 1),
    "a gate": gated,
    "gates beside each other": lambda x, a, b, *_: torch.cat([gated(x, a, b), gated(x, b, a)], 1),
    "other strides": lambda x, a, b, *_: torch.cat([a[..., ::2, ::2], F.max_pool2d(b, 2)], 1),
    "two in one dimension": lambda x, a, b, *_: torch.cat([a.flatten(2), b.flatten(2)], 1),
    "pixels as channels": lambda x, *vs: torch.cat([F.pixel_unshuffle(v, 2) for v in vs], 1),
    "stacked": lambda x, a, b, *_: torch.stack([a, b], 1).sum(1),
    "every other channel": lambda x, a, b, *_: torch.stack([a, b], 2).flatten(1, 2)[:, ::2],
    "empty": lambda x, a, *_: torch.cat([a[:, :0], a], 1),
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_remembered():
    FOUND.clear()
    SUMMARIES.clear()


@pytest.mark.parametrize("name", CASES)
def test_a_concatenation_sees_what_it_sees_part_by_part(name, monkeypatch):
    graph = capture(Op(CASES[name]).eval(), torch.empty(1, 2, 12, 12))
    found = closed_forms(graph, "input", (2, 3)), receptive_fields(graph, ignore_global=True).rows
    monkeypatch.setattr(Concatenations, "state", lambda *_: None)
    FOUND.clear()
    SUMMARIES.clear()
    assert found == (
        closed_forms(graph, "input", (2, 3)),
        receptive_fields(graph, ignore_global=True).rows,
    )


@pytest.mark.parametrize("name", ["branches", "layers of a dense block", "a gate"])
def test_these_are_told_in_one_go(name, monkeypatch):
    found, state = [], Concatenations.state

    def noted(self, *args):
        found.append(state(self, *args))
        return found[-1]

    monkeypatch.setattr(Concatenations, "state", noted)
    receptive_fields(Op(CASES[name]).eval(), torch.empty(1, 2, 12, 12))
    assert any(one is not None and len(one.products) > 1 for one in found)


def test_a_layer_of_a_dense_block_adds_one_value_to_what_the_layer_before_it_reads(monkeypatch):
    def block(x, *values):
        layers = [*values]
        for _ in range(20):
            seen = torch.cat(layers, 1)
            layers.append(F.conv2d(seen, torch.ones(2, seen.shape[1], 3, 3), padding=1))
        return torch.cat(layers, 1)

    def noted(row, part):
        steps.append(part)
        return followed_by(row, part)

    steps, followed_by = [], _Row.followed_by
    monkeypatch.setattr(_Row, "followed_by", noted)
    receptive_fields(Op(block).eval(), torch.empty(1, 2, 12, 12))
    assert len(steps) == 4 + 20
