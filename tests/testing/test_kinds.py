"""What the rules claim of their reads is held against torch's own samples, and so is the check."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from benchmarks.ops_cases import sources
from fieldwise.axes import AxisMap, Border
from fieldwise.capture.torch import capture, registry, rules
from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.errors import FieldwiseError
from fieldwise.graph.ir import Along, identity, separable
from fieldwise.graph.kinds import ANY, COPY, ELEMENTWISE, MEAN, PRODUCT, SUM, UNKNOWN_KIND, Kind
from fieldwise.testing import check_kinds
from fieldwise.testing.kind_sites import KindSite, sites
from fieldwise.testing.kinds import broken
from fieldwise.testing.running import as_module

COMPOSED = ("Transformer",)
"""Modules made of many ops, all of which have samples of their own."""


@cache
def all_sites() -> tuple[tuple[str, KindSite], ...]:
    """Every result and operand of the ops in torch's samples.

    One sample of each op, and three of the few that look up where to read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(_sites())


def _sites() -> Iterator[tuple[str, KindSite]]:
    ones = set[str]()  # element-wise: a sample in one form is enough
    asking = set[str]()
    for name, make in sources().items():
        if any(word in name for word in COMPOSED):
            continue
        for case in make(3):
            if name in ones or ("#0:" not in case.name and name not in asking):
                break
            if case.apart or case.name.endswith((":in-place", ":method")):
                continue
            try:
                graph = capture(case.model, case.inputs)
            except FieldwiseError:
                continue
            for site in sites(graph, case.inputs):
                ones |= {name} if site.kind.combines == "each" else set()
                asking |= {name} if site.kind.combines == "asked" else set()
                yield case.name, site


def test_every_claim_is_true_of_torchs_own_samples():
    false = [
        (name, site.node.op, site.kind.combines, why)
        for name, site in all_sites()
        for why in broken(site, site.kind)
    ]
    assert false == []


def test_the_samples_show_every_way_to_combine_and_every_claim():
    kinds = [site.kind for _, site in all_sites()]
    ways = Counter(kind.combines for kind in kinds)
    assert {way for way, count in ways.items() if count >= 20} == {
        "one", "order", "mean", "sum", "product", "place", "each", "asked", "any",
    }  # fmt: skip
    assert all(
        any(getattr(kind, claim) for kind in kinds)
        for claim in ("alike", "keeps", "joins", "scans", "geometry", "fill", "channel")
    )


UNCLAIMED = {
    "matrix_function", "nll_loss", "margin_loss", "ctc_loss", "linear_cross_entropy", "histogram",
    "bincount", "segment_reduce", "nonzero", "nonzero_static", "_unsafe_masked_index",
    "embedding_bag", "embedding_renorm", "softmax_backward", "max_pool_backward", "max_unpool",
    "fractional_max_pool", "deform_conv2d", "roi_align", "roi_pool", "ps_roi_align",
    "ps_roi_pool", "nms",
}  # fmt: skip
"""Ops with a rule of which nobody says how they combine what they read."""


def test_the_rules_that_claim_nothing_are_these():
    own = rules.__name__
    found = {
        name
        for name, made in registry._RULES.values()
        if made.__module__.startswith(own) and not hasattr(made, "__wrapped__")
    }
    claimed = {n for n, made in registry._RULES.values() if hasattr(made, "__wrapped__")}
    assert found - claimed == UNCLAIMED - claimed


# -------------------------------------------------------------------- the check notices


def sized(op: Callable[[Tensor], object], kind: Kind, *shape: int) -> list[str]:
    """What is false of an op of one tensor if its first result were of this kind."""
    x = torch.rand(shape, dtype=torch.float64)
    graph = capture(as_module(op), (x,))
    return [why for site in sites(graph, (x,)) for why in broken(site, kind)]


