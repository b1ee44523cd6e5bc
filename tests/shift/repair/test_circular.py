"""Circular repair against an endless image, and on networks by measurement."""

from __future__ import annotations

import copy
import functools
import pickle
import re
import types

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BlurPool2d, ScaledStdConv2dSame, StdConv2d
from torch import Tensor, nn
from torchvision.models import resnet18

from fieldwise.errors import UsageError
from fieldwise.shift.measurement.equivariance import measure
from fieldwise.shift.repair import circular
from fieldwise.shift.repair.borders import wrapped
from tests.field.networks import BilinearUNet, NearestUNet, TransposedUNet


class Op(nn.Module):
    """A function written in a forward."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def assert_like_an_endless_image(net: nn.Module, x: Tensor, *, turns: int = 3) -> None:
    """The repaired model on x computes what the model computes far inside x repeated."""
    net = net.double().eval()
    repaired = circular(net, x, shift=1).model
    axes = range(2, x.dim())
    endless = x.repeat(1, 1, *[2 * turns + 1 for _ in axes])
    with torch.no_grad():
        found, wanted = repaired(x), net(endless)
    for axis in axes:
        size = found.shape[axis]
        wanted = wanted.narrow(axis, turns * size, size)
    assert torch.allclose(found, wanted, atol=1e-9)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


# ---------------------------------------------------------------------- ops, on their own

lengths = st.integers(1, 5)


@given(k=lengths, s=st.integers(1, 3), d=st.integers(1, 3), data=st.data())
@settings(max_examples=30)
def test_convolutions_of_any_geometry(k, s, d, data):
    size = s * data.draw(st.integers(1, 4))
    p = data.draw(st.integers(0, d * (k - 1)))
    if (size + 2 * p - d * (k - 1) - 1) // s + 1 != size // s:
        return
    net = nn.Conv1d(2, 2, k, stride=s, dilation=d, padding=p)
    assert_like_an_endless_image(net, noise(1, 2, size), turns=d * k + 1)


@given(k=lengths, s=st.integers(1, 3), d=st.integers(1, 2), data=st.data())
@settings(max_examples=30)
def test_transposed_convolutions_of_any_geometry(k, s, d, data):
    p = data.draw(st.integers(0, d * (k - 1)))
    extra = s + 2 * p - d * (k - 1) - 1
    if not 0 <= extra < max(s, d):
        return
    net = nn.ConvTranspose1d(2, 2, k, stride=s, dilation=d, padding=p, output_padding=extra)
    assert_like_an_endless_image(net, noise(1, 2, data.draw(lengths)), turns=d * k + 1)


@given(size=st.integers(1, 9), scale=st.integers(2, 4))
@settings(max_examples=20)
def test_interpolation_upwards(size, scale):
    net = nn.Upsample(scale_factor=scale, mode="linear")
    assert_like_an_endless_image(net, noise(1, 1, size))


OPS = {
    "even kernel, padding 'same'": (nn.Conv2d(1, 2, 4, padding="same"), (6, 6)),
    "max-pool": (nn.MaxPool2d(3, 2, 1), (8, 6)),
    "max-pool, ceil_mode": (nn.MaxPool2d(3, 2, ceil_mode=True), (8, 6)),
    "avg-pool": (nn.AvgPool2d(3, 1, 1), (5, 6)),
    "avg-pool, not counting the padding": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (4, 6)),
    "weight standardisation": (StdConv2d(1, 2, 3, padding=1), (6, 6)),
    "asymmetric SAME": (ScaledStdConv2dSame(1, 2, 3, stride=2, padding="same"), (6, 8)),
    "BlurPool": (BlurPool2d(1), (6, 8)),
    "reflecting conv": (nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), (6, 6)),
    "F.pad in a forward": (Op(lambda x: F.avg_pool2d(F.pad(x, (0, 2, 1, 1)), 3, 1)), (6, 6)),
    "F.conv2d in a forward": (
        Op(lambda x: F.conv2d(x, torch.arange(9.0).double().view(1, 1, 3, 3), padding=1)), (6, 6),
    ),
    "F.max_pool2d in a forward": (Op(lambda x: F.max_pool2d(x, 3, 1, 1)), (6, 6)),
    "F.unfold": (Op(lambda x: F.unfold(x, 3, padding=1).view(1, 9, 6, 6)), None),
    "bicubic": (nn.Upsample(scale_factor=3, mode="bicubic"), (1, 4)),
    "bilinear by 3/2": (nn.Upsample(scale_factor=1.5, mode="bilinear"), (4, 6)),
    "antialiased resize downwards": (
        Op(lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)), (8, 12),
    ),
    "padding larger than the axis": (nn.Conv2d(1, 1, 3, padding=7, dilation=7), (2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, (_, size) in OPS.items() if size])
def test_ops_that_look_beyond_the_border(name):
    net, size = OPS[name]
    assert_like_an_endless_image(net, noise(1, 1, *size), turns=4)


def test_unfold_reads_the_other_side():
    net, _ = OPS["F.unfold"]
    assert circular(net, (1, 1, 6, 6)).done


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (4, 2, 1, 1), (3, 1, 2, 2)],
)
def test_fold_adds_what_is_cut_off_to_the_other_side(kernel, stride, padding, dilation):
    how = {"stride": stride, "padding": padding, "dilation": dilation}
    weight = torch.randn(1, kernel**2, 1, dtype=torch.float64)

    def there_and_back(x: Tensor) -> Tensor:
        patches = F.unfold(x, kernel, **how) * weight.to(x)
        return F.fold(patches, tuple(x.shape[2:]), kernel, **how)

    assert_like_an_endless_image(Op(there_and_back), noise(1, 1, 6, 8), turns=4)


def test_volumes_are_periodic_too():
    assert circular(nn.Conv3d(1, 1, 3, padding=1), (1, 1, 4, 5, 6)).done


@given(st.integers(1, 4), st.integers(0, 9), st.integers(0, 9))
def test_wrapping_is_indexing_modulo_the_size(size, before, after):
    value = torch.arange(2.0 * size).reshape(1, 2, size)
    found = wrapped(value, {-1: (before, after)})
    index = [i % size for i in range(-before, size + after)]
    assert torch.equal(found, value[..., index])


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize("axis", [2, 3])
def test_only_the_axes_asked_for_become_periodic(axis):
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ConvTranspose2d(2, 2, 4, 2, 1))
    repaired = circular(net, (1, 1, 8, 8), axes=[axis])
    assert repaired.done
    assert [moved.axis for moved in repaired.measurement.outputs] == [axis]
    assert measure(repaired.model, (1, 1, 8, 8), axis=5 - axis).verdict == "broken"


def test_interpolation_that_stays_clamped_is_not_done():
    net = nn.Upsample(scale_factor=2, mode="bilinear")
    assert circular(net, (1, 1, 8, 8)).done
    assert not circular(net, (1, 1, 8, 8), interpolation="clamp").done


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (nn.UpsamplingBilinear2d(scale_factor=2), r"align_corners .*use align_corners=False"),
        (nn.Conv2d(1, 1, 3), r"valid convolution .*repair with valid='wrap'"),
        (nn.AvgPool2d(3, 2), r"valid window .*repair with valid='wrap'"),
        (nn.ReflectionPad2d(1), "longer than a whole number of periods"),
        (nn.FractionalMaxPool2d(2, 4, _random_samples=torch.rand(1, 1, 2)), "breaks axis 2"),
        (nn.Sequential(nn.MaxPool2d(4), nn.Flatten(), nn.Linear(4, 2)), "its own weights"),
    ],
)
def test_what_is_not_done_says_where_why_and_the_remedy(net, why):
    repaired = circular(nn.Sequential(nn.Identity(), net), (1, 1, 8, 8))
    assert not repaired.done
    assert re.search(rf"^1 .*breaks axis 2: .*{why}|{why}", repaired.why_not[0])


def test_a_change_is_listed_once_where_the_capture_runs_the_model_again():
    """A masked kernel is asked for its zeros with other weights, which are those of a copy."""

    class Masked(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight * torch.tensor([0.0, 1.0, 1.0]), None)

    repaired = circular(nn.Sequential(Masked(2, 2, 3, padding=1)).eval(), (1, 2, 8, 8))
    assert repaired.done
    assert [(change.module, change.op) for change in repaired.changes] == [("0", "conv2d")]


def test_what_is_done_needs_no_reason():
    assert circular(nn.ReLU(), (1, 1, 8, 8)).why_not == ()


def test_half_pixel_interpolation_replaces_aligned_corners():
    net = nn.UpsamplingBilinear2d(scale_factor=2)
    repaired = circular(net, (1, 1, 8, 8), interpolation="half-pixel")
    assert repaired.done
    assert "align_corners=True replaced" in repaired.changes[0].what


@pytest.mark.parametrize(
    "net",
    [
        nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3, stride=2), nn.Conv2d(1, 2, 3, dilation=2),
        nn.MaxPool2d(3, 2), nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(1, 2, 5, padding=1),
    ],
)  # fmt: skip
def test_valid_windows_wrap_to_a_unit_per_stride_where_that_is_asked_for(net):
    x = noise(1, 1, 8, 12)
    repaired = circular(net.double(), x, valid="wrap")
    assert repaired.done
    step = repaired.measurement.outputs[0].shift
    found, own = repaired.model(x), net(x)
    assert found.shape[2:] == (8 // step, 12 // step)
    assert torch.allclose(found[..., 1:3, 1:3], own[..., 1:3, 1:3])


def test_a_window_over_the_whole_axis_stays_a_whole_axis():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 8), nn.Flatten(), nn.Linear(2, 3))
    model = circular(net, (1, 1, 8, 8), valid="wrap").model
    assert model(torch.randn(1, 1, 8, 8)).shape == (1, 3)


def test_a_convolution_over_channels_is_no_convolution_over_space():
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            gate = self.conv(x.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
            return x * gate.sigmoid()

    repaired = circular(Mixing(), (1, 4, 6, 6))
    assert repaired.changes == ()
    assert repaired.done


LAYOUTS = {
    "padding in channels-last": lambda x, conv: F.conv2d(
        F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).permute(0, 3, 1, 2), conv[:, :, 0]
    ),
    "rows in the batch": lambda x, conv: (
        F.conv1d(x.permute(0, 2, 1, 3).flatten(0, 1), conv[:, :, 0, 0], padding=1)
        .unflatten(0, (len(x), -1)).permute(0, 2, 1, 3)
    ),
    "a volume of one slice": lambda x, conv: F.conv3d(
        x.unsqueeze(-1), conv.movedim(2, -1), padding=(1, 1, 0)
    ).squeeze(-1),
    "columns first": lambda x, conv: F.conv2d(
        x.transpose(2, 3), conv[:, :, 0], padding=1
    ).transpose(2, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_axes_are_followed_into_other_layouts(name):
    conv = torch.randn(1, 1, 1, 3, 3, dtype=torch.float64)
    net = Op(lambda x: LAYOUTS[name](x, conv.to(x)))
    assert_like_an_endless_image(net, noise(1, 1, 5, 6))
    one = circular(net, (1, 1, 5, 6), axes=[3])
    assert one.done
    assert measure(one.model, (1, 1, 5, 6), axis=3).verdict == "holds"


def test_space_to_depth_keeps_its_blocks_periodic():
    net = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 2, 3, padding=1))
    assert_like_an_endless_image(net, noise(1, 1, 8, 12))
    assert circular(net, noise(1, 1, 8, 12)).done


def test_convolutions_inside_windows_keep_their_zero_padding_along_the_windows():
    conv = torch.randn(1, 1, 3, 3, dtype=torch.float64)

    def windowed(x: Tensor) -> Tensor:
        rows = F.conv2d(
            x.unflatten(2, (2, 4)).permute(0, 2, 1, 3, 4).flatten(0, 1), conv.to(x), padding=1
        )
        return rows.unflatten(0, (1, 2)).permute(0, 2, 1, 3, 4).flatten(2, 3)

    x = noise(1, 1, 8, 6)
    repaired = circular(Op(windowed), x)
    assert repaired.done
    assert repaired.measurement.outputs[0].shift == 4
    wanted = windowed(F.pad(x, (1, 1, 0, 0), mode="circular"))[..., 1:-1]
    assert torch.allclose(repaired.model(x), wanted)


def test_padding_of_the_channels_of_volumes_is_no_border():
    net = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.LocalResponseNorm(3))
    repaired = circular(net, (1, 1, 4, 4, 4))
    assert repaired.done
    assert [change.op for change in repaired.changes] == ["conv3d"]


def test_channel_padding_stays():
    net = Op(lambda x: F.pad(x, (1, 1, 0, 0, 2, 0)))
    found = circular(net, torch.ones(1, 1, 4, 4)).model(torch.ones(1, 1, 4, 4))
    assert found.shape == (1, 3, 4, 6)
    assert found[:, 2].eq(1).all()
    assert found[:, :2].eq(0).all()


def test_an_axis_that_is_not_spatial_is_refused():
    with pytest.raises(UsageError, match=r"Axis 1 is not spatial.*are 2 to 3"):
        circular(nn.ReLU(), (1, 1, 4, 4), axes=[1])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_modules_whose_calls_cannot_be_rewritten_are_refused():
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    scripted = nn.Sequential(torch.jit.script(Doubled()))
    patched, inner = Doubled(), nn.MaxPool2d(3, 1, 1)
    patched.forward = lambda x: inner(x)
    wrapped_twice = Doubled()
    wrapped_twice.forward = functools.wraps(inner.forward)(lambda x: patched.forward(x))
    for net, why in (
        (scripted, "The module '0' is scripted"),
        (torch.fx.symbolic_trace(Doubled()), "is a GraphModule.*traced or exported"),
        (patched, "a forward, set on the instance, whose closure holds modules"),
        (wrapped_twice, r"types.MethodType\(function, module\)"),
    ):
        with pytest.raises(UsageError, match=why):
            circular(net, (1, 1, 4, 4))


class Chosen(nn.Module):
    """Chooses its forward when it is made, as FasterNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.forward = self.padded

    def padded(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(x), 3, 1, 1)


