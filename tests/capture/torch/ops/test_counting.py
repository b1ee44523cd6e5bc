"""Ops that count or place by value, against what a change of a single value changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.capture.torch.ops.oracle import decides, marks


def draws(*kinds: Any, count: int = 30) -> list[tuple[torch.Tensor, ...]]:
    """Random tensors: a shape makes numbers, (shape, n) integers below n, n = 2 booleans."""
    generator = torch.Generator().manual_seed(4)

    def draw(kind: Any) -> torch.Tensor:
        if not isinstance(kind[0], tuple):
            return torch.rand(kind, generator=generator, dtype=torch.float64)
        shape, below = kind
        found = torch.randint(below, shape, generator=generator)
        return found.bool() if below == 2 else found

    return [tuple(map(draw, kinds)) for _ in range(count)]


EXACT: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "histc": (lambda x: torch.histc(x, 3, 0, 1), ((5,),)),
    "histc without a range": (lambda x: torch.histc(x, 3), ((2, 3),)),
    "searchsorted": (torch.searchsorted, ((2, 4), (2, 3))),
    "searchsorted, one sequence": (torch.searchsorted, ((4,), (2, 3))),
    "searchsorted, sorter": (
        lambda s, x, order: torch.searchsorted(s, x, sorter=order),
        ((4,), (3,), ((4,), 4)),
    ),
    "bucketize": (torch.bucketize, ((2, 3), (3,))),
    "one_hot": (lambda i: F.one_hot(i, 4), (((2, 3), 4),)),
    "isin": (torch.isin, (((3,), 3), ((2,), 3))),
    "as_strided_scatter": (
        lambda x, y: x.as_strided_scatter(y, (2, 2), (4, 2)),  # whose derivative torch gets wrong
        ((2, 4), (2, 2)),
    ),
    "as_strided_scatter, a walk": (
        lambda x, y: x.as_strided_scatter(y, (3,), (3,), 1),
        ((2, 4), (3,)),
    ),
    "attention and its scores": (
        lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, is_causal=True
        )[:2],
        ((1, 1, 3, 2), (1, 1, 3, 2), (1, 1, 3, 2)),
    ),
    "segment_reduce": (
        lambda x: torch.segment_reduce(x, "sum", lengths=torch.tensor([2, 0, 1])),
        ((3, 2),),
    ),
    "histogram, one element in an odd number of bins": (
        lambda x: torch.histogram(x, 3)[0],
        ((1,),),
    ),
    "linspace": (lambda x: torch.linspace(x[0], x[1], 4, dtype=x.dtype), ((2,),)),
    "bincount": (lambda x: torch.bincount(torch.tensor([2, 0, 2]), x), ((3,),)),
    "histogram": (lambda x, edges: torch.histogram(x, edges)[0], ((4,), (3,))),
    "histogramdd": (lambda x: torch.histogramdd(x, [2, 2])[0], ((3, 2),)),
    "histogramdd, one bin along one dimension": (
        lambda x: torch.histogramdd(x, [1, 2])[0],
        ((3, 2),),
    ),
    "histogramdd, the edges of a batch": (
        lambda x: torch.stack(torch.histogramdd(x, [2, 2])[1]),
        ((2, 3, 2),),
    ),
    "histogramdd, edges": (
        lambda x, a, b: torch.histogramdd(x, [a.sort()[0], b.sort()[0]])[0],
        ((3, 2), (2,), (2,)),
    ),
    "nll_loss": (lambda x, w: F.nll_loss(x, torch.tensor([0, 2]), w), ((2, 3), (3,))),
}


@pytest.mark.parametrize("name", EXACT)
def test_an_op_that_counts_reads_all_that_it_counts(name):
    function, kinds = EXACT[name]
    decides(function, *draws(*kinds))


BOUNDS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "masked_scatter": (torch.masked_scatter, ((2, 3), ((2, 3), 2), (2, 3))),
    "masked_scatter, mask of a row": (torch.masked_scatter, ((2, 3), ((3,), 2), (6,))),
    "masked_scatter, mask of a column": (torch.masked_scatter, ((2, 3), ((2, 1), 2), (6,))),
    "repeat_interleave": (
        lambda x, r: torch.repeat_interleave(x, r.abs() % 2 + 1, output_size=5)[:3],
        ((5,), ((5,), 1)),
    ),
    "gather": (lambda x, i: x.gather(1, i), ((2, 3), ((2, 2), 3))),
    "take": (torch.take, ((2, 3), ((2, 2), 6))),
    "take_along_dim": (torch.take_along_dim, ((2, 3), ((2, 2), 6))),
    "put": (lambda x, i, y: x.put(i, y), ((2, 3), ((3,), 6), (3,))),
    "put, adding": (lambda x, i, y: x.put(i, y, accumulate=True), ((2, 3), ((3,), 6), (3,))),
    "scatter": (lambda x, i, y: x.scatter(1, i, y), ((2, 3), ((2, 2), 3), (2, 2))),
    "scatter_add": (lambda x, i, y: x.scatter_add(1, i, y), ((2, 3), ((2, 2), 3), (2, 2))),
    "index_add": (lambda x, i, y: x.index_add(0, i, y), ((3, 2), ((2,), 3), (2, 2))),
    "index_copy": (lambda x, i, y: x.index_copy(0, i, y), ((3, 2), ((2,), 3), (2, 2))),
    "index_put": (lambda x, i, y: x.index_put((i,), y), ((3, 2), ((2,), 3), (2, 2))),
    "index_put by a mask": (lambda x, m, y: x.index_put((m,), y), ((2, 3), ((2, 3), 2), (1,))),
    "index_put by a grid": (
        lambda x, i, y: x.index_put((i,), y, accumulate=True),
        ((3, 2), ((2, 2), 3), (1, 2, 2)),
    ),
    "segment_reduce": (
        lambda x, n: torch.segment_reduce(x, "sum", lengths=n, unsafe=True),
        ((3, 2), ((2,), 1)),
    ),
    "x[i, j]": (lambda x, i, j: x[i, j], ((3, 4), ((2, 1), 3), ((2,), 4))),
    "embedding": (lambda i, w: F.embedding(i, w), (((2, 2), 3), (3, 2))),
    "embedding_bag": (
        lambda i, w: F.embedding_bag(i, w, torch.tensor([0, 1, 3]), mode="sum"),
        (((4,), 3), (3, 2)),
    ),
    "nll_loss": (lambda x, i: F.nll_loss(x, i, reduction="none"), ((2, 3), ((2,), 3))),
    "cross_entropy": (F.cross_entropy, ((2, 3, 2), ((2, 2), 3))),
    "weighted nll_loss": (lambda x, i, w: F.nll_loss(x, i, w), ((2, 3), ((2,), 3), (3,))),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_an_op_that_places_by_value_reads_what_decides_and_says_that_it_may_read_less(name):
    function, kinds = BOUNDS[name]
    decides(function, *draws(*kinds, count=12), exact=False)


def test_a_place_of_masked_scatter_needs_the_mask_up_to_it_and_no_more():
    mask = torch.rand(30, 2, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    source = torch.arange(1.0, 7).double()
    decides(lambda m: torch.zeros(2, 3).double().masked_scatter(m, source), *((m,) for m in mask))


def test_of_an_element_between_two_bins_rounding_decides():
    draws = [(torch.full((1,), x, dtype=torch.float64),) for x in (0.1, 0.3, 0.7, 2.1, 5.3)]
    graph = decides(lambda x: torch.histogram(x, 2)[0], *draws, exact=False)
    assert marks(graph) == {"the element lies between two bins"}
