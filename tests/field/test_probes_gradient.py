from __future__ import annotations

import copy
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.field.probes import GradientProbe, gradient_field
from tests.field import networks
from tests.field.networks import CATALOGUE


def generic(model):
    """A float64 copy with positive weights."""
    twin = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.requires_grad_(False).uniform_(0.1, 0.3)
    return twin


def brute_force(model, shape, unit, draws):
    """Plain autograd through the real ops, at generic positive weights; draws move the maxima."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.zeros(shape[2:], dtype=torch.bool)
    twin = generic(model)
    for _ in range(draws):
        x = torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
        out = twin(x)[(slice(None), slice(None), *unit)].sum()
        (gradient,) = torch.autograd.grad(out, x)
        seen |= (gradient != 0).any(0).any(0)
    return seen.numpy()


def units(shape):
    """The corners and the middle of a map, and their neighbours."""
    sides = [sorted({0, 1, size // 2, size - 1} & set(range(size))) for size in shape]
    return list(product(*sides))


@pytest.mark.parametrize("network", CATALOGUE, ids=lambda network: network.__name__)
def test_the_probe_sees_what_autograd_sees_at_generic_weights(network):
    torch.manual_seed(0)
    model, shape = network().eval(), CATALOGUE[network]
    probe = GradientProbe(model, torch.empty(shape))
    out = probe.graph.shape(probe.graph.outputs[0])
    pools = "pool" in " ".join(node.op for node in probe.graph.nodes)
    for unit in units(out[2:])[:: 5 if pools else 2]:
        seen = probe.field(None, unit)
        assert seen.exact, seen.why
        expected = brute_force(model, shape, unit, draws=150 if pools else 2)
        if network is networks.TransposedUNet:
            assert not (expected & ~seen.mask).any()
        else:
            np.testing.assert_array_equal(seen.mask, expected, err_msg=str(unit))


def linear_unet():
    """The U-Net without maxima, for a dense Jacobian: mean pools, no ReLU."""

    class Linear(networks.TransposedUNet):
        def forward(self, x):
            skips = []
            for block in self.down:
                x = block(x)
                skips.append(x)
                x = F.avg_pool2d(x, 2)
            x = self.bottom(x)
            for up, merge in zip(self.up, self.merge, strict=True):
                x = merge(torch.cat([skips.pop(), up(x)], 1))
            return self.head(x)

    return Linear()


def test_the_sixteen_phases_of_a_unet_agree_with_its_dense_jacobian():
    shape = (1, 3, 96, 16)
    probe = GradientProbe(networks.TransposedUNet(), torch.empty(shape))
    twin = generic(linear_unet())
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    out = twin(x)
    for phase in range(16):
        (gradient,) = torch.autograd.grad(out[0, 0, 32 + phase, 5], x, retain_graph=True)
        expected = (gradient != 0).any(0).any(0).numpy()
        np.testing.assert_array_equal(probe.field(None, (32 + phase, 5)).mask, expected)


@pytest.mark.parametrize(
    ("network", "extent", "count"),
    [
        (networks.Chain, 12, 144),
        (networks.Residual, 5, 25),
        (networks.Concat, 5, 25),
        (networks.Dilated, 9, 9),
        (networks.InceptionLike, 7, 13),
        (networks.ParallelStrides, 5, 25),
        (networks.EarlyParallelStrides, 7, 49),
        (networks.Twice, 5, 25),
        (networks.FunctionalPool, 5, 25),
        (networks.DilatedPool, 5, 9),
        (networks.EvenKernels, 6, 36),
    ],
)
def test_the_known_extents_of_micro_networks(network, extent, count):
    probe = GradientProbe(network().eval(), torch.empty(1, 3, 33, 33))
    size = probe.graph.shape(probe.graph.outputs[0])[2]
    seen = probe.field(None, (size // 2, size // 2))
    assert (seen.extent, seen.count) == ((extent, extent), count)


def test_channels_of_a_concatenation_see_different_fields():
    probe = GradientProbe(networks.Concat(), torch.empty(1, 3, 9, 9))
    assert probe.field(None, (4, 4), channel=1).extent == (3, 3)
    assert probe.field(None, (4, 4), channel=2).extent == (5, 5)


def test_zeros_and_dead_units_of_the_model_do_not_matter():
    model = networks.Residual().eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.0)
    seen = gradient_field(model, torch.full((1, 3, 9, 9), -1.0), None, (4, 4))
    assert seen.count == 25


def test_vgg16_features_14_sees_40_samples():
    vgg16 = pytest.importorskip("torchvision").models.vgg16
    with torch.device("meta"):
        model = vgg16()
    probe = GradientProbe(model, torch.empty(1, 3, 64, 64))
    assert probe.field("features.14", (8, 8)).extent == (40, 40)
    assert probe.field("features.4", (8, 8)).extent == (6, 6)


def test_the_original_resnet50_sees_483_samples():
    probe = GradientProbe(networks.CaffeResNet50().eval(), torch.empty(1, 3, 512, 32))
    assert probe.field("layer4", (8, 0)).extent[0] == 483


def test_depth_neither_underflows_nor_overflows():
    layers = [nn.Conv1d(1, 1, 3, padding=1) for _ in range(1200)]
    seen = gradient_field(nn.Sequential(*layers), torch.empty(1, 1, 41), None, (20,))
    assert seen.count == 41


def test_gates_do_not_overflow():
    class Gates(nn.Module):
        def forward(self, x):
            for _ in range(60):
                x = x * x.roll(1, -1)
            return x

    assert gradient_field(Gates(), torch.empty(1, 1, 100), None, (80,)).lo == (20,)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_interpolation_taps_of_weight_exactly_zero_are_no_dependence(mode):
    up = nn.Upsample(size=(9, 9), mode=mode, align_corners=True)
    probe = GradientProbe(up, torch.empty(1, 1, 5, 5))
    assert probe.field(None, (4, 4)).count == 1
    taps = 4 if mode == "bicubic" else 2
    assert probe.field(None, (3, 4)).extent == (taps, 1)


def test_negative_taps_of_bicubic_interpolation_cancel_nothing():
    class Network(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Upsample(scale_factor=2, mode="bicubic"), nn.AvgPool2d(2))

    seen = gradient_field(Network(), torch.empty(1, 1, 12, 12), None, (6, 6))
    assert seen.extent == (5, 5)
    assert seen.count == 25


def test_a_constant_mask_is_structure():
    class Masked(nn.Module):
        def forward(self, x):
            return x.masked_fill(torch.arange(6) < 2, 0.0).sum(-1, keepdim=True)

    assert gradient_field(Masked(), torch.empty(1, 1, 6), None, (0,)).lo == (2,)


def test_a_factor_that_happens_to_be_zero_is_a_weight():
    class Scaled(nn.Module):
        def forward(self, x):
            return (x * torch.zeros(6)).sum(-1, keepdim=True)

    assert gradient_field(Scaled(), torch.empty(1, 1, 6), None, (0,)).count == 6


class WritesToConstants(nn.Module):
    """Even outputs are samples shifted by three, odd ones are the input's own."""

    def forward(self, x):
        out = torch.zeros(x.shape)
        out[:, :, ::2] = x.roll(3, 2)[:, :, ::2]
        out[:, :, 1::2] = x[:, :, 1::2]
        return out * 1