def test_a_forward_set_on_an_instance_is_repaired_and_bound_to_the_copy():
    net = nn.Sequential(Chosen())
    repaired = circular(net, (1, 1, 6, 6))
    assert repaired.done
    assert [change.op for change in repaired.changes] == ["conv2d", "max_pool2d"]
    x = torch.randn(1, 1, 6, 6)
    again = pickle.loads(pickle.dumps(copy.deepcopy(repaired.model)))
    assert torch.equal(again(x), repaired.model(x))
    with torch.no_grad():
        again[0].conv.weight.zero_()
        again[0].conv.bias.zero_()
    assert not again(x).any()
    assert repaired.model(x).any()


def test_a_forward_set_on_an_instance_may_call_that_of_its_class():
    def doubled(self, x: Tensor) -> Tensor:
        return 2 * type(self).forward(self, x)

    net = nn.Conv2d(1, 2, 3, padding=1)
    net.forward = types.MethodType(doubled, net)
    repaired = circular(net, (1, 1, 6, 6))
    assert repaired.done
    x = torch.randn(1, 1, 6, 6)
    wanted = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), net.weight, net.bias)
    assert torch.allclose(repaired.model(x), 2 * wanted, atol=1e-6)


def test_a_forward_set_after_the_repair_is_periodic_too():
    model = circular(nn.MaxPool2d(3, 1, 1), (1, 1, 6, 6)).model
    model.forward = lambda x: F.avg_pool2d(x, 3, 1, 1)
    assert measure(model, (1, 1, 6, 6)).verdict == "holds"
    del model.forward
    x = torch.randn(1, 1, 6, 6)
    wanted = F.max_pool2d(F.pad(x, (1, 1, 1, 1), mode="circular"), 3, 1)
    assert torch.equal(model(x), wanted)


