from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.capture.torch.capture import capture
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.errors import UsageError
from fieldwise.field.probes import (
    GradientProbe,
    NanProbe,
    NanUnit,
    gradient_field,
    nan_check,
    nan_field,
)
from fieldwise.field.probes.nan import NanVerdict
from fieldwise.field.probes.units import shown_by_run
from tests.field import networks
from tests.field.networks import CATALOGUE

NAN = float("nan")


PLAIN = [network for network in CATALOGUE if network is not networks.FusedAttention]


class TwiceThenPair(nn.Module):
    """Runs one module twice, and another returns two tensors."""

    def __init__(self):
        super().__init__()
        self.twice, self.pair = nn.Conv1d(1, 1, 3), Pair()

    def forward(self, x):
        return self.pair(self.twice(self.twice(x)))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Conv1d(1, 1, 5)

    def forward(self, x):
        return x * 2, self.wide(x)


def test_units_of_several_layers_are_looked_at_in_the_same_runs():
    """Each layer had runs of its own."""
    model, x = TwiceThenPair().eval(), torch.rand(1, 1, 64)
    units = [NanUnit(layer, (at,)) for layer in ("twice#1", "twice#2", "pair[1]", "pair.wide", None)
             for at in (0, 20, 50)]  # fmt: skip
    runs = list[Tensor]()
    model.register_forward_pre_hook(lambda _, given: runs.append(given[0].isnan()))
    alone = [nan_field(model, x, unit.layer, unit.unit) for unit in units]
    apart = len(runs)
    runs.clear()
    probe = NanProbe(model, x, units)
    together = [probe.field(number) for number in range(len(units))]
    assert [one.mask.tolist() for one in together] == [one.mask.tolist() for one in alone]
    assert [one.hi[0] - one.lo[0] + 1 for one in together] == [
        size for size in (3, 5, 9, 9, 5) for _ in range(3)
    ]
    assert len({tuple(run.flatten().tolist()) for run in runs}) == len(runs)
    assert len(runs) < apart / 2


