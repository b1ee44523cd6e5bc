"""Three hundred of torch's own samples, by every verb, answer as they were measured to.

``sample.txt`` holds a case, a verb and a verdict per line, drawn from a run of
``benchmarks/ops.py --samples 2``, which tries them all, with the torch of constraints.txt.
Another torch may lack one of these ops, or hold another sample under the same name.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from benchmarks.ops import judge
from benchmarks.ops_cases import Case, sources

HERE = Path(__file__).parent
SAMPLE = [
    tuple(line.split()) for line in (HERE / "sample.txt").read_text(encoding="utf-8").splitlines()
]
TORCH = torch.__version__.partition("+")[0]
SAMPLED = f"torch=={TORCH}" in (HERE.parents[1] / "constraints.txt").read_text().splitlines()


@cache
def cases(op: str) -> dict[str, Case]:
    return {case.name: case for case in sources()[op](2)}


def skip_elsewhere(lacks: bool, reason: str) -> None:
    """Skip a test for what this torch lacks, unless it is the one that was sampled."""
    if lacks and not SAMPLED:
        pytest.skip(reason)


@pytest.mark.parametrize(("name", "verb", "verdict"), SAMPLE, ids=map("-".join, SAMPLE))
def test_an_op_on_a_sample_of_torch(name, verb, verdict):
    op = name.split("#")[0]
    skip_elsewhere(op not in sources(), f"torch {TORCH} has no samples of {op}")
    found = judge(cases(op)[name], verb)
    skip_elsewhere(found.verdict == "nothing", f"of torch's sample in {TORCH}: {found.why}")
    assert (found.verdict, found.why if found.verdict != verdict else "") == (verdict, "")
    assert found.compared > 0


def test_the_sample_is_of_many_ops_and_every_verb():
    assert len(SAMPLE) == 300
    assert len({name.split("#")[0] for name, _, _ in SAMPLE}) > 150
    assert {verb for _, verb, _ in SAMPLE} == {"field", "shift", "streamed", "tiled", "fold"}


def test_a_fourier_transform_is_judged_by_complex_numbers():
    """By real ones alone every fourth cosine shows nothing: irfft of 8 values has such."""
    chosen = [case for case in sources()["fft.hfft2"](4) if case.name == "fft.hfft2#1:all"]
    assert [(case.inputs[0].dtype, judge(case, "field").verdict) for case in chosen] == [
        (torch.complex128, "exact")
    ]