@pytest.mark.parametrize(
    "parametrise",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.spectral_norm,
    ],
)
def test_parametrised_weights_are_kept(parametrise):
    assert circular(nn.Sequential(parametrise(nn.Conv2d(1, 2, 3, padding=1))), (1, 1, 6, 6)).done


def test_parametrised_weights_and_hooks_are_kept():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3, padding=1)))
    net[0].register_forward_hook(lambda module, args, output: F.max_pool2d(output, 3, 1, 1))
    repaired = circular(net, (1, 1, 6, 6))
    assert repaired.done
    assert [change.op for change in repaired.changes] == ["conv2d", "max_pool2d"]


def test_several_inputs_are_shifted_together():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 3, 2, 1)

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"both": self.one(x) + self.one(y), "second": self.two(y)}

    example = {"x": torch.randn(1, 1, 8, 8), "y": torch.randn(1, 1, 8, 8)}
    assert circular(Two(), example).done
    assert measure(Two(), example).verdict == "broken"


def test_waveforms_without_a_channel_axis_are_periodic_along_their_last():
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 9, stride=4, padding=4))
    repaired = circular(net, (2, 64))
    assert repaired.done
    assert repaired.measurement.outputs[0].shift == 4


# ---------------------------------------------------------------------- the copy


@pytest.fixture(scope="module")
def repaired_resnet():
    torch.manual_seed(0)
    return circular(resnet18().eval(), (1, 3, 96, 96))


