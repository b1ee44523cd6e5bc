"""The page of every op is that of the file beside it, and says the kinds that the rules claim."""

from __future__ import annotations

import pytest

from benchmarks.ops import DOCS, FAILED, _totals, kinds, written_results

PAGE = (DOCS / "ops.md").read_text(encoding="utf-8")


def test_the_page_holds_the_totals_and_the_failures_of_the_file():
    results = list(written_results())
    assert "\n".join(_totals(results)) in PAGE
    for failed in (result for result in results if result.verdict in FAILED):
        assert failed.why
        assert f"| {failed.case} | {failed.verb} | {failed.verdict} | {failed.why}" in PAGE


@pytest.mark.parametrize(
    ("op", "claimed"),
    [
        ("mean", "mean (alike, joins)"),
        ("max.reduction_with_dim", "order (alike, joins); place"),
        ("cumsum", "sum (scans)"),
        ("nn.functional.conv2d", "product"),
        ("gather", "one"),
    ],
)
def test_the_page_says_how_an_op_combines_what_it_reads(op, claimed):
    assert kinds(op) == claimed
    assert f"| {op} | {claimed} | " in PAGE
