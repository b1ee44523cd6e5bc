"""Indexing, scattering and masking, against the Jacobian."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fieldwise.capture.torch import capture
from tests.capture.torch.ops.oracle import agree, decides, marks, recorded

AT = torch.tensor([2, 0, 0, 1])
BY = torch.tensor([1, -1, 0, 1])
GRID = torch.tensor([[0, 2], [1, 1], [2, 0]])
MASK = torch.tensor([[True, False, True], [False, False, True]])

CONSTANT: dict[str, tuple[Any, tuple[int, ...]]] = {
    "x[i]": (lambda x: x[AT], (3, 2)),
    "x[:, i]": (lambda x: x[:, AT], (2, 3, 2)),
    "x[[i], [j]]": (lambda x: x[AT, BY], (3, 2)),
    "x[i, :, j]": (lambda x: x[AT, :, BY], (3, 2, 3)),
    "x[:, i, :, j]": (lambda x: x[:, AT, :, BY], (2, 3, 2, 3)),
    "x[:, i, j, :]": (lambda x: x[:, AT, BY], (2, 3, 3, 2)),
    "x[i[:, None], j]": (lambda x: x[AT[:, None], BY], (3, 2)),
    "x[:, i[:, None], :, j]": (lambda x: x[:, AT[:, None], :, BY], (1, 3, 2, 2)),
    "x[:, list]": (lambda x: x[:, [2, 0, 0]], (2, 3, 2)),
    "x[[list], [list]]": (lambda x: x[[0, 1], [2, 0]], (3, 3)),
    "x[list]": (lambda x: x[[1, 0]], (3, 2)),
    "x[:, (tuple)]": (lambda x: x[:, (0, 2)], (2, 3)),
    "x[:, range]": (lambda x: x[:, range(0, 3, 2)], (2, 3)),
    "x[:, nested]": (lambda x: x[:, [[0, 1], [2, 0]]], (2, 3)),
    "x[:, list of bools]": (lambda x: x[:, [True, False, True]], (2, 3)),
    "x[mask]": (lambda x: x[MASK], (2, 3)),
    "x[:, mask]": (lambda x: x[:, MASK], (2, 2, 3)),
    "x[list of lists]": (lambda x: x[[[0, 1], [2, 0]]], (3, 3)),
    "x[long list of lists]": (lambda x: x[[[1]] * 32], (2, 3)),
    "x[list of a slice and a list]": (lambda x: x[[slice(1), [2, 0]]], (3, 3)),
    "x[:, list of numpy numbers]": (lambda x: x[:, [AT.numpy()[0], 1]], (2, 3)),
    "x[:, list of scalars]": (lambda x: x[:, [AT[0], 1]], (2, 3)),
    "x[:, []]": (lambda x: torch.cat([x[:, []], x], 1), (2, 3)),
    "x[:, list] = x": (lambda x: _put_list(x), (2, 4)),
    "index_put two": (lambda x: x.index_put((AT[:2], BY[:2]), x[0, :2] * 2), (3, 3)),
    "index_put two, adding": (
        lambda x: x.index_put((AT[:2], BY[:2]), x[0, :2] * 2, accumulate=True),
        (3, 3),
    ),
    "index_put behind a dimension": (lambda x: _put_behind(x), (2, 2, 3)),
    "index_put apart": (lambda x: _put_apart(x), (3, 2, 3)),
    "index_put apart, broadcast": (lambda x: _put_apart(x, slice(0, 1)), (3, 2, 3)),
    "index_put by a grid and a line": (
        lambda x: x.index_put((GRID, AT[:2]), x[:, :2].flip(0) * 2),
        (3, 3),
    ),
    "index_put apart by a grid": (lambda x: _put_grid(x), (3, 2, 3)),
    "x[mask] = 0": (lambda x: _put_value(x, 0.0), (2, 3)),
    "x[mask] = sum": (lambda x: _put_value(x, x.sum()), (2, 3)),
    "x[mask] *= 2": (lambda x: _put_mask(x), (2, 3)),
    "x[grid]": (lambda x: x[GRID], (3, 2)),
    "x[:, grid]": (lambda x: x[:, GRID], (2, 3, 2)),
    "x[:, grid, :, grid]": (lambda x: x[:, GRID, :, GRID], (1, 3, 2, 3)),
    "x[grid, i]": (lambda x: x[GRID, BY[1:3]], (3, 2)),
    "x[0-d]": (lambda x: x[:, torch.tensor(1)], (2, 3)),
    "x[one, i]": (lambda x: x[torch.tensor([1]), AT], (2, 3)),
    "index_select": (lambda x: x.index_select(1, AT), (2, 3)),
    "gather line": (lambda x: x.gather(1, AT.expand(2, 4)), (3, 3)),
    "gather": (lambda x: x.gather(0, GRID), (3, 2)),
    "gather elsewhere": (lambda x: x.gather(1, GRID[:2]), (3, 3)),
    "take_along_dim": (lambda x: x.take_along_dim(GRID, 1), (3, 3)),
    "take": (lambda x: x.take(GRID), (2, 2)),
    "take_along_dim flat": (lambda x: x.take_along_dim(GRID), (2, 2)),
    "take_along_dim broadcast": (lambda x: x.take_along_dim(GRID[:1], 1), (3, 3)),
    "take_along_dim of one row": (lambda x: x.take_along_dim(GRID, 1), (1, 3)),
    "index_put": (lambda x: _put(x, 0), (3, 2)),
    "index_put a column": (lambda x: _put_column(x), (2, 4)),
    "index_put adding": (lambda x: _put(x, 1), (3, 2)),
    "index_add": (lambda x: x.index_add(0, AT, x.repeat(2, 1)[:4]), (3, 2)),
    "index_copy": (lambda x: x.index_copy(1, AT[:2], x[:, :2] * 2), (2, 3)),
    "index_fill": (lambda x: x.index_fill(1, AT[:2], 0.5), (2, 3)),
    "index_fill derived": (lambda x: x.index_fill(1, AT[:2], x.sum()), (2, 3)),
    "index_reduce": (lambda x: x.index_reduce(0, AT, x.repeat(2, 1)[:4], "prod"), (3, 2)),
    "index_reduce anew": (
        lambda x: x.index_reduce(0, AT, x.repeat(2, 1)[:4], "prod", include_self=False),
        (3, 2),
    ),
    "scatter": (lambda x: x.scatter(1, AT[:2].expand(2, 2), x[:2, 1:]), (3, 3)),
    "scatter a value": (lambda x: x.scatter(1, AT[:2].expand(2, 2), 0.5), (3, 3)),
    "a write through windows": (lambda x: _written_windows(x), (3, 4)),
    "scatter a value to no line": (lambda x: x.scatter(0, GRID, 0.5), (3, 3)),
    "scatter_add": (lambda x: x.scatter_add(1, AT.expand(2, 4), x.repeat(1, 2)[:, :4]), (2, 3)),
    "scatter_reduce": (
        lambda x: x.scatter_reduce(
            1, AT.expand(2, 4), x.repeat(1, 2)[:, 2:], "sum", include_self=False
        ),
        (2, 3),
    ),
    "embedding_bag": (lambda w: F.embedding_bag(AT, w, BY[[2, 0]], mode="mean"), (3, 2)),
    "embedding_bag, padded": (
        lambda w: F.embedding_bag(AT, w, BY[[2, 0]], mode="sum", padding_idx=2),
        (3, 2),
    ),
    "scatter to no line": (lambda x: x.scatter(0, GRID, x[:, :2] * 2), (3, 3)),
    "scatter to no line of less": (lambda x: x.scatter(1, GRID[:2], x[:2, :2] * 2), (3, 3)),
    "scatter_add to no line": (lambda x: x.scatter_add(0, GRID, x[:, :2] * 2), (3, 3)),
    "scatter_reduce to no line": (
        lambda x: x.scatter_reduce(0, GRID, x[:, :2], "prod", include_self=False),
        (3, 3),
    ),
    "put": (lambda x: x.put(GRID, x[:, :2] * 2), (3, 3)),
    "put, adding": (lambda x: x.put(AT, x[0] * 2, accumulate=True), (2, 4)),
    "masked_scatter": (lambda x: x.masked_scatter(MASK, x.flip(1) * 2), (2, 3)),
    "masked_scatter of a column": (lambda x: x.masked_scatter(MASK[:1], x.flip(1) * 2), (2, 3)),
    "masked_select": (lambda x: x.masked_select(MASK), (2, 3)),
    "masked_select of a column": (lambda x: x.masked_select(MASK), (2, 1)),
    "repeat_interleave by a tensor": (lambda x: x.repeat_interleave(AT, 1), (2, 4)),
    "repeat_interleave, flat": (lambda x: x.repeat_interleave(AT), (2, 2)),
    "narrow from a tensor": (lambda x: x.narrow(1, AT[3], 2), (2, 4)),
    "tensor_split at a tensor": (lambda x: x.tensor_split(AT[[3, 0]], 1), (2, 4)),
    "tril": (lambda x: x.tril(1), (2, 3, 4)),
    "triu": (lambda x: x.triu(-1), (4, 3)),
    "masked_fill": (lambda x: x.masked_fill(MASK, 0), (2, 2, 3)),
    "masked_fill broadcast": (lambda x: x.masked_fill(MASK[:, None], 0), (2, 3)),
    "masked_fill a column": (lambda x: x.masked_fill(MASK[:1], 0), (2, 3)),
    "masked_fill derived": (lambda x: x.masked_fill(MASK, x.sum()), (2, 3)),
    "where": (lambda x: torch.where(MASK, x, x.flip(1)), (2, 3)),
    "where constant": (lambda x: torch.where(MASK, x[:, :1], 1.0), (2, 1)),
    "where nowhere": (lambda x: torch.where(torch.zeros(3, dtype=torch.bool), x, x + x), (2, 3)),
    "diag": (lambda x: x.diag(), (3, 3)),
}


def _put(x: torch.Tensor, how: int) -> torch.Tensor:
    return x.clone().index_put((AT[:2],), x[:2] * 2, accumulate=bool(how))


def _put_column(x: torch.Tensor) -> torch.Tensor:
    out = x + 1
    out[:, AT[:2]] = x[:, 3:]
    return out


def _put_list(x: torch.Tensor) -> torch.Tensor:
    out = x + 1
    out[:, [2, 0]] = x[:, 2:]
    return out


def _put_value(x: torch.Tensor, value: Any) -> torch.Tensor:
    out = x + 1
    out[MASK] = value
    return out


def _put_behind(x: torch.Tensor) -> torch.Tensor:
    out = x + 1
    out[:, MASK] = x[:, 0] * x[0, 1, 0]
    return out


def _written_windows(x: torch.Tensor) -> torch.Tensor:
    out = x * 2
    out.unfold(1, 2, 2)[..., 0].zero_()
    return out


def _put_apart(x: torch.Tensor, rows: slice = slice(2)) -> torch.Tensor:
    out = x + 1
    out[AT[:2], :, BY[:2]] = x[rows, :, 0]
    return out


def _put_grid(x: torch.Tensor) -> torch.Tensor:
    out = x + 1
    out[GRID, :, AT[:2]] = x[:, :, :2].transpose(1, 2)
    return out


def _put_mask(x: torch.Tensor) -> torch.Tensor:
    out = x + 1
    out[MASK] *= 2
    return out


@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")
@pytest.mark.parametrize("name", CONSTANT)
def test_constant_indices_and_masks_are_exact(name):
    function, shape = CONSTANT[name]
    agree(function, shape)


def _put_around(x: torch.Tensor) -> torch.Tensor:
    out = x * 1
    out[AT[:2], :, x.argmax(0)[0, :2]] = x[:2, :, 0]
    return out


@pytest.mark.parametrize("scatter", [torch.scatter, torch.scatter_add])
def test_of_a_larger_source_the_part_that_the_index_covers_is_taken(scatter):
    """Which torch does not differentiate."""
    drawn = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    decides(lambda x: scatter(x, 0, GRID, x * 2), (drawn,))


DATA: dict[str, tuple[Any, tuple[int, ...]]] = {
    "index": (lambda x: x[:, x.argsort(1)[0]], (2, 3)),
    "index_select": (lambda x: x.index_select(1, x.argmax(1)), (2, 3)),
    "gather": (lambda x: x.gather(1, x.argsort(1)), (2, 3)),
    "take": (lambda x: x.take(x.argmax(1)), (2, 3)),
    "scatter": (lambda x: x.new_zeros(2, 4).scatter(1, x.argsort(1), x), (2, 3)),
    "scatter_add": (lambda x: x.scatter_add(1, x.argsort(1), x * 2), (2, 3)),
    "index_add": (lambda x: x.index_add(0, x.argsort(0)[:, 0], x * 2), (2, 3)),
    "index_put": (lambda x: x.index_put((x.argsort(0)[:, 0],), x * 2), (2, 3)),
    "index_put broadcast": (lambda x: x.index_put((x.argsort(0)[:, 0],), x[:, :1]), (2, 3)),
    "index_put around": (lambda x: _put_around(x), (3, 2, 3)),
    "index_put by a grid": (lambda x: x.index_put((x.argsort(0),), x[:, None] * 2), (2, 2)),
    "put": (lambda x: x.put(x.argsort(1), x * 2), (2, 3)),
}


@pytest.mark.parametrize("name", DATA)
def test_indices_that_depend_on_the_data_are_marked(name):
    function, shape = DATA[name]
    agree(function, shape, inputs="random", exact=False)


def test_a_mask_that_is_data_leaves_open_which_value_masked_scatter_takes():
    agree(lambda x: x.masked_scatter(x > 1, x * 2), (3,), exact=False)


def test_an_embedding_reads_its_index_and_for_a_derived_table_its_row():
    agree(lambda weight: F.embedding(GRID, weight), (3, 2))
    table = torch.rand(5, 4)
    graph = capture(Lookup(table), torch.zeros(2, 3, dtype=torch.long))
    reads = recorded(graph)["output"]["input"].reshape(2, 3, 4, 6)
    assert (reads == torch.eye(6, dtype=torch.bool).reshape(2, 3, 1, 6).numpy()).all()
    assert not marks(graph)


class Lookup(torch.nn.Module):
    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        return F.embedding(indices, self.table)
