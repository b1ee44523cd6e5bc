"""Parallel scans that are written in place, into strided views and views of views."""

from __future__ import annotations

from math import log2

import pytest
import torch
from torch import Tensor, nn

from fieldwise.axes import AxisMap, Table
from fieldwise.capture.torch import capture
from fieldwise.field import receptive_fields
from fieldwise.field.closed import closed_forms
from fieldwise.testing import check_field


def swept_up(y: Tensor) -> int:
    """Add up pairs, pairs of pairs and so on, in place; the width of the last pair."""
    by = 1
    while by < y.shape[-1]:
        y[..., 2 * by - 1 :: 2 * by] += y[..., by - 1 :: 2 * by]
        by *= 2
    return by


class BrentKung(nn.Module):
    """Sums of all that came before and of itself: an up-sweep, then a down-sweep in between."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        by = swept_up(y)
        while by > 1:
            by //= 2
            between = y[..., 3 * by - 1 :: 2 * by]
            between += y[..., 2 * by - 1 :: 2 * by][..., : between.shape[-1]]
        return y


class Blelloch(nn.Module):
    """Sums of all that came before: the root is cleared and halves are exchanged downwards."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        by = swept_up(y)
        y[..., -1] = 0
        while by > 1:
            by //= 2
            left = y[..., by - 1 :: 2 * by].clone()
            y[..., by - 1 :: 2 * by] = y[..., 2 * by - 1 :: 2 * by]
            y[..., 2 * by - 1 :: 2 * by] += left
        return y


class SelectiveScan(nn.Module):
    """h[t] = a[t]·h[t−1] + x[t] as Mamba's parallel scan computes it, halves being views of halves.

    Gates and states are updated in place: (batch, time, channels).
    """

    def forward(self, x: Tensor) -> Tensor:
        states, gates = x.transpose(1, 2).clone(), torch.sigmoid(x).transpose(1, 2).clone()
        a, h, levels = gates, states, list[tuple[Tensor, Tensor]]()
        while h.shape[-1] > 1:
            a, h = a.unflatten(-1, (-1, 2)), h.unflatten(-1, (-1, 2))
            h[..., 1].add_(a[..., 1].mul(h[..., 0]))
            a[..., 1].mul_(a[..., 0])
            levels.append((a, h))
            a, h = a[..., 1], h[..., 1]
        for a, h in reversed(levels):
            h[..., 1:, 0].add_(a[..., 1:, 0].mul(h[..., :-1, 1]))
            a[..., 1:, 0].mul_(a[..., :-1, 1])
        return states.transpose(1, 2)


SCANS = {"Brent-Kung": BrentKung(), "Blelloch": Blelloch(), "Mamba": SelectiveScan()}


def example(name: str, steps: int) -> Tensor:
    shape = (1, steps, 2) if name == "Mamba" else (1, 2, steps)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_scans_compute_what_they_say():
    x = example("Blelloch", 16)
    sums = x.cumsum(-1)
    torch.testing.assert_close(SCANS["Brent-Kung"](x), sums)
    torch.testing.assert_close(SCANS["Blelloch"](x), sums - x)
    steps, state, states = example("Mamba", 16), torch.zeros(1, 2, dtype=x.dtype), list[Tensor]()
    for step in steps.unbind(1):
        state = torch.sigmoid(step) * state + step
        states.append(state)
    torch.testing.assert_close(SCANS["Mamba"](steps), torch.stack(states, 1))


@pytest.mark.parametrize("name", SCANS)
def test_every_step_of_a_scan_written_in_place_sees_what_derivatives_see(name):
    assert check_field(SCANS[name], example(name, 16)).verdict == "exact"


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        *((name, 64) for name in SCANS), ("Brent-Kung", 512), ("Blelloch", 512),
        pytest.param("Mamba", 512, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_scan_costs_a_few_calls_per_pair_of_levels_and_a_row_per_step(name, steps):
    x = example(name, steps)
    graph = capture(SCANS[name], x)
    assert len(graph.nodes) <= 30 * log2(steps) ** 2
    source, axis = graph.inputs[0], x.shape.index(steps)
    for closed in closed_forms(graph, source, (axis,)).values():
        assert len(closed.state.products) <= 6 * log2(steps)
        for product in closed.state.products:
            assert rows(product.tracks[0].map) <= steps
    seen = receptive_fields(graph, axes=(axis,))["output"].at(steps - 1)
    assert seen.mask().sum() == steps - (name == "Blelloch")


def rows(index: object) -> int:
    """How many rows a map lists."""
    if isinstance(index, AxisMap):
        return index.period
    return len(index.rows) if isinstance(index, Table) else 1
