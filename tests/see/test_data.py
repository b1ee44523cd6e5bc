"""A page's data: every value, what it reads, and the rows of the report."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from fieldwise import receptive_fields
from fieldwise.see.data import network
from fieldwise.see.page import as_json


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 2, (1, 7)), nn.Conv2d(1, 2, (1, 7), bias=False)

    def forward(self, x):
        return torch.cat([self.left(x), self.right(x)], 1).mean((2, 3)) + torch.ones(4)


@pytest.fixture(scope="module")
def report():
    return receptive_fields(Branches(), (1, 1, 8, 9))


def test_values_stand_in_execution_order_and_read_earlier_ones(report):
    made = network(report, name="branches")
    for number, value in enumerate(made["values"]):
        assert all(operand < number for operand, _ in value["reads"])
    assert made["values"][0]["name"] == report.input.name
    assert made["values"][made["outputs"][0]]["shape"] == [1, 4]


def test_rows_say_what_the_report_says(report):
    made = network(report, name="branches")
    for row, known in zip(made["rows"], report.rows, strict=True):
        assert made["values"][row["value"]]["name"] == row["name"] == known.name
        for axis, field in zip(row["axes"], known.axes, strict=True):
            assert axis.get("extent") == field.extent
            assert axis.get("start") == field.start
            assert bool(axis.get("full")) == field.full


def test_bytes_are_those_of_the_elements(report):
    made = network(report, name="branches")
    assert made["values"][0]["bytes"] == 8 * 9 * 4


def test_data_is_json_and_has_nothing_but_integers_and_text(report):
    def leaves(found):
        if isinstance(found, dict):
            return [leaf for one in found.values() for leaf in leaves(one)]
        if isinstance(found, list):
            return [leaf for one in found for leaf in leaves(one)]
        return [found]

    made = json.loads(as_json(network(report, name="branches")))
    assert {type(leaf) for leaf in leaves(made)} <= {int, str, type(None)}