SEVERAL = torch.rand(4, 4, dtype=torch.float64)
FALSE: dict[str, tuple[Callable[[Tensor], object], Kind, str]] = {
    "a rank is no place": (lambda x: x.kthvalue(2, 1).values, COPY, "other numbers"),
    "sort is no copy": (lambda x: x.sort(1).values, COPY, "other numbers"),
    "a square is no copy": (torch.square, COPY, "none of those"),
    "a median of means": (lambda x: x.mean(1), Kind("order"), "none of those"),
    "relu is no order": (lambda x: (x - 0.5).relu(), Kind("order"), "none of those"),
    "a sum is no mean": (lambda x: x.sum(1), Kind("mean"), "pass a shift"),
    "softmax is no sum": (lambda x: x.softmax(1), Kind("sum"), "not linear"),
    "a norm is no mean": (lambda x: x.norm(dim=1), Kind("mean"), "not linear"),
    "a square is no product": (torch.square, Kind("product"), "not linear"),
    "a value is no place": (lambda x: x.amax(1), Kind("place"), "no whole numbers"),
    "a count is no place": (
        lambda x: torch.bucketize(x, torch.tensor([0.5], dtype=torch.float64)),
        Kind("place"),
        "another place",
    ),
    "softmax is no function of one": (lambda x: x.softmax(1), ELEMENTWISE, "several elements"),
    "an fft looks at the order": (
        lambda x: torch.fft.fft(x), Kind("sum", alike=True), "order of dimension 1",
    ),
    "sort keeps no place": (
        lambda x: x.sort(1).values, Kind("order", keeps=True), "order of dimension 1",
    ),
    "variances do not join": (
        lambda x: x.var(1), Kind("any", joins=True), "do not make the whole",
    ),
    "medians do not join": (
        lambda x: x.median(1).values, Kind("order", joins=True), "do not make the whole",
    ),
    "a count of counts": (
        lambda x: x.norm(0, dim=1), Kind("any", joins=True), "do not make the whole",
    ),
    "relu draws nothing": (torch.relu, Kind("each", draws=True), "draws nothing"),
    "which rank is no geometry": (
        lambda x: x.kthvalue(2, 1).values, Kind("order", geometry=frozenset({"k"})), "'k'",
    ),
    "the order of a sort is no geometry": (
        lambda x: x.sort(1).values, Kind("order", geometry="everything"), "'descending'",
    ),
    "a correction is no geometry": (
        lambda x: x.std(1, correction=0), Kind("any", geometry="everything"), "'correction'",
    ),
    "weights along another dimension": (
        lambda x: torch.nn.functional.batch_norm(x, *torch.rand(2, 6, dtype=torch.float64)),
        Kind("each", channel=0),
        "places of dimension 1 have weights",
    ),
    "what is padded with is no geometry": (
        lambda x: torch.constant_pad_nd(x, [1, 1], 2.0), COPY, "'value'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_a_false_claim_is_noticed(name):
    op, kind, why = FALSE[name]
    assert any(why in found for found in sized(op, kind, 4, 6))


def test_a_product_of_two_is_no_sum():
    inputs = (SEVERAL, SEVERAL + 1)
    graph = capture(as_module(torch.matmul), inputs)
    for site in sites(graph, inputs):
        assert list(broken(site, PRODUCT)) == []
        assert "it is not linear" in list(broken(site, SUM))


def test_two_directions_are_no_scan():
    gru = torch.nn.GRU(3, 2, bidirectional=True).double().eval()
    x = torch.rand(6, 1, 3, dtype=torch.float64)
    graph = capture(gru, (x,))
    found = [
        why for site in sites(graph, (x,)) for why in broken(site, replace(site.kind, scans=True))
    ]
    assert any("changes what comes first" in why for why in found)


# -------------------------------------------------------------------- ops of others


@torch.library.custom_op("kinds::ramp", mutates_args=())
def ramp(x: Tensor) -> Tensor:
    """Column i, i times."""
    return x * torch.arange(x.shape[-1], dtype=x.dtype)


@ramp.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@rule("kinds::ramp", kind=ELEMENTWISE)
def _ramp(call: OpCall) -> Reads:
    return one(identity(0, len(call.result)))


@torch.library.custom_op("kinds::beside", mutates_args=())
def beside(x: Tensor) -> Tensor:
    """The mean of a column and the next one, the first one behind the last."""
    return (x + x.roll(-1, -1)) / 2


@beside.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@rule("kinds::beside", kind=Kind("mean"))
def _beside(call: OpCall) -> Reads:
    last = len(call.result) - 1
    return one(
        *(
            separable(0, *map(Along, range(last)), Along(last, AxisMap.affine(1, by), Border.WRAP))
            for by in (0, 1)
        )
    )


def test_a_rule_of_somebody_else_is_held_to_its_claim():
    assert check_kinds(lambda x: beside(x), torch.rand(2, 5)).verdict == "exact"
    with pytest.raises(AssertionError, match="does not treat all places alike"):
        check_kinds(lambda x: ramp(x), torch.rand(2, 5))
    assert "dimension 1 alike" in "".join(sized(ramp, ANY, 2, 5))


def test_a_call_of_which_nothing_is_claimed_is_not_checked():
    with pytest.raises(AssertionError, match="Nothing was compared"):
        check_kinds(torch.linalg.cholesky, torch.eye(3))


def test_a_claim_that_so_few_numbers_cannot_refute_is_not_checked():
    """Three dice may fall alike twice; of a call that torch refuses nothing is compared either."""
    with pytest.raises(AssertionError, match="Nothing was compared: no claim of dropout"):
        check_kinds(torch.nn.functional.dropout, torch.rand(3))
    assert check_kinds(torch.nn.functional.dropout, torch.rand(99)).compared == 1


# -------------------------------------------------------------------- kinds of calls


def kind_of(op: Callable[..., object], *inputs: Tensor) -> Kind:
    """Of the first read of the last node."""
    return capture(as_module(op), inputs).nodes[-1].reads[0][0].kind


def _written(x: Tensor) -> Tensor:
    copy = x.clone()
    copy[:, :1] += 1
    return copy


IMAGE = torch.rand(1, 2, 6, 6)
GRID = torch.rand(1, 6, 6, 2) * 2 - 1
CALLS: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "a pool without padding": (lambda x: torch.nn.functional.avg_pool2d(x, 2), "mean"),
    "padding that is counted": (
        lambda x: torch.nn.functional.avg_pool2d(x, 2, padding=1), "sum",
    ),
    "padding that is not counted": (
        lambda x: torch.nn.functional.avg_pool2d(x, 2, padding=1, count_include_pad=False), "mean",
    ),
    "a divisor": (lambda x: torch.nn.functional.avg_pool2d(x, 2, divisor_override=3), "sum"),
    "another precision": (lambda x: x.half(), "one"),
    "whole numbers": (lambda x: x.long(), "each"),
    "an assignment": (lambda x: torch.zeros(1, 2, 6, 6).copy_(x), "one"),
    "an assignment to whole numbers": (lambda x: torch.zeros(1, 2, 6, 6).long().copy_(x), "each"),
    "the largest": (lambda x: x.max(1).values, "order"),
    "the larger": (lambda x: torch.max(x, torch.ones(6)), "each"),
    "running sums": (lambda x: x.cumsum(1), "sum"),
    "running products": (lambda x: x.cumprod(1), "any"),
    "a norm with stored statistics": (
        lambda x: torch.nn.functional.batch_norm(x, torch.ones(2), torch.ones(2)), "each",
    ),
    "a norm with its own": (lambda x: torch.nn.functional.instance_norm(x), "any"),
    "a dropout that is off": (lambda x: torch.native_dropout(x, 0.5, False)[0], "one"),
    "a write through a view": (_written, "one"),
    "a constant grid": (
        lambda x: torch.nn.functional.grid_sample(x, GRID), "sum",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_kind_is_made_from_the_call(name):
    op, combines = CALLS[name]
    assert kind_of(op, IMAGE).combines == combines


def test_places_and_values_of_one_call_are_of_two_kinds():
    graph = capture(as_module(lambda x: x.max(1)), (IMAGE,))
    assert [reads[0].kind.combines for reads in graph.nodes[0].reads] == ["order", "place"]


def test_an_index_asks_where_its_table_is_copied():
    graph = capture(
        as_module(lambda x, i: x.gather(1, i)), (IMAGE, torch.zeros(1, 1, 6, 6, dtype=torch.long))
    )
    assert [read.kind.combines for read in graph.nodes[0].reads[0]] == ["one", "asked"]


def test_reads_are_equal_where_they_read_the_same():
    plain = identity(0, 2)
    assert replace(plain, kind=COPY) == replace(plain, kind=MEAN) == plain
    assert plain.kind is UNKNOWN_KIND
