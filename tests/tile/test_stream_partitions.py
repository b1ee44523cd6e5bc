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
from fieldwise.tile.stream.statistics import statistic
from tests.tile.stream_networks import Chomped, Recurrent, WaveUNet

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
    "variance": lambda x: x.var((1, 2), correction=2),
    "deviation": lambda x: x.std(2, keepdim=True),
    "pool": lambda x: F.adaptive_avg_pool1d(x, 1),
}


@pytest.mark.parametrize("function", STATISTICS.values(), ids=STATISTICS)
@FEW
@given(parts=PARTITIONS, halfway=st.integers(0, 8))
def test_a_statistic_of_any_partition_is_that_of_the_whole(function, parts, halfway):
    x = _input(3)
    graph = capture(Net(function), x)
    node = next(n for n in graph.nodes if n.operands == graph.inputs)
    shapes = [graph.shape(name) for name in node.results]
    here, there = (statistic(node, 2, tuple(x.shape), shapes) for _ in range(2))
    assert here is not None
    assert there is not None
    cut = min(halfway, len(parts) - 1)
    for lo, hi in parts[:cut]:
        here.add(x[..., lo:hi])
    for lo, hi in parts[cut:]:
        there.add(x[..., lo:hi])
    if cut:
        here.join(there.part())
    found = (here if cut else there).known().values[node.results[0]]
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
