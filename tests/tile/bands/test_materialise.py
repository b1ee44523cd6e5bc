"""Layers that need all of an operand run once on it, and streaming goes on from their results."""

from __future__ import annotations

import gc

import dask
import dask.array as da
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldwise.capture.torch.capture import capture
from fieldwise.errors import UsageError
from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamError
from fieldwise.tile.bands.store import Store
from tests.field.networks import Attention
from tests.tile.bands.test_passes import CASES, Function, norms


class Decoder(nn.Module):
    """A small decoder of latents: a residual block, attention over all positions, an upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(2, 8) for _ in range(3))
        self.tokens = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.up = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.norms[0](x).relu()
        tokens = self.norms[1](x).flatten(2).transpose(1, 2)
        q, k, v = (layer(tokens) for layer in self.tokens[:3])
        seen = self.tokens[3](F.scaled_dot_product_attention(q, k, v))
        x = x + seen.transpose(1, 2).reshape(x.shape)
        x = self.up(F.interpolate(x, scale_factor=2.0))
        return self.last(self.norms[2](x).relu())


class Recurrent(nn.Module):
    """A decoder of audio whose recurrent layer runs both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 6, (3, 1), padding=(1, 0))
        self.both = nn.LSTM(6, 4, bidirectional=True, batch_first=True)
        self.up = nn.ConvTranspose1d(8, 2, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.both(self.enter(x).mean(3).transpose(1, 2))
        return self.up(y.transpose(1, 2))


class Primed(Recurrent):
    """One whose first states are made of what an earlier pass found."""

    def forward(self, x: Tensor) -> Tensor:
        steps = self.enter(x).mean(3).transpose(1, 2)
        state = steps.mean(1)[None, :, :4].repeat(2, 1, 1).tanh()
        y, _ = self.both(steps, (state, state))
        return self.up(y.transpose(1, 2))


def percentiles(x: Tensor) -> Tensor:
    low, high = torch.quantile(x, torch.tensor([0.01, 0.99], dtype=x.dtype)).unbind()
    return F.avg_pool2d((x - low) / (high - low), 3)


def of_positions(x: Tensor) -> Tensor:
    """As MAnet does: one softmax over all pairs of positions."""
    one = x.flatten(2)
    pairs = one.transpose(1, 2) @ one
    weights = pairs.flatten(1).softmax(1).view(pairs.shape)
    return x + (weights @ one.transpose(1, 2)).transpose(1, 2).reshape(x.shape)


def of_channels(x: Tensor) -> Tensor:
    """As DANet does: how channels resemble each other, over all positions."""
    one = x.flatten(2)
    weights = (one @ one.transpose(1, 2)).softmax(-1)
    return F.max_pool2d(x + (weights @ one).view(x.shape), 2)


def of_frames(x: Tensor) -> Tensor:
    """Time, which is streamed, folded into the batch, where all frames are looked at."""
    frames = x.transpose(1, 2).flatten(0, 1)
    frames = F.avg_pool1d(frames * frames.softmax(0), 3, 1, 1) * 9 + frames
    return F.max_pool2d(frames.unflatten(0, (x.shape[0], -1)).transpose(1, 2), 2)


NETWORKS = {
    "a decoder with attention in the middle": Decoder,
    "attention": Attention,
    "a recurrent layer that runs both ways": Recurrent,
    "percentiles": lambda: Function(percentiles),
    "frames": lambda: Function(of_frames),
    "a recurrent layer that begins with a mean": Primed,
    "attention of positions": lambda: Function(of_positions),
    "attention of channels": lambda: Function(of_channels),
    "ranks": lambda: Function(lambda x: F.avg_pool2d(x.argsort(2).to(x.dtype) * x.sort(2)[0], 2)),
    "a spectrum of the streamed axis": lambda: Function(
        lambda x: F.avg_pool2d(torch.fft.ifft(torch.fft.fft(x, dim=2), dim=2).real, 3, 1)
    ),
    "where the largest row is": lambda: Function(lambda x: x.gather(2, x.argmax(2, True)) * x),
    **{name: make for name, (make, _) in CASES.items()},
}


def largest_error(found, wanted) -> float:
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)


