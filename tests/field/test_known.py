"""What a value sees is worked out once for all that read alike what sees alike."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.capture.torch import capture
from fieldwise.field import closed, receptive_fields, rows
from fieldwise.field.closed import FOUND
from fieldwise.field.rows import SUMMARIES


class Net(nn.Module):
    """Branches of two strides meet, and a gate sees all."""

    def __init__(self, kernel=3):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, kernel, padding=1)
        self.fast = nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, x):
        x = self.stem(x)
        fast = self.fast(x)
        joined = fast + x[..., : fast.shape[2], : fast.shape[3]]
        return joined * joined.mean((2, 3), keepdim=True).sigmoid()


class Other(nn.Module):
    """The same network under other names, behind one value more."""

    def __init__(self):
        super().__init__()
        self.inner = Net()

    def forward(self, x):
        return self.inner(x.relu())


def forget():
    FOUND.clear()
    SUMMARIES.clear()


def analysed(model, size=16, axes=None):
    return receptive_fields(model.eval(), torch.empty(1, 3, size, size), axes=axes)


def answers(report):
    return report.rows, [report.closed(name) for name in report.values]


CASES = {
    "again": (Net(), {}),
    "under other names": (Other(), {}),
    "another kernel": (Net(5), {}),
    "another size": (Net(), {"size": 18}),
    "one axis": (Net(), {"axes": (3,)}),
    "channels too": (Net(), {"axes": (1, 2, 3)}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_remembered_of_one_network_leaves_the_next_as_it_is(case):
    model, options = CASES[case]
    forget()
    answers(analysed(Net()))
    after = answers(analysed(model, **options))
    forget()
    assert after == answers(analysed(model, **options))


def test_a_second_analysis_finds_nothing_anew(monkeypatch):
    forget()
    graph = capture(Net().eval(), torch.empty(1, 3, 16, 16))
    found = receptive_fields(graph).rows
    monkeypatch.setattr(closed, "_found", None)
    monkeypatch.setattr(rows, "_summarised", None)
    assert receptive_fields(graph).rows == found


def test_names_are_those_of_the_network_that_is_asked_about():
    forget()
    for model, within in ((Net(), ""), (Other(), "inner/")):
        report = analysed(model)
        assert report[f"{within}add"].row.misaligned == f"{within}add"
        assert report.rows[-1].axes[0].full_by == f"{within}mean"


def test_a_forgotten_state_is_never_taken_for_another():
    """States are told by identity: what is known of one goes before another may have its place."""
    expected = {}
    for kernel in (3, 5, 7, 9) * 20:
        FOUND.clear()
        row = analysed(nn.Conv2d(3, 1, kernel)).rows[-1]
        assert expected.setdefault(kernel, row) == row
        assert row.axes[0].extent == kernel
