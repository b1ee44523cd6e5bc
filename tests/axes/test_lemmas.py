"""What the algebra rests on, proved by z3 for every period, advance, size and index at once.

isl decides statements in which the numbers of a map are given; these are about all numbers, so
products of unknowns occur in them.  Each is an implication between integers without quantifiers.
"""

from __future__ import annotations

import pytest
import z3

SECONDS = 20


def ints(names: str) -> tuple[z3.ArithRef, ...]:
    return tuple(z3.Ints(names))


def prove(given: list[z3.BoolRef], claim: z3.BoolRef) -> None:
    """Fail unless the claim follows; also where nothing fulfils the hypotheses."""
    possible, counterexample = z3.Solver(), z3.Solver()
    for solver in (possible, counterexample):
        solver.set("timeout", SECONDS * 1000)
    possible.add(*given)
    assert possible.check() == z3.sat, "the hypotheses contradict each other"
    counterexample.add(*given, z3.Not(claim))
    answer = counterexample.check()
    assert answer == z3.unsat, f"{answer}: {counterexample.model() if answer == z3.sat else ''}"


def test_a_false_lemma_is_not_proved():
    a, b = ints("a b")
    with pytest.raises(AssertionError, match="sat: "):
        prove([a > 0, b > 0], a * b > a)


def test_hypotheses_that_nothing_fulfils_prove_nothing():
    (a,) = ints("a")
    with pytest.raises(AssertionError, match="contradict"):
        prove([a > 0, a < 0], a == 1)


# -------------------------------------------------------------------- axis maps

q, r, o, i, m = ints("q r o i m")
P, A, B, Q, turns = ints("P A B Q turns")


def reads(index, read, *, period, advance, quotient, phase, offset):
    """That index = q·P + r reads q·A + o."""
    return [
        period > 0,
        phase >= 0,
        phase < period,
        index == quotient * period + phase,
        read == quotient * advance + offset,
    ]


def test_quotient_and_phase_of_an_index_are_unique():
    q2, r2 = ints("q2 r2")
    prove(
        [P > 0, r >= 0, r < P, r2 >= 0, r2 < P, q * P + r == q2 * P + r2, q >= q2],
        z3.And(q == q2, r == r2),
    )


def test_a_map_repeats_after_its_period_moved_by_its_advance():
    prove(
        reads(i, m, period=P, advance=A, quotient=q, phase=r, offset=o),
        z3.And(i + P == (q + 1) * P + r, m + A == (q + 1) * A + o),
    )


def test_written_with_a_multiple_of_its_period_a_map_reads_the_same():
    k = z3.Int("k")
    given = reads(i, m, period=P, advance=A, quotient=q, phase=r, offset=o)
    given += [turns > 0, k >= 0, k < turns, q == Q * turns + k]
    long_phase, long_offset = k * P + r, o + k * A
    prove(
        given,
        z3.And(i == Q * (turns * P) + long_phase, m == Q * (turns * A) + long_offset),
    )


def test_a_composition_repeats_after_as_many_turns_as_bring_the_middle_round():
    """Outer of period P and advance A, inner of period N and advance B; turns·A = k·N."""
    N, k, q2, r2, o2, middle = ints("N k q2 r2 o2 middle")
    given = reads(i, middle, period=P, advance=A, quotient=q, phase=r, offset=o)
    given += reads(middle, m, period=N, advance=B, quotient=q2, phase=r2, offset=o2)
    given += [turns > 0, turns * A == k * N]
    prove(
        given,
        z3.And(
            i + turns * P == (q + turns) * P + r,
            middle + turns * A == (q2 + k) * N + r2,
            m + k * B == (q2 + k) * B + o2,
        ),
    )


def test_maps_of_different_rates_drift_apart_beyond_any_bound():
    """So their union has no quasi-affine form: its offset sets would have to be infinite."""
    A2, P2, bound = ints("A2 P2 bound")
    drift = (bound + 1) * (A * P2 - A2 * P)
    prove(
        [P > 0, P2 > 0, bound >= 0, A * P2 != A2 * P],
        z3.Or(drift > bound, -drift > bound),
    )


