"""However an input is cut into bands, what comes out is the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.tile import streamed
from fieldwise.tile.bands.statistics import Statistic, statistic
from tests.tile.bands.networks import Chomped, Recurrent, WaveUNet

ROWS = 24
PARTITIONS = st.lists(st.integers(1, ROWS - 1), max_size=8).map(
    lambda cuts: [*pairwise(sorted({0, *cuts, ROWS}))]
)
FEW = settings(max_examples=10, deadline=None, database=None, derandomize=True)


class Net(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _input(channels: int) -> Tensor:
    numbers = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, ROWS, dtype=torch.float64, generator=numbers)


NETWORKS = {"chomped": (Chomped, 2), "recurrent": (Recurrent, 2), "decimating": (WaveUNet, 1)}


@pytest.mark.parametrize(("make", "channels"), NETWORKS.values(), ids=NETWORKS)
@FEW
@given(parts=PARTITIONS)
def test_any_partition_into_chunks_gives_the_whole(make, channels, parts):
    torch.manual_seed(0)
    model, x = make().double().eval(), _input(channels)
    session = streamed(model, x, axis=-1).session(length=ROWS)
    pieces = [session.push(x[..., lo:hi]) for lo, hi in parts]
    found = torch.cat([*pieces, session.close()], -1)
    with torch.no_grad():
        torch.testing.assert_close(found, model(x), rtol=0, atol=1e-12)


STATISTICS = {
    "mean": lambda x: x.mean(2),
    "sum of all": lambda x: x.sum(),
    "largest": lambda x: x.amax((0, 2)),
    "product": lambda x: x.prod(2),
    "logsumexp": lambda x: x.logsumexp(2),
    "norm": lambda x: x.norm(dim=2),
    "largest norm": lambda x: torch.linalg.vector_norm(x, torch.inf, (0, 2)),
    "sum of numbers": lambda x: x.nansum(2),
    "variance": lambda x: x.var((1, 2), correction=2),
    "biased variance": lambda x: x.var(2, unbiased=False),
    "biased variance of all": lambda x: x.var(unbiased=False),
    "deviation": lambda x: x.std(2, keepdim=True),
    "pool": lambda x: F.adaptive_avg_pool1d(x, 1),
}


def _statistic(function, x: Tensor) -> Statistic:
    """Of the first op, streamed along the last axis."""
    graph = capture(Net(function), x)
    node = next(n for n in graph.nodes if n.operands == graph.inputs)
    found = statistic(node, 2, tuple(x.shape), [graph.shape(name) for name in node.results])
    assert found is not None
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("function", STATISTICS.values(), ids=STATISTICS)
def test_a_statistic_has_the_type_that_the_op_gives(function, dtype):
    x = _input(3).to(dtype)
    one, other = (_statistic(function, x) for _ in range(2))
    one.add(x)
    other.join(one.part())
    for each in (one, other):
        (found,) = each.known().values.values()
        assert found.dtype == function(x).dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_scale_and_shift_of_a_norm_have_the_type_of_its_operand(dtype):
    x = _input(4).to(dtype)
    one, other = (_statistic(lambda x: F.group_norm(x, 2), x) for _ in range(2))
    one.add(x)
    other.join(one.part())
    for each in (one, other):
        ((scale, shift),) = each.known().affine.values()
        assert scale.dtype == shift.dtype == dtype
        assert scale.shape == shift.shape == (2, 4, 1)


@pytest.mark.parametrize("function", STATISTICS.values(), ids=STATISTICS)
@FEW
@given(parts=PARTITIONS, halfway=st.integers(0, 8))
def test_a_statistic_of_any_partition_is_that_of_the_whole(function, parts, halfway):
    x = _input(3)
    here, there = (_statistic(function, x) for _ in range(2))
    cut = min(halfway, len(parts) - 1)
    for lo, hi in parts[:cut]:
        here.add(x[..., lo:hi])
    for lo, hi in parts[cut:]:
        there.add(x[..., lo:hi])
    if cut:
        here.join(there.part())
    one = here if cut else there
    found = one.known().values[one.node.results[0]]
    torch.testing.assert_close(
        found.reshape(function(x).shape), function(x), rtol=1e-12, atol=1e-12
    )


@FEW
@given(bands=st.lists(st.integers(1, ROWS), min_size=1, max_size=3))
def test_bands_of_any_height_give_the_whole_of_several_passes(bands):
    model = Net(lambda x: F.conv1d(F.group_norm(x, 2), torch.ones(2, 4, 3, dtype=x.dtype)))
    x = _input(4)
    for band in bands:
        found = streamed(model, x, axis=-1, band=band, global_ops="multipass")(x)
        torch.testing.assert_close(found, model(x), rtol=0, atol=1e-12)
