"""Layers that read the whole axis: summed up in passes of their own, and exact."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamError
from fieldwise.tile.bands.statistics import statistic
from tests.field.networks import Attention, SqueezeExcitation


class Standardised(nn.Module):
    """Per-image standardisation in front of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv((x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True))


class Extremes(nn.Module):
    """Between the least and the greatest value of an image."""

    def forward(self, x: Tensor) -> Tensor:
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return (x - low) / (high - low)


class Function(nn.Module):
    """A function of a tensor."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Classifier(nn.Module):
    """A pooled output beside a dense one."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.head(self.pool(x).flatten(1)), x


def norms() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 6, 3),
        nn.InstanceNorm2d(6, affine=True), nn.Conv2d(6, 6, 1),
        nn.BatchNorm2d(6, track_running_stats=False),
    )  # fmt: skip


CASES = {
    "squeeze and excitation": (SqueezeExcitation, 1),
    "group, instance and batch norm": (norms, 3),
    "standardised": (Standardised, 1),
    "extremes": (Extremes, 1),
    "classifier": (Classifier, 1),
}


@pytest.mark.parametrize(("make", "passes"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("band", [3, 100])
def test_each_global_layer_in_sequence_costs_a_pass_and_nothing_else(make, passes, band):
    torch.manual_seed(0)
    model, x = make().double().eval(), torch.randn(2, 3, 41, 12, dtype=torch.float64)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    run = streamed(model, x, band=band, global_ops="multipass")
    plan = run.plan(x.shape)
    assert len(plan.passes) == passes
    with torch.no_grad():
        wanted = model(x)
    found = run(x)
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for one, other in pairs:
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-12 * other.abs().max()
    assert run.peak_bytes <= plan.peak_bytes


OTHER_AXES = {
    "a group norm of channels, which are rows": lambda x: F.group_norm(
        x, 1, torch.arange(32, dtype=x.dtype), torch.ones(32, dtype=x.dtype)
    ),
    "a mean of columns": lambda x: x - F.adaptive_avg_pool1d(x, 1),
    "a mean of rows and columns": lambda x: x - x.mean((1, 2), keepdim=True),
    "areas of columns": lambda x: F.interpolate(x, size=3, mode="area"),
    "the largest row, whose number is not asked for": lambda x: x - x.max(1, keepdim=True)[0],
    "the largest of a pool": lambda x: x - F.adaptive_max_pool1d(x.mT, 1).mT,
    "the least and the largest": lambda x: torch.sub(*x.aminmax(dim=1, keepdim=True)) * x,
    "length of columns": lambda x: F.normalize(x, dim=1),
    "whether any row is large": lambda x: x * (x > 2).any(1, keepdim=True),
    "instance norm": lambda x: F.instance_norm(x),
    "batch norm of its own": lambda x: F.batch_norm(x, None, None, training=True),
    "native group norm with its statistics": lambda x: torch.cat(
        [y.flatten() for y in torch.native_group_norm(x, None, None, 2, 32, 6, 1, 1e-5)[1:]]
    ),
}


@pytest.mark.parametrize("function", OTHER_AXES.values(), ids=OTHER_AXES)
@pytest.mark.parametrize("band", [1, 5, 32])
def test_a_statistic_is_summed_up_along_the_streamed_axis_only(function, band):
    model = Function(function).eval()
    x = torch.randn(2, 32, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = streamed(model, x, axis=-2, band=band, global_ops="multipass")(x)
    torch.testing.assert_close(found, function(x), rtol=0, atol=1e-12)


def test_groups_of_channels_along_the_streamed_axis_are_refused():
    with pytest.raises(StreamError, match=r"\(group_norm\): a row of its result reads other rows"):
        streamed(
            Function(lambda x: F.group_norm(x, 4)).eval(),
            torch.empty(1, 32, 6),
            axis=-2,
            global_ops="multipass",
        ).plan((1, 32, 6))


def test_the_number_of_the_largest_row_is_not_summed_up():
    with pytest.raises(StreamError, match=r"\(max\): .*\n.*neither be streamed nor summed up"):
        streamed(
            Function(lambda x: x.max(1)).eval(),
            torch.empty(1, 32, 6),
            axis=-2,
            global_ops="multipass",
        ).plan((1, 32, 6))


def test_a_norm_that_hands_out_more_than_its_statistics_is_refused():
    def norm(x: Tensor) -> Tensor:
        given = (torch.ones(6), torch.ones(6), torch.ones(6), torch.ones(6), 0.1, 1e-5)
        y, *_, reserved = torch.ops.aten._batch_norm_with_update_functional(x, *given)[:4]
        return y + reserved.sum()

    with pytest.raises(StreamError, match="neither be streamed nor summed up"):
        streamed(
            Function(norm).eval(), torch.empty(2, 6, 32), axis=-1, global_ops="multipass"
        ).plan((2, 6, 32))


def test_parts_of_other_shapes_are_not_broadcast():
    graph = capture(Function(lambda x: x.mean(1)), torch.empty(2, 4, 3))
    (node,) = graph.nodes
    one = statistic(node, 1, (2, 4, 3), [(2, 3)])
    one.add(torch.ones(2, 2, 3))
    with pytest.raises(RuntimeError, match=r"a sum has the shape \(1, 3\) instead of \(2, 3\)"):
        one.add(torch.ones(1, 2, 3))


def test_the_plan_says_which_pass_is_for_which_layer():
    run = streamed(norms().eval(), torch.empty(1, 3, 9, 9), global_ops="multipass")
    text = str(run.plan((1, 3, 90, 9)))
    assert "pass 1 of 4 is for '1' (group_norm)" in text
    assert "pass 3 of 4 is for '6' (batch_norm)" in text


def test_by_default_global_layers_are_refused():
    with pytest.raises(StreamError, match="group_norm"):
        streamed(norms().eval(), torch.empty(1, 3, 9, 9)).plan((1, 3, 90, 9))


def test_a_sum_of_no_rows_is_refused_since_no_band_brings_any():
    model = Function(lambda x: x + x[:, :, :0].sum(2, keepdim=True))
    with pytest.raises(StreamError, match="neither be streamed nor summed up"):
        streamed(model, torch.empty(1, 3, 9, 9), axis=2, global_ops="multipass").plan((1, 3, 9, 9))


def test_attention_behind_a_global_layer_is_refused_before_the_first_pass():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.attention = nn.GroupNorm(1, 3), Attention()

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(self.norm(x))

    class Unread:
        shape, dtype = (1, 3, 16, 12), torch.float32

        def __getitem__(self, key: object) -> Tensor:
            raise AssertionError("the input was read")

    with pytest.raises(StreamError, match="neither be streamed nor summed up"):
        streamed(Both().eval(), torch.empty(1, 3, 16, 12), axis=2, global_ops="multipass")(Unread())


def test_a_published_network_with_a_gate_in_every_block_is_exact():
    model = pytest.importorskip("timm").create_model("efficientnet_b0", features_only=True)
    torch.manual_seed(0)
    model, x = model.double().eval(), torch.randn(1, 3, 96, 32, dtype=torch.float64)
    run = streamed(model, x, band=48, global_ops="multipass")
    assert len(run.plan(x.shape).passes) == 16
    with torch.no_grad():
        for one, other in zip(run(x), model(x), strict=True):
            assert (one - other).abs().max() <= 1e-12 * other.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layer", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)])
def test_in_half_precision_statistics_are_no_coarser_than_those_of_the_whole(layer, dtype):
    torch.manual_seed(0)
    model, x = layer.to(dtype).eval(), (torch.randn(1, 4, 40, 16) + 60).to(dtype)
    with torch.no_grad():
        whole, exact = model(x), layer.double()(x.double())
    found = streamed(model.to(dtype), x, axis=2, band=7, global_ops="multipass")(x)
    assert found.dtype is dtype
    assert (found - exact).abs().max() <= 2 * (whole - exact).abs().max()
