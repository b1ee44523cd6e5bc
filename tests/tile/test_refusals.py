"""What a refusal says: every layer in the way, why, and what to do about it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fieldwise.errors import CaptureError, UsageError
from fieldwise.tile import plan_tiles, streamed, tiled
from fieldwise.tile.errors import StreamError, TileError
from tests.field.networks import SqueezeExcitation


def refused(model: nn.Module, *shape: int, axis: int = 2) -> StreamError:
    with pytest.raises(StreamError) as caught:
        streamed(model.eval(), torch.empty(shape), axis=axis).plan(shape)
    return caught.value


def test_every_layer_that_needs_a_pass_is_named_with_the_pass_as_a_remedy():
    model = nn.Sequential(
        nn.GroupNorm(1, 3), SqueezeExcitation(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    error = refused(model, 1, 3, 32, 9)
    assert [(one.module, one.op) for one in error.refusals] == [
        ("0", "group_norm"), ("1", "mean"), ("2", "adaptive_avg_pool"),
    ]  # fmt: skip
    assert "global_ops='multipass'" in str(error)
    run = streamed(model, torch.empty(1, 3, 32, 9), global_ops="multipass")
    assert len(run.plan((1, 3, 32, 9)).passes) == 3


class Attention(nn.Module):
    """Every position looks at every other one."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return (weights @ tokens).transpose(1, 2).reshape(x.shape)


def test_no_pass_is_offered_where_one_layer_can_have_none():
    error = refused(nn.Sequential(Attention(), nn.GroupNorm(1, 3), Attention()), 1, 3, 16, 12)
    assert {one.module for one in error.refusals} == {"0", "1", "2"}
    assert "multipass" not in str(error)


class Skip(nn.Module):
    """A U-Net's join: odd sizes do not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.down(x))


def test_both_engines_name_the_nearest_sizes_at_which_a_network_runs():
    with pytest.raises(CaptureError, match="It runs on 1x3x60x30 or 1x3x62x32"):
        streamed(Skip().eval(), torch.empty(1, 3, 8, 8)).plan((1, 3, 61, 31))
    with pytest.raises(TileError, match="It runs on 60 x 30 or 62 x 32"):
        plan_tiles(Skip().eval(), (1, 3, 61, 31), tile=16)


def test_no_size_is_named_where_none_helps():
    with pytest.raises(CaptureError) as caught:
        streamed(Skip().eval(), torch.empty(1, 3, 8, 8)).plan((1, 4, 61, 31))
    assert "It runs on" not in str(caught.value)


def test_the_plan_of_live_data_has_no_totals():
    model = nn.Sequential(nn.Conv1d(1, 4, 5, padding=2), nn.Conv1d(4, 1, 3)).eval()
    plan = streamed(model, torch.empty(1, 1, 16), axis=-1).session().plan(20)
    assert "0: 2 rows, 32 B" in str(plan)
    assert " of " not in str(plan).replace("steps of", "")


def test_a_callable_that_is_no_module_is_tiled_by_a_plan_alone():
    with pytest.raises(UsageError, match="give it in place of the example"):
        tiled(torch.relu, torch.empty(1, 3, 32, 32), tile=16)