class WritesToViews(nn.Module):
    """In-place arithmetic on overlapping views of one tensor."""

    def forward(self, x):
        y = x + 1
        z = y.transpose(1, 2)
        z[:, 1:3] += z[:, 3:5]
        y[..., 4:].add_(y[..., :4])
        y[:, 0].mul_(x[:, 1].flip(-1))
        return y * 1


@pytest.mark.parametrize("network", [WritesToConstants, WritesToViews])
def test_a_write_through_a_view_is_seen_where_it_landed(network):
    probe = GradientProbe(network(), torch.empty(1, 2, 8))
    for unit in range(8):
        x = torch.rand(1, 2, 8, requires_grad=True)
        (gradient,) = torch.autograd.grad(network()(x)[:, :, unit].sum(), x)
        seen = probe.field(None, (unit,))
        assert seen.exact
        np.testing.assert_array_equal(seen.mask, gradient.any(0).any(0))


def test_a_write_to_one_of_several_views_is_seen_where_it_landed():
    class Network(nn.Module):
        def forward(self, x):
            y = x + 1
            left, right = y.chunk(2, 2)
            right.add_(left)
            return y * 1

    probe = GradientProbe(Network(), torch.empty(1, 2, 8))
    assert np.nonzero(probe.field(None, (2,)).mask)[0].tolist() == [2]
    assert np.nonzero(probe.field(None, (6,)).mask)[0].tolist() == [2, 6]


