"""Factorisations of matrices and linear systems, against the Jacobian."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fieldwise.capture.torch import capture
from fieldwise.testing.fields import field_outcome
from tests.capture.torch.ops.oracle import Op, agree, decides, marks

SQUARE = (3, 3)


def heavy(x: torch.Tensor) -> torch.Tensor:
    """A matrix with a heavy diagonal: definite, and no row is exchanged."""
    return x + 9 * torch.eye(x.shape[-1], dtype=x.dtype)


EXACT: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "cholesky": (lambda x: torch.linalg.cholesky(heavy(x)), [(2, 3, 3)]),
    "cholesky, upper": (lambda x: torch.linalg.cholesky(heavy(x), upper=True), [SQUARE]),
    "cholesky_solve": (lambda b, x: torch.cholesky_solve(b, heavy(x)), [(3, 2), SQUARE]),
    "cholesky_solve, upper": (
        lambda b, x: torch.cholesky_solve(b, heavy(x), upper=True),
        [(2, 3, 2), SQUARE],
    ),
    "square": (lambda x: torch.linalg.matrix_power(x, 2), [SQUARE]),
    "cube": (lambda x: torch.linalg.matrix_power(x, 3), [SQUARE]),
    "first power": (lambda x: torch.linalg.matrix_power(x, 1), [SQUARE]),
    "solve": (lambda a, b: torch.linalg.solve(heavy(a), b), [(2, 3, 3), (3, 2)]),
    "solve, vector": (lambda a, b: torch.linalg.solve(heavy(a), b), [SQUARE, (3,)]),
    "solve, from the right": (
        lambda a, b: torch.linalg.solve(heavy(a), b, left=False),
        [SQUARE, (2, 3)],
    ),
    "solve triangular, lower": (
        lambda a, b: torch.linalg.solve_triangular(heavy(a), b, upper=False),
        [SQUARE, (2, 3, 2)],
    ),
    "solve triangular, upper": (
        lambda a, b: torch.linalg.solve_triangular(heavy(a), b, upper=True),
        [SQUARE, (3, 2)],
    ),
    "solve triangular, lower from the right": (
        lambda a, b: torch.linalg.solve_triangular(heavy(a), b, upper=False, left=False),
        [SQUARE, (2, 3)],
    ),
    "solve triangular, upper from the right": (
        lambda a, b: torch.linalg.solve_triangular(heavy(a), b, upper=True, left=False),
        [SQUARE, (2, 3)],
    ),
    "solve triangular, ones on the diagonal": (
        lambda a, b: torch.linalg.solve_triangular(a, b, upper=False, unitriangular=True),
        [SQUARE, (3, 2)],
    ),
    "triangular_solve, flipped": (
        lambda b, a: torch.triangular_solve(b, heavy(a), upper=True, transpose=True)[0],
        [(3, 2), SQUARE],
    ),
    "inverse": (lambda x: torch.linalg.inv(heavy(x)), [SQUARE]),
    "determinant": (lambda x: torch.linalg.det(heavy(x)), [(2, 3, 3)]),
    "pinv": (lambda x: torch.linalg.pinv(x), [(3, 2)]),
    "R": (lambda x: torch.linalg.qr(heavy(x)).R, [SQUARE]),
    "Q": (lambda x: torch.linalg.qr(heavy(x)).Q[:, :-1], [SQUARE]),
}


@pytest.mark.parametrize("name", EXACT)
def test_an_element_of_a_solution_or_factor_reads_what_its_jacobian_says(name):
    function, shapes = EXACT[name]
    agree(function, *shapes)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.linalg.lu(x).U,
        lambda x: torch.linalg.lu(x).L,
        lambda x: torch.linalg.lu(x).P,
        lambda x: torch.linalg.lu_factor(x),
        lambda x: torch.geqrf(x)[1],
    ],
)
def test_elimination_reads_the_columns_before_since_they_choose_its_rows(function):
    draws = torch.rand(60, 3, 3, generator=torch.Generator().manual_seed(0))
    decides(function, *((draw.double(),) for draw in draws))


@pytest.mark.parametrize("shape", [(5, 2), (2, 5), (2, 4, 3), (1, 1), (0, 2)])
@pytest.mark.parametrize("factor", [torch.linalg.qr, torch.linalg.lu, torch.geqrf, torch.lu])
def test_a_matrix_that_is_not_square_is_factored_without_a_bound(factor, shape):
    assert not marks(capture(Op(factor), torch.empty(shape)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (1, 2), (4, 2)])
@pytest.mark.parametrize("factor", [torch.linalg.qr, torch.geqrf])
def test_the_last_reflector_of_a_wide_matrix_turns_a_phase_and_no_real_number(factor, shape, dtype):
    x = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(4))
    assert field_outcome(lambda x: tuple(factor(x)), (x,)).verdict == "exact"
