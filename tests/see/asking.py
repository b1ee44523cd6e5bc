"""The page's arithmetic, asked by Python: its modules run in Node, or a page runs in a browser."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fieldwise.axes import IndexSet, Region
from fieldwise.field import FieldReport
from fieldwise.see.data import network

HERE = Path(__file__).parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed")


@dataclass(frozen=True)
class Questions:
    """at: (number of the value, output position, channel or None); who: positions of the input."""

    at: Sequence[tuple[int, Sequence[int], int | None]]
    who: Sequence[Sequence[int]]

    @classmethod
    def drawn(cls, report: FieldReport, rng: random.Random, *, units: int, who: int) -> Questions:
        """Random ones, at the borders as often as within."""
        names = report.values
        asked = []
        for _ in range(units):
            value = rng.randrange(len(names))
            shape, place = report.graph.shape(names[value]), report.roles(names[value])
            if 0 not in shape:
                asked.append((value, [_drawn(shape[dim], rng) for dim in place.unit], None))
        sizes = [report.input.shape[axis] for axis in report.axes]
        return cls(asked, [[_drawn(size, rng) for size in sizes] for _ in range(who)])

    def plain(self) -> dict[str, Any]:
        return {"at": self.at, "who": self.who}


def _drawn(size: int, rng: random.Random) -> int:
    return rng.choice([0, size - 1, rng.randrange(size)])


def ask_node(
    report: FieldReport, questions: Questions | None = None, **more: Any
) -> dict[str, Any]:
    """What the modules answer in Node; more: questions about tiles and streams."""
    asked = {} if questions is None else questions.plain()
    text = json.dumps({"network": network(report, name=""), **asked, **more})
    assert NODE is not None
    done = subprocess.run(
        [NODE, HERE / "ask.mjs"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_answers(
    report: FieldReport, questions: Questions, answers: dict[str, Any], *, targets: int = 5
) -> int:
    """Hold every answer against the report; how many were compared."""
    names, compared = report.values, 0
    for (value, unit, channel), found in zip(questions.at, answers["at"], strict=True):
        known = report[names[value]].at(*unit, channel=channel)
        case = f"{names[value]} at {unit}"
        assert is_same(region_of(found["products"]), Region.of(known.products)), case
        assert (found["count"], found["exact"]) == (known.count, known.exact), case
        assert found["why"] == known.why, case
        ends = (list(known.lo), list(known.hi)) if known.products else (None, None)
        assert (found["lo"], found["hi"]) == ends, case
        compared += 1
    for (value, unit, _), found in zip(questions.at, answers["unbounded"], strict=True):
        if found is not None:
            known = Region.of(report.unbounded(names[value], unit))
            assert is_same(region_of(found["products"]), known), f"{names[value]} at {unit}"
            compared += 1
    for position, found in zip(questions.who, answers["who"], strict=True):
        for value in random.Random(len(names)).sample(range(len(names)), min(targets, len(names))):
            known = report.projective_field(*position, target=names[value])
            assert is_same(region_of(found[value]), Region.of(known.products)), names[value]
            compared += 1
    return compared


def set_of(runs: Sequence[int]) -> IndexSet:
    """A set as the page writes it: runs [start, stop, …]."""
    found = IndexSet()
    for start, stop in zip(runs[::2], runs[1::2], strict=True):
        found = found | IndexSet.range(start, stop)
    return found


def region_of(products: Sequence[Sequence[Sequence[int]]]) -> Region:
    """A region as the page writes it."""
    return Region.of(tuple(map(set_of, product)) for product in products)


def is_same(one: Region, two: Region) -> bool:
    """Whether two unions of products hold the same positions."""
    return one.issubset(two) and two.issubset(one)