def test_who_reads_an_index_is_found_by_dividing_by_the_advance():
    x, back = ints("x back")
    prove(
        [A != 0, x == q * A + o, back * A == x - o],
        back == q,
    )


def test_what_a_map_sweeps_is_residues_of_its_advance():
    """All that is read is congruent to an offset; that all such is read is the definition."""
    x, rest, q2 = ints("x rest q2")
    prove(
        [A > 0, rest >= 0, rest < A, o == q2 * A + rest, x == q * A + o],
        x == (q + q2) * A + rest,
    )


def test_a_transposed_convolution_reads_what_its_scatter_writes():
    stride, dilation, tap, padding, j = ints("stride dilation tap padding j")
    prove(
        [
            stride > 0,
            i == j * stride + tap * dilation - padding,
            q * stride == i + padding - tap * dilation,
        ],
        q == j,
    )


# -------------------------------------------------------------------- borders of any size

n, x, t, y = ints("n x t y")


def folded(index, landed, *, period, turn, mirror):
    """That an index lands on a sample: itself or its mirror image, by whole periods."""
    return z3.Or(landed == index + turn * period, landed == mirror - index + turn * period)


@pytest.mark.parametrize("sides", ["same", "opposite"])
@pytest.mark.parametrize("kind", ["reflect", "symmetric"])
def test_a_mirrored_index_lands_on_one_sample_only(kind, sides):
    """Reflect: mirrored at samples, period 2n − 2; symmetric: between samples, period 2n.

    Two landings of one index, by x or by its mirror image each, differ or add up by whole periods.
    """
    z, k = ints("z k")
    period, mirror = (2 * n - 2, 0) if kind == "reflect" else (2 * n, -1)
    met = y - z == k * period if sides == "same" else y + z == mirror + k * period
    within = [n >= 2, y >= 0, y < n, z >= 0, z < n]
    if (kind, sides) == ("symmetric", "opposite"):
        prove(within, z3.Not(met))
    else:
        prove([*within, met], y == z)


@pytest.mark.parametrize("kind", ["reflect", "symmetric"])
def test_a_mirrored_border_leaves_what_lies_inside(kind):
    period, mirror = (2 * n - 2, 0) if kind == "reflect" else (2 * n, -1)
    prove(
        [n >= 2, x >= 0, x < n, y >= 0, y < n, folded(x, y, period=period, turn=t, mirror=mirror)],
        y == x,
    )


def test_a_wrapped_index_lands_on_one_sample_only():
    u, z = ints("u z")
    prove(
        [n > 0, y >= 0, y < n, z >= 0, z < n, y == x + t * n, z == x + u * n],
        y == z,
    )


# -------------------------------------------------------------------- row-major order


def test_rows_and_columns_are_written_by_one_index_in_one_way():
    row, column, row2, column2, width = ints("row column row2 column2 width")
    prove(
        [
            width > 0,
            column >= 0,
            column < width,
            column2 >= 0,
            column2 < width,
            row * width + column == row2 * width + column2,
        ],
        z3.And(row == row2, column == column2),
    )


def test_regrouping_three_dimensions_keeps_the_order_of_their_elements():
    a, b, c, height, width = ints("a b c height width")
    prove(
        [height > 0, width > 0],
        (a * height + b) * width + c == a * (height * width) + (b * width + c),
    )


# -------------------------------------------------------------------- the exercise's identity


def test_the_shifted_window_of_the_exercise_is_the_window_of_the_shifted_place():
    """((m + τ − 1) mod T − δ) mod T = (m' + τ − 1) mod T with m' = (m − δ) mod T."""
    T, tau, delta, k1, k2, k3, k4, left, right = ints("T tau delta k1 k2 k3 k4 left right")
    inner, place = m + tau - 1 - k1 * T, m - delta - k2 * T
    prove(
        [
            T > 0,
            inner >= 0,
            inner < T,
            place >= 0,
            place < T,
            left == inner - delta - k3 * T,
            left >= 0,
            left < T,
            right == place + tau - 1 - k4 * T,
            right >= 0,
            right < T,
        ],
        left == right,
    )
