"""Rules that claim no element that cannot matter, held against what is measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fieldwise.testing import check_reads

aten = torch.ops.aten
FACTORS, PIVOTS = torch.linalg.lu_factor(
    torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
)
LINE = torch.randn(4, dtype=torch.float64)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
def test_of_the_factor_solved_last_the_rest_of_a_triangle_is_read(left, adjoint):
    def solved(factors: Tensor, side: Tensor) -> Tensor:
        return torch.linalg.lu_solve(factors, PIVOTS, side, left=left, adjoint=adjoint)

    side = torch.randn(2, 3, 2) if left else torch.randn(2, 2, 3)
    assert check_reads(solved, FACTORS, side).verdict == "exact"


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("transpose", [True, False])
def test_a_reflector_leaves_alone_what_lies_before_it(left, transpose):
    def applied(below: Tensor, scales: Tensor, x: Tensor) -> Tensor:
        return torch.ormqr(below, scales, x, left, transpose)

    below, scales = torch.geqrf(torch.randn(4, 2))
    x = torch.randn(4, 2) if left else torch.randn(2, 4)
    assert check_reads(applied, below, scales, x).verdict == "exact"


@pytest.mark.parametrize("name", ["copysign_", "lt_", "eq_", "heaviside_"])
def test_an_in_place_form_is_as_element_wise_as_its_twin(name):
    found = check_reads(lambda x, y: getattr(x.clone(), name)(y), torch.randn(5), torch.randn(5))
    assert found.verdict == "exact"


@pytest.mark.parametrize(
    "op",
    [
        lambda x: torch.max(x.unsqueeze(1), 1),
        lambda x: torch.fill(x, 3.0),
        lambda x: torch.quantile(x.unsqueeze(1), torch.rand(2, dtype=x.dtype), dim=1),
        lambda x: functional.dropout(x, 1.0),
        lambda x: functional.alpha_dropout(x, 1.0, training=True),
        lambda x: torch.linalg.matrix_rank(x, rtol=1.0),
        lambda x: torch.meshgrid(LINE, x[0], indexing="xy"),
        lambda x: torch.cartesian_prod(x[0], LINE),
        lambda x: aten._softmax_backward_data(x, x.sigmoid(), 1, torch.float64),
        lambda x: functional.instance_norm(x[None], x[0, :3], x[1, :3].abs(), use_input_stats=True),
    ],
)
def test_nothing_is_read_that_cannot_matter(op):
    assert check_reads(op, torch.randn(3, 4)).verdict == "exact"


@pytest.mark.parametrize(
    "op",
    [
        lambda x: functional.layer_norm(x[..., None], (1,)),
        lambda x: functional.layer_norm(x[..., None], (1,), x[0, :1], x[1, :1]),
        lambda x: torch.native_layer_norm(x[..., None], (1,), None, None, 1e-5),
        lambda x: functional.group_norm(x, 4),
        lambda x: torch.native_group_norm(x, None, None, 3, 4, 1, 4, 1e-5),
        lambda x: torch.var(x[None], 0),
        lambda x: torch.std_mean(x[None], 0, correction=0),
        lambda x: functional.rms_norm(x[..., None], (1,)),
    ],
)
def test_a_single_element_does_not_vary(op):
    assert check_reads(op, torch.randn(3, 4)).verdict == "exact"


def test_running_statistics_are_not_read_where_those_of_the_batch_are_taken():
    def trained(x: Tensor, mean: Tensor, var: Tensor) -> object:
        return aten._native_batch_norm_legit_functional(x, None, None, mean, var, True, 0.1, 1e-5)

    given = torch.randn(3, 2, 4), torch.randn(2), torch.rand(2) + 0.1
    assert check_reads(trained, *given).verdict == "exact"