@pytest.mark.parametrize("network", PLAIN, ids=lambda network: network.__name__)
def test_nan_confirms_the_gradient_probe_on_the_unmodified_network(network):
    torch.manual_seed(0)
    model, x = network().eval(), torch.rand(CATALOGUE[network])
    probe = GradientProbe(model, x)
    out = probe.graph.shape(probe.graph.outputs[0])
    for unit in (tuple(size // 2 for size in out[2:]), (0,) * (len(out) - 2)):
        seen = probe.field(None, unit)
        assert nan_check(model, x, None, unit, seen.lo, seen.hi).ok
        per_axis = nan_field(model, x, None, unit)
        assert (per_axis.lo, per_axis.hi) == (seen.lo, seen.hi)


def test_a_field_that_is_claimed_too_small_or_too_large_fails_the_check():
    model, x = networks.Twice().eval(), torch.rand(1, 3, 12, 12)
    assert nan_check(model, x, None, (6, 6), (4, 4), (8, 8)).ok
    small = nan_check(model, x, None, (6, 6), (5, 4), (8, 8))
    assert (small.clean_outside, small.dirty_first) == ((False, True), (True, True))
    large = nan_check(model, x, None, (6, 6), (4, 4), (8, 9))
    assert (large.clean_outside, large.dirty_last) == ((True, True), (True, False))


def test_the_per_sample_mask_shows_the_holes_of_a_dilated_convolution():
    model = networks.Dilated().eval()
    seen = nan_field(model, torch.rand(1, 3, 12, 11), None, (5, 5), per_sample=True)
    assert (seen.extent, seen.count) == ((9, 9), 9)
    assert not seen.exact


def test_a_cross_is_reported_as_the_product_of_its_projections():
    model, x = networks.InceptionLike().eval(), torch.rand(1, 3, 9, 9)
    seen = nan_field(model, x, None, (4, 4), per_sample=True)
    assert seen.count == 49
    assert seen.why == "NaN shows only the projections on the axes of the field"


def test_a_model_that_mixes_its_batch_is_run_one_sample_at_a_time():
    class Mixing(nn.Module):
        def forward(self, x):
            return F.conv1d(x, torch.ones(1, 1, 3)) + 0 * x.mean(0, keepdim=True)[..., 2:]

    seen = nan_field(Mixing(), torch.rand(1, 1, 9), None, (3,), per_sample=True)
    np.testing.assert_array_equal(np.nonzero(seen.mask)[0], [3, 4, 5])


def test_weights_of_zero_hide_nothing_from_nan():
    conv = nn.Conv1d(1, 1, 3)
    nn.init.zeros_(conv.weight)
    assert nan_field(conv, torch.rand(1, 1, 9), None, (3,)).count == 3


@pytest.mark.parametrize(
    "function",
    [F.relu, F.relu6, F.hardtanh, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.softplus,
     F.hardshrink, lambda x: F.threshold(x, 0.1, 0.0), lambda x: x.clamp(0, 1),
     lambda x: F.max_pool1d(x, 1), lambda x: x.softmax(1)],
)  # fmt: skip
def test_the_usual_nonlinearities_pass_nan_on(function):
    for size in (3, 64):
        x = torch.rand(1, 1, size)
        x[..., 1] = NAN
        assert function(x).isnan().flatten().nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize(
    "function",
    [torch.sign, torch.nan_to_num, lambda x: (x > 0).float(), lambda x: x**0,
     lambda x: torch.where(x > 0, x, 0.0), lambda x: torch.fmax(x, torch.zeros(1))],
)  # fmt: skip
def test_some_functions_swallow_nan_and_the_field_behind_them_looks_empty(function):
    class Swallowing(nn.Module):
        def forward(self, x):
            return function(x)

    x = torch.rand(1, 1, 6)
    assert nan_field(Swallowing(), x, None, (2,)).count == 0
    assert not nan_check(Swallowing(), x, None, (2,), (2,), (2,)).ok
    assert gradient_field(Swallowing(), x, None, (2,)).count == 1


def test_an_interpolation_tap_of_weight_zero_is_dirty_for_nan_and_nothing_for_the_gradient():
    up = nn.Upsample(size=(9, 9), mode="bilinear", align_corners=True)
    x = torch.rand(1, 1, 5, 5)
    assert nan_field(up, x, None, (2, 2)).extent == (2, 2)
    assert gradient_field(up, x, None, (2, 2)).extent == (1, 1)


def test_a_mask_of_minus_a_hundred_before_a_softmax_hides_nothing():
    class Masked(nn.Module):
        def forward(self, x):
            mask = torch.where(torch.arange(8) < 4, 0.0, -100.0)
            weights = (x.transpose(1, 2) @ x + mask).softmax(-1)
            return x @ weights.transpose(1, 2)

    x = torch.rand(1, 3, 8)
    assert gradient_field(Masked(), x, None, (1,)).count == 8
    assert nan_field(Masked(), x, None, (1,)).count == 8


def test_a_causal_mask_is_a_zero_for_the_gradient_and_lets_nan_through():
    model, x = networks.FusedAttention().eval(), torch.rand(1, 3, 16, 4)
    assert gradient_field(model, x, None, (1, 0)).hi == (7, 3)
    assert nan_field(model, x, None, (1, 0)).hi == (15, 3)


def test_nnpack_would_spread_nan_and_is_kept_out_of_the_run():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    with torch.backends.mkldnn.flags(enabled=False):
        seen = nan_field(conv, torch.rand(1, 8, 24, 24), None, (12, 12), per_sample=True)
    assert seen.extent == (3, 3)


def test_the_model_keeps_its_hooks_buffers_and_random_state():
    model = nn.Sequential(networks.Residual(), nn.Dropout())
    model[0].eval()
    x, state = torch.rand(1, 3, 9, 8), torch.get_rng_state()
    nan_field(model, x, "0.conv1", (3, 3))
    assert torch.isfinite(model[0].bn1.running_mean).all()
    assert not model[0].conv1._forward_hooks
    assert torch.equal(state, torch.get_rng_state())


def test_a_layer_that_is_no_module_is_an_error():
    with pytest.raises(UsageError, match="There is no module 'add'; a probe that runs the model"):
        nan_field(networks.Residual(), torch.rand(1, 3, 8, 8), "add", (0, 0))


class Several(nn.Module):
    """Returns, of two convolutions, both, and before them a constant where that is asked for."""

    def __init__(self, constant=False):
        super().__init__()
        self.constant, self.one, self.two = constant, networks.conv(3, 3), networks.conv(3, 3, 5)

    def forward(self, x):
        found = self.one(x) * 2, self.two(x) * 3
        return (torch.ones(1, 3, 8, 8), *found) if self.constant else found


def test_what_a_module_returns_beside_other_tensors_is_read_by_its_number():
    model, x = nn.Sequential(Several()), torch.rand(1, 3, 8, 8)
    found = [nan_field(model, x, layer, (4, 4)).extent for layer in ("0", "0[0]", "0[1]", "[1]")]
    assert found == [(3, 3), (3, 3), (5, 5), (5, 5)]
    with pytest.raises(
        UsageError, match=r"returned tensor \[2\] 0 times .* so there is no '0\[2\]'"
    ):
        nan_field(model, x, "0[2]", (4, 4))


@pytest.mark.parametrize("constant", [False, True])
def test_a_run_shows_the_values_of_modules_that_return_no_constant_beside_them(constant):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair, self.relu = Several(constant), nn.ReLU()

        def forward(self, x):
            *_, one, two = self.pair(x)
            return self.relu(F.relu(self.relu(one) + two))

    model, x = Net(), torch.rand(1, 3, 8, 8)
    graph = capture(model, x)
    shown = shown_by_run(graph, ModelCall(model, x))
    pair = {} if constant else {"pair/mul": ("pair[0]",), "pair/mul#2": ("pair[1]",)}
    assert shown == {
        "pair.one": ("pair.one",),
        "pair.two": ("pair.two",),
        "relu#1": ("relu#1",),
        "relu#2": ("relu#2", None),
        **pair,
    }
    assert [nan_field(model, x, name, (4, 4)).extent for (name,) in pair.values()] == [
        gradient_field(model, x, value, (4, 4)).extent for value in pair
    ]


@pytest.mark.parametrize("autocast", [False, True])
def test_kernels_of_half_precision_do_not_spread_nan(autocast):
    kind = torch.float32 if autocast else torch.bfloat16
    conv, x = nn.Conv2d(3, 4, 3, padding=1).to(kind), torch.rand(1, 3, 12, 12).to(kind)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert nan_field(conv, x, None, (6, 6)).hi == (7, 7)
    assert torch.backends.mkldnn.enabled


def test_nan_is_refused_by_an_input_of_whole_numbers():
    with pytest.raises(UsageError, match="The input holds int64, which no NaN gets into; take"):
        nan_field(nn.Embedding(9, 4), torch.zeros(1, 12, dtype=torch.int64), None, (3,), dims=(1,))


def test_integers_which_no_nan_gets_into_are_refused_and_no_axis_is_no_proof():
    class Places(nn.Module):
        def forward(self, x):
            return x.argmax(1)

    with pytest.raises(UsageError) as caught:
        nan_field(Places(), torch.rand(1, 2, 8), None, (3,), dims=(1,))
    assert str(caught.value) == (
        "'output' holds int64, which no NaN gets into; name the layer that it is made of."
    )
    assert not NanVerdict((), (), ()).ok