def prepared(make, rows: int = 24):
    torch.manual_seed(0)
    model, x = make().double().eval(), torch.randn(2, 3, rows, 12, dtype=torch.float64)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        return model, x, model(x)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("how", ["materialise", "auto"])
def test_every_layer_that_needs_all_of_an_operand_gets_it(make, how):
    model, x, wanted = prepared(make)
    for band in (2, 100):
        run = streamed(model, x, axis=2, band=band, global_ops=how)
        assert largest_error(run(x), wanted) <= 1e-11
        assert run.peak_bytes <= run.plan(x.shape).peak_bytes


@pytest.mark.parametrize("make", [*NETWORKS.values()][:7], ids=[*NETWORKS][:7])
def test_dask_arrays_keep_values_as_arrays_of_their_own(make):
    model, x, wanted = prepared(make)
    run = streamed(model, x, axis=2, band=4, global_ops="materialise")
    with dask.config.set(scheduler="synchronous"):
        found = dask.compute(run(da.from_array(x.numpy(), chunks=(1, 3, 7, 12))))[0]
    found = tuple(map(torch.tensor, found)) if isinstance(found, tuple) else torch.tensor(found)
    assert largest_error(found, wanted) <= 1e-11


def test_each_layer_is_computed_once_where_its_result_is_kept():
    run = streamed(norms().eval(), torch.empty(1, 3, 9, 9), global_ops="materialise")
    plan = run.plan((1, 3, 90, 9))
    assert len(plan.passes) == 3
    assert plan.work == 1
    assert 0 < plan.kept_bytes <= 2 * 8 * 88 * 7 * 4
    assert "1.00 times the operations of one forward pass; " in str(plan)
    again = streamed(norms().eval(), torch.empty(1, 3, 9, 9), global_ops="multipass")
    plan = again.plan((1, 3, 90, 9))
    assert plan.work > 2
    assert not plan.kept_bytes


def test_what_is_cheap_to_compute_is_not_kept():
    model = nn.Sequential(nn.Conv2d(3, 200, 1), nn.ReLU(), nn.InstanceNorm2d(200)).eval()
    shape = (1, 3, 64, 8)
    kept = streamed(model, torch.empty(shape), global_ops="materialise").plan(shape)
    cheap = streamed(model, torch.empty(shape), global_ops="auto").plan(shape)
    assert kept.kept_bytes == 200 * 64 * 8 * 4
    assert not cheap.kept_bytes
    assert cheap.work > kept.work


def test_queries_go_on_in_bands_beside_whole_keys_and_values():
    run = streamed(Decoder().eval(), torch.empty(1, 3, 9, 9), band=4, global_ops="materialise")
    plan = run.plan((1, 3, 64, 32))
    assert any("attention" in node for nodes in plan.passes for node in nodes)
    assert plan.peak_bytes < 64 * 32 * 8 * 4


def test_what_draws_random_numbers_is_refused_however_much_is_kept():
    model = Function(lambda x: F.dropout(x.sort(2)[0], training=True))
    with pytest.raises(StreamError, match=r"it draws random numbers.*\n.*nor be run once on all"):
        streamed(model, torch.empty(1, 3, 9, 9), axis=2, global_ops="materialise").plan(
            (1, 3, 9, 9)
        )


def test_a_refusal_says_that_keeping_values_was_tried_and_works():
    for how in ("refuse", "multipass"):
        with pytest.raises(StreamError, match=r"global_ops='auto' \(--global-ops auto\)"):
            streamed(Decoder().eval(), torch.empty(1, 3, 9, 9), global_ops=how).plan((1, 3, 64, 32))


# -------------------------------------------------------------------- random networks


def attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens.flip(2), tokens * 2).mT.reshape(x.shape)


STEPS = {
    "group norm": lambda x: F.group_norm(x, 2),
    "instance norm": F.instance_norm,
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "attention": attention,
    "softmax": lambda x: x + x.softmax(2),
    "sorted": lambda x: x.sort(2)[0] - x,
    "quantile": lambda x: x / (1 + x.quantile(0.9, 2, keepdim=True).abs()),
    "backward sums": lambda x: x.flip(2).cumsum(2).flip(2) / x.shape[2],
    "both ways": lambda x: (x.cumsum(2) + x.flip(2).cumsum(2)) / x.shape[2],
    "blur": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "relu": F.relu,
    "shift": lambda x: F.pad(x, (0, 0, 2, 0))[:, :, :-2],
}
AROUND = {
    "plain": lambda step, x: step(x),
    "residual": lambda step, x: x + step(x),
    "half": lambda step, x: F.interpolate(step(F.max_pool2d(x, (2, 1))), size=x.shape[2:]) + x,
    "twice": lambda step, x: F.avg_pool2d(step(F.interpolate(x, scale_factor=2.0)), 2),
}


@settings(max_examples=40, deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(sorted(AROUND))),
        min_size=1, max_size=6,
    ),
    band=st.integers(1, 24),
    how=st.sampled_from(["materialise", "auto"]),
)  # fmt: skip
def test_random_networks_give_what_the_whole_gives_in_any_bands(plan, band, how):
    def network(x: Tensor) -> Tensor:
        for step, around in plan:
            x = AROUND[around](STEPS[step], x)
        return x

    x = torch.randn(1, 4, 16, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    run = streamed(Function(network).eval(), x, axis=2, band=band, global_ops=how)
    torch.testing.assert_close(run(x), network(x), rtol=1e-10, atol=1e-10)


def test_less_is_kept_and_more_computed_again_until_memory_is_enough():
    shape = (1, 3, 200, 24)
    plans, x = [], torch.randn(shape)
    for memory in (None, 250_000, 200_000):
        run = streamed(norms().eval(), x, axis=2, global_ops="auto", memory=memory)
        plans.append(run.plan(shape))
        torch.testing.assert_close(run(x), run.whole(x), atol=1e-5, rtol=1e-5)
    free, *bounded = plans
    assert free.kept_bytes + free.peak_bytes > 250_000
    for plan, memory in zip(bounded, (250_000, 200_000), strict=True):
        assert plan.kept_bytes + plan.peak_bytes <= memory
    assert bounded[1].work > bounded[0].work >= free.work
    with pytest.raises(UsageError, match="1000 B are given; give more memory"):
        streamed(norms().eval(), x, axis=2, global_ops="auto", memory=1000).plan(shape)


def test_what_is_kept_in_a_folder_takes_no_memory_and_goes_with_the_run(tmp_path):
    shape = (1, 3, 200, 24)
    x = torch.randn(shape)
    run = streamed(
        norms().eval(), x, axis=2, global_ops="auto", memory=200_000, scratch=str(tmp_path)
    )
    plan = run.plan(shape)
    assert plan.work == 1
    assert plan.peak_bytes <= 200_000 < plan.peak_bytes + plan.kept_bytes
    torch.testing.assert_close(run(x), run.whole(x), atol=1e-5, rtol=1e-5)
    gc.collect()
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="is not there; make it, or name another"):
        streamed(norms().eval(), x, scratch=tmp_path / "missing")


def test_what_is_kept_on_the_host_is_found_where_the_run_is():
    store = Store()
    graph = capture(nn.ReLU(), torch.zeros(2, 3))
    (name,) = graph.inputs
    store.values[name] = torch.zeros(2, 3)
    assert store.find(graph, name).device.type == "cpu"
    store.device = torch.device("meta")
    assert store.find(graph, name).is_meta
    assert not store.values[name].is_meta