def test_resnet18_is_exactly_invariant_at_the_total_stride(repaired_resnet):
    assert repaired_resnet.done
    assert repaired_resnet.measurement.error < 1e-11
    assert {moved.shift for moved in repaired_resnet.measurement.outputs} == {32}
    first = repaired_resnet.changes[0]
    assert (first.module, first.op, first.what) == (
        "conv1", "conv2d", "zero padding 3+3, 3+3 wrapped",
    )  # fmt: skip


def test_names_weights_and_types_are_kept(repaired_resnet):
    torch.manual_seed(0)
    net = resnet18()
    assert isinstance(repaired_resnet.model, torchvision.models.ResNet)
    assert isinstance(repaired_resnet.model.conv1, nn.Conv2d)
    kept = repaired_resnet.model.state_dict()
    assert list(kept) == list(net.state_dict())
    assert all(torch.equal(kept[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(type(module).__name__.startswith("Circular") for module in net.modules())
    assert "CircularConv2d(3, 64" in repr(repaired_resnet.model)


def test_a_copy_of_the_copy_and_a_pickled_one_compute_the_same(repaired_resnet):
    x = torch.randn(1, 3, 32, 32)
    model = repaired_resnet.model
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))


def test_a_part_of_the_copy_stays_periodic_on_its_own(repaired_resnet):
    assert measure(repaired_resnet.model.layer1, (1, 64, 8, 8)).verdict == "holds"


def test_the_copy_can_be_exported(repaired_resnet):
    x = torch.randn(1, 3, 32, 32)
    exported = torch.export.export(repaired_resnet.model, (x,), strict=False).module()
    assert torch.allclose(exported(x), repaired_resnet.model(x), atol=1e-5)


def test_the_copy_can_be_trained(repaired_resnet):
    model = copy.deepcopy(repaired_resnet.model)
    model(torch.randn(1, 3, 32, 32)).sum().backward()
    assert model.conv1.weight.grad.abs().sum() > 0


def test_repairing_twice_changes_nothing_more(repaired_resnet):
    again = circular(repaired_resnet.model, (1, 3, 64, 64))
    x = torch.randn(1, 3, 32, 32)
    assert type(again.model) is type(repaired_resnet.model)
    assert torch.equal(again.model(x), repaired_resnet.model(x))


# ---------------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("torchvision:mobilenet_v3_large", 64),
        ("torchvision:efficientnet_b0", 64),
        ("timm:convnext_atto", 64),
        ("timm:tf_efficientnet_b0", 64),
        ("timm:nf_regnet_b0", 64),
        ("timm:resnetblur18", 64),
        ("timm:fasternet_t0", 64),
        ("timm:tresnet_m", 64),
        ("timm:ghostnetv2_100", 64),
        ("timm:lambda_resnet26t", 256),
    ],
)
def test_networks_are_exact_at_multiples_of_their_stride(name, size):
    zoo, _, model = name.partition(":")
    build = timm.create_model if zoo == "timm" else torchvision.models.get_model
    repaired = circular(build(model).eval(), (1, 3, size, size))
    assert repaired.done
    assert repaired.measurement.outputs[0].shift == 32