def test_sampling_where_the_data_says_is_marked_inexact():
    class Sampler(nn.Module):
        def forward(self, x):
            grid = x[:, :2].permute(0, 2, 3, 1).tanh()
            return F.grid_sample(x, grid, align_corners=False)

    seen = gradient_field(Sampler(), torch.empty(1, 3, 8, 8), None, (2, 2))
    assert not seen.exact
    assert "depends on the data" in seen.why


def test_the_field_of_one_value_with_respect_to_another():
    probe = GradientProbe(networks.Chain(), torch.empty(1, 3, 33, 33))
    assert probe.field("5", (4, 4), wrt="2").extent == (5, 5)
    assert probe.field("5", (4, 4), wrt="5").count == 1
    assert probe.field("2", (4, 4), wrt="5").count == 0


def test_a_run_of_a_module_is_told_apart_by_its_number():
    probe = GradientProbe(networks.Twice(), torch.empty(1, 3, 9, 9))
    assert probe.field("conv#1", (4, 4)).extent == (3, 3)
    assert probe.field("conv#2", (4, 4)).extent == (5, 5)
    with pytest.raises(UsageError, match=r"'conv' ran 2 times; ask for 'conv#1', 'conv#2'"):
        probe.field("conv", (4, 4))


def test_an_unknown_layer_and_a_unit_outside_are_errors():
    probe = GradientProbe(networks.Chain(), torch.empty(1, 3, 33, 33))
    with pytest.raises(UsageError, match="No value or module is called 'conv9'"):
        probe.field("conv9", (0, 0))
    with pytest.raises(UsageError, match=r"Position \(0, 99\) is outside '2', which has 16x16"):
        probe.field("2", (0, 99))
    with pytest.raises(UsageError, match="Channel 7 lies outside '2', which has 4"):
        probe.field("2", (0, 0), channel=7)


def test_the_model_is_not_modified():
    model = networks.Residual().train(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    gradient_field(model, torch.empty(1, 3, 9, 8), None, (3, 3))
    assert torch.equal(random_state, torch.get_rng_state())
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in model.parameters())


class Called(nn.Module):
    """One call of the input."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


@pytest.mark.parametrize(
    ("call", "seen"),
    [
        (lambda x: F.layer_norm(x, (6,)), [0, 1, 2, 3, 4, 5]),
        (lambda x: F.layer_norm(x[..., 2:3], (1,)).expand(x.shape), [2]),
        (lambda x: x.log_softmax(-1), [0, 1, 2, 3, 4, 5]),
        (lambda x: x[..., 1:3].softmax(-1).argmax(-1, keepdim=True).expand(x.shape), [1, 2]),
        (lambda x: x.sign() * x.flip(-1).round(), [2, 3]),
        (lambda x: x.topk(4, -1).indices + x.cumprod(-1)[..., 2:], [0, 1, 2, 3, 4, 5]),
        (lambda x: x.cummax(-1).values, [0, 1, 2]),
        (
            lambda x: torch.fft.rfft(x[..., :3]).abs().sum(-1, keepdim=True).expand(x.shape),
            [0, 1, 2],
        ),
        (
            lambda x: torch.stft(x[0], 4, 2, window=torch.ones(4), return_complex=True).real,
            [2, 3, 4, 5],
        ),
        (lambda x: F.glu(torch.cat([x, x.roll(1, -1)], -1), -1), [1, 2]),
        (lambda x: F.one_hot(x.bool().long(), 2).sum(-1), [2]),
    ],
)
def test_ops_whose_derivative_vanishes_or_fades_are_seen_through_where_they_look(call, seen):
    probe = gradient_field(Called(call), torch.zeros(1, 1, 6), None, (2,))
    assert probe.exact, probe.why
    assert np.nonzero(probe.mask)[0].tolist() == seen


def test_an_op_without_a_derivative_is_a_bound_and_says_so():
    @torch.library.custom_op("fieldwise_probes::halved", mutates_args=())
    def halved(x: torch.Tensor) -> torch.Tensor:
        return x / 2

    halved.register_fake(torch.empty_like)
    seen = gradient_field(Called(halved), torch.zeros(1, 1, 6), None, (2,))
    assert (seen.count, seen.exact, seen.why) == (6, False, "halved: it has no derivative")
