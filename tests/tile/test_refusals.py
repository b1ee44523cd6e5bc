"""What a refusal says: every layer in the way, why, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable

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
    assert "keeps 2 rows of '0', 32 B" in str(plan)
    assert not re.search(r"(?<!steps) of \d", str(plan))


def test_a_callable_that_is_no_module_is_tiled_by_a_plan_alone():
    with pytest.raises(UsageError, match="give it in place of the example"):
        tiled(torch.relu, torch.empty(1, 3, 32, 32), tile=16)


# ------------------------------------------------------------------ tiles, when the engine is made


class Located(nn.Module):
    """Adds to each row where it lies."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(x.shape[2], dtype=x.dtype)[:, None]


class Rows(nn.Module):
    """A norm over each row."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(3, keepdim=True)


UNTILED = {
    "a pool of the whole": (
        nn.Sequential(SqueezeExcitation(), nn.Conv2d(4, 4, 3)),
        "see all of it.*Or stream it: fieldwise.streamed.*axis=2, global_ops='multipass'",
    ),
    "a norm of rows": (Rows(), r"\(mean\): it reads the whole axis.*Or tile axis 2 alone: axes=2"),
    "attention": (Attention(), "it reads the whole axis.*Or stream it: .*global_ops='auto'"),
    "a wrong tile": (nn.Conv2d(3, 4, 3, stride=4), r"use 4 or 8\."),
}


@pytest.mark.parametrize(("model", "told"), UNTILED.values(), ids=UNTILED)
@pytest.mark.parametrize("size", [9, 24])
def test_what_cannot_be_tiled_is_refused_when_the_engine_is_made(model, told, size):
    """At a size at which all is one tile, too, and with an option that was tried."""
    with pytest.raises(TileError, match=f"(?s){told}"):
        tiled(model.eval(), (1, 3, size, size), tile=6)


def test_what_knows_positions_is_refused_where_the_example_is_one_tile():
    with pytest.raises(TileError, match=r"(?s)none of its positions.*Or tile axis 3 alone: axes=3"):
        tiled(Located(), (1, 3, 9, 9), tile=16)


def test_the_option_of_a_refusal_works():
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(tiled(Located(), x, tile=16, axes=3)(x), Located()(x))
    torch.testing.assert_close(tiled(Rows(), x, tile=16, axes=2)(x), Rows()(x))
    run = streamed(Attention(), x, axis=2, global_ops="auto")
    torch.testing.assert_close(run(x), Attention()(x))


class Wide(nn.Module):
    """Takes inputs of at least forty columns, and sees thirty of them."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x[..., 9:], (1, 31), stride=1)


def test_a_model_that_does_not_run_on_the_example_is_refused_later_if_at_all():
    run, x = tiled(Wide(), (1, 3, 16, 16), tile=64), torch.randn(1, 3, 20, 200)
    torch.testing.assert_close(run(x), Wide()(x))


@pytest.mark.parametrize("tile", [None, "a", 2.5, (4, None), 0, -8, (8, 8, 8)])
def test_what_is_no_tile_is_refused_when_the_engine_is_made(tile):
    with pytest.raises(UsageError, match=r"(the size of|[Aa]|3) tile"):
        tiled(nn.Conv2d(3, 4, 3), (1, 3, 32, 32), tile=tile)


@pytest.mark.parametrize(
    ("axes", "told"), [(4, "axes 0 to 3; axis 4 is none"), (2.0, "named by an integer; 2.0 is")]
)
def test_axes_that_the_inputs_do_not_have_are_refused_when_the_engine_is_made(axes, told):
    with pytest.raises(UsageError, match=told):
        tiled(nn.Conv2d(3, 4, 3), (1, 3, 32, 32), tile=8, axes=axes)


def test_a_refusal_without_reasons_says_its_text_once_beside_an_option():
    error = TileError("No tile is small enough.").with_option("It can be streamed.")
    assert str(error) == "No tile is small enough. It can be streamed."


