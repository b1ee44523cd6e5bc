"""Three hundred of torch's own samples, by every verb, answer as they were measured to.

``sample.txt`` holds a case, a verb and a verdict per line, drawn from a run of
``benchmarks/ops.py --samples 2``, which tries them all.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from benchmarks.ops import judge
from benchmarks.ops_cases import Case, sources

SAMPLE = [
    tuple(line.split())
    for line in (Path(__file__).parent / "sample.txt").read_text(encoding="utf-8").splitlines()
]


@cache
def cases(op: str) -> dict[str, Case]:
    return {case.name: case for case in sources()[op](2)}


@pytest.mark.parametrize(("name", "verb", "verdict"), SAMPLE, ids=map("-".join, SAMPLE))
def test_an_op_on_a_sample_of_torch(name: str, verb: str, verdict: str) -> None:
    found = judge(cases(name.split("#")[0])[name], verb)
    assert (found.verdict, found.why if found.verdict != verdict else "") == (verdict, "")
    assert found.compared > 0


def test_the_sample_is_of_many_ops_and_every_verb() -> None:
    assert len(SAMPLE) == 300
    assert len({name.split("#")[0] for name, _, _ in SAMPLE}) > 150
    assert {verb for _, verb, _ in SAMPLE} == {"field", "shift", "streamed", "tiled", "fold"}