def test_clamped_interpolation_is_what_breaks_deeplab():
    build = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large
    net = build(weights=None, weights_backbone=None).eval()
    clamped = circular(net, (1, 3, 64, 64), interpolation="clamp")
    assert not clamped.done
    assert "upsample_bilinear breaks axis 2: the interpolation is clamped" in clamped.why_not[0]
    assert circular(net, (1, 3, 64, 64)).done


def test_networks_of_valid_convolutions_are_exact_once_those_wrap():
    net = torchvision.models.squeezenet1_1().eval()
    assert not circular(net, (1, 3, 64, 64)).done
    assert circular(net, (1, 3, 64, 64), valid="wrap").done


@pytest.mark.parametrize("net", [TransposedUNet, NearestUNet, BilinearUNet])
def test_unets_are_exact_at_the_stride_of_their_bottom(net):
    depth = net.depth
    repaired = circular(net(), (1, 3, 64, 64), shift=2**depth)
    assert repaired.done
    assert measure(repaired.model, (1, 3, 64, 64), shift=2 ** (depth - 1)).verdict == "broken"


def test_resnet18_at_100_samples_is_exact_where_the_stride_divides_100_and_no_further():
    net = circular(resnet18(), (1, 3, 32, 100), axes=[3], shift=4).model
    found = measure(net, (1, 3, 32, 100), axis=3, shift=20, layers=["conv1", "layer[12]"])
    assert [found[name].verdict for name in ("conv1", "layer1", "layer2")] == [
        "holds", "holds", "broken",
    ]  # fmt: skip


class Resized(nn.Module):
    """A position embedding that is resized to the input, which no repair can do away with."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.interpolate(self.table, size=x.shape[2:], mode="bilinear")


def test_a_model_whose_only_resizing_is_of_a_constant_is_refused_for_its_reason():
    repaired = circular(Resized(), (1, 1, 12, 12))
    assert not repaired.done
    assert any("varies along the axis" in why for why in repaired.why_not)