class Noisy(nn.Module):
    """A convolution and noise of its own; a seed in forward makes it the same in each run."""

    def __init__(self, *, seed: int | None = None) -> None:
        super().__init__()
        self.conv, self.seed = nn.Conv2d(3, 3, 3, padding=1), seed

    def forward(self, x: Tensor) -> Tensor:
        if self.seed is not None:
            torch.manual_seed(self.seed)
        return self.conv(x) * torch.rand(1, 3, 1, 1)


def test_noise_of_the_model_s_own_is_refused_by_both_engines():
    x = torch.empty(1, 3, 32, 32)
    noise = (
        r"'the model itself' \(rand\): it draws random numbers, others in each run; draw them out"
    )
    with pytest.raises(StreamError, match=noise):
        streamed(Noisy().eval(), x)
    with pytest.raises(StreamError, match=noise):
        streamed(Noisy().eval(), x, global_ops="auto")
    with pytest.raises(TileError, match=noise):
        tiled(Noisy().eval(), x, tile=8)


@torch.no_grad()
def test_noise_from_a_seed_of_the_model_is_the_same_in_each_run():
    model, x = Noisy(seed=3).eval(), torch.randn(1, 3, 40, 32)
    for run in (streamed(model, x, band=8), tiled(model, x, tile=8)):
        torch.testing.assert_close(run(x), model(x), atol=1e-5, rtol=1e-5)


class Laid(nn.Module):
    """A seed in forward, and noise that is laid out in memory as a draw says."""

    def __init__(self, draw: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.draw = nn.Conv2d(3, 3, 3, padding=1), draw

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        torch.manual_seed(3)
        return x + self.draw(x)


FOLLOWING = (
    torch.rand_like,
    lambda x: torch.empty_like(x).normal_(),
    lambda x: torch.bernoulli(torch.full_like(x, 0.5).mul(1)),
    lambda x: torch.zeros_like(x)[:, :2].uniform_()[:, :1],
)
STAYING = (
    lambda x: torch.rand(x.shape),
    lambda x: x.new_empty(x.shape).normal_(),
    lambda x: torch.rand_like(x, memory_format=torch.contiguous_format),
)


@pytest.mark.parametrize("draw", FOLLOWING)
def test_seeded_noise_that_lies_in_memory_as_the_input_does_is_refused(draw):
    model, x = Laid(draw).eval(), torch.randn(1, 3, 16, 16)
    with torch.no_grad():  # the same numbers in another order
        other = model(x.contiguous(memory_format=torch.channels_last))
        assert not torch.allclose(other, model(x))
    with pytest.raises(StreamError, match="random numbers, in the order that its input has in mem"):
        streamed(model, x)
    with pytest.raises(TileError, match="random numbers, in the order that its input has in mem"):
        tiled(model, x, tile=8)


@torch.no_grad()
@pytest.mark.parametrize("draw", STAYING)
def test_seeded_noise_that_lies_in_memory_as_it_says_is_streamed_in_any_layout(draw):
    model, x = Laid(draw).eval(), torch.randn(1, 3, 16, 16)
    for layout in (torch.contiguous_format, torch.channels_last):
        laid_out = x.contiguous(memory_format=layout)
        run = streamed(model, x, band=8)
        torch.testing.assert_close(run(laid_out), model(laid_out), atol=1e-5, rtol=1e-5)


def test_what_torch_itself_cannot_compute_in_a_type_is_no_fault_of_ours():
    model, x = nn.AvgPool3d(2).bfloat16(), torch.zeros(1, 2, 8, 8, 8, dtype=torch.bfloat16)
    with pytest.raises(NotImplementedError):
        model(x)
    with pytest.raises(StreamError) as refused:
        streamed(model, x)(x)
    assert "torch cannot compute it (NotImplementedError" in str(refused.value)
    assert str(refused.value).endswith("Choose another dtype, or another device.")
