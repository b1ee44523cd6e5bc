"""Repairs of strides: blur before them, or choose the phase by the image."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import resnet18

from fieldwise.errors import UsageError
from fieldwise.shift.generic import generic
from fieldwise.shift.measurement.equivariance import measure
from fieldwise.shift.repair import antialias, circular, polyphase
from fieldwise.shift.repair.polyphase import components, rolled, sampled, strongest
from tests.field.networks import BilinearUNet, NearestUNet, TransposedUNet


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------------- antialias


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return resnet18().eval()


def test_blurring_raises_eq_t_and_keeps_sizes_and_weights(resnet):
    repaired = antialias(resnet, (1, 3, 64, 64))
    assert repaired.done
    assert repaired.measurement.eq_t > repaired.before.eq_t + 6
    assert list(repaired.model.state_dict()) == list(resnet.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert repaired.model(x).shape == resnet(x).shape
    assert {change.module for change in repaired.changes} == {
        "conv1", "maxpool", "layer2.0.conv1", "layer2.0.downsample.0", "layer3.0.conv1",
        "layer3.0.downsample.0", "layer4.0.conv1", "layer4.0.downsample.0",
    }  # fmt: skip


def test_a_strided_conv_becomes_a_dense_one_blurred_at_its_stride():
    net = nn.Conv1d(1, 2, 3, stride=2, padding=1).double()
    x = noise(1, 1, 12)
    dense = F.pad(F.conv1d(x, net.weight, net.bias, padding=1), (1, 1), mode="reflect")
    wanted = (dense[..., :-2:2] + 2 * dense[..., 1:-1:2] + dense[..., 2::2]) / 4
    assert torch.allclose(antialias(net, x).model(x), wanted)


@pytest.mark.parametrize(
    "net",
    [
        nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2),
        nn.Conv2d(1, 1, 4, stride=4), nn.Conv2d(1, 1, 3, stride=(1, 2), padding=1),
        nn.Conv2d(1, 1, 3, stride=3),
    ],
)  # fmt: skip
def test_sizes_stay_what_they_were(net):
    for size in (12, 13, 14):
        x = torch.randn(1, 1, size, size + 1)
        assert antialias(net, x).model(x).shape == net(x).shape


WINDOWS = {
    "1x1, stride 2": lambda: nn.Conv2d(2, 3, 1, 2),
    "stride 3": lambda: nn.Conv2d(2, 3, 3, 3, 1),
    "patches, stride 4": lambda: nn.Conv2d(2, 3, 4, 4),
    "stride 4, grouped": lambda: nn.Conv2d(2, 4, 5, 4, 2, groups=2),
    "dilated": lambda: nn.Conv2d(2, 3, 3, 2, 2, dilation=2),
    "one axis": lambda: nn.Conv2d(2, 3, 3, (2, 1), 1),
    "max-pool without padding": lambda: nn.MaxPool2d(2),
    "max-pool, stride 3": lambda: nn.MaxPool2d(3, 3),
    "max-pool, dilated": lambda: nn.MaxPool2d(2, 2, padding=1, dilation=2),
    "max-pool, ceil_mode": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "avg-pool": lambda: nn.AvgPool2d(2),
    "waveform": lambda: nn.Conv1d(2, 3, 5, 4, 2),
    "volume": lambda: nn.Conv3d(2, 3, 3, 2, 1),
    "max-pool of a volume": lambda: nn.MaxPool3d(2),
}


def example_of(net: nn.Module, batch: int) -> Tensor:
    axes = int(type(net).__name__[-2])
    return noise(batch, 2, *{1: (24,), 2: (12, 24), 3: (4, 6, 4)}[axes])


@pytest.mark.parametrize("name", WINDOWS)
def test_every_strided_window_is_blurred_and_can_be_made_periodic(name):
    net = WINDOWS[name]().double()
    x = example_of(net, 2)
    blurred = antialias(net, x).model
    assert blurred(x).shape == net(x).shape
    assert circular(blurred, x).done


def test_blur_and_periodic_boundaries_go_together_in_either_order():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
    )
    x = torch.randn(1, 3, 16, 24)
    one = circular(antialias(net, x).model, x)
    two = antialias(circular(net, x).model, x)
    assert one.done
    assert torch.equal(one.model(x), two.model(x))
    again = pickle.loads(pickle.dumps(copy.deepcopy(two.model)))
    assert torch.equal(again(x), two.model(x))


def test_a_blur_without_a_middle_is_refused():
    with pytest.raises(UsageError, match="3, 5, 7 … taps"):
        antialias(nn.Conv1d(1, 1, 3, stride=2), (1, 1, 8), taps=4)


def test_a_model_without_strides_cannot_be_improved():
    assert not antialias(nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"), (1, 1, 8)).done


# ---------------------------------------------------------------------- polyphase: its algebra


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4)), st.tuples(st.integers(1, 3), st.integers(1, 3))
)
def test_components_are_the_slices_at_every_phase(cells, strides):
    value = noise(2, 2, cells[0] * strides[0], cells[1] * strides[1])
    parts = components(value, strides)
    for row in range(strides[0]):
        for column in range(strides[1]):
            wanted = value[:, :, row :: strides[0], column :: strides[1]]
            assert torch.equal(parts[:, row * strides[1] + column], wanted)
            phases = torch.tensor([[row, column], [0, 0]])
            assert torch.equal(sampled(value, strides, phases)[0], wanted[0])


@given(st.integers(0, 11), st.sampled_from([2, 3, 4]))
def test_the_strongest_component_follows_the_shift(shift, stride):
    value = noise(3, 2, 12)
    before, after = (strongest(v, (stride,))[:, 0] for v in (value, value.roll(shift, 2)))
    assert torch.equal((before + shift) % stride, after)


def test_ties_of_the_norm_are_told_apart_by_other_powers():
    value = torch.tensor([[[3.0, 5.0, 4.0, 0.0]]])  # 3² + 4² = 5² + 0²
    for shift in range(4):
        assert strongest(value.roll(shift, 2), (2,)).item() == shift % 2


def test_components_of_equal_content_are_told_apart_by_their_order():
    assert strongest(torch.ones(1, 1, 6), (3,)).item() == 0


def test_every_image_of_a_batch_is_rolled_by_its_own_offset():
    value = noise(2, 1, 4, 5)
    found = rolled(value, torch.tensor([[1, 0], [3, 2]]))
    assert torch.equal(found[0], value[0].roll(1, 1))
    assert torch.equal(found[1], value[1].roll((3, 2), (1, 2)))


# ---------------------------------------------------------------------- polyphase: networks

MODELS = {
    "torchvision:resnet18": 64,
    "timm:resnet26d": 64,
    "timm:convnext_atto": 64,
    "timm:tf_mobilenetv3_small_100": 64,
    "timm:resnetblur18": 64,
}


@pytest.mark.parametrize("name", MODELS)
def test_networks_become_invariant_to_every_shift(name):
    zoo, _, model = name.partition(":")
    build = timm.create_model if zoo == "timm" else torchvision.models.get_model
    size = MODELS[name]
    repaired = polyphase(build(model).eval(), (1, 3, size, size))
    assert repaired.done
    net = generic(repaired.model)
    x = noise(2, 3, size, size)
    with torch.no_grad():
        scores = net(x)
        moved = net(torch.stack([x[0].roll((5, 18), (1, 2)), x[1].roll((-1, 7), (1, 2))]))
    assert torch.allclose(moved, scores, rtol=0, atol=1e-9 * float(scores.std()))


@pytest.mark.parametrize("net", [TransposedUNet, NearestUNet, BilinearUNet])
def test_what_upsamples_back_moves_exactly_as_its_input_does(net):
    repaired = polyphase(net(), (1, 3, 32, 32))
    assert repaired.done
    assert not repaired.measurement.up_to_roll
    assert measure(repaired.model, (2, 3, 32, 32), shift=1).verdict == "holds"
    assert measure(circular(net(), (1, 3, 32, 32)).model, (1, 3, 32, 32), shift=1).verdict == (
        "broken"
    )


@pytest.mark.parametrize("name", WINDOWS)
def test_every_strided_window_is_sampled_in_phase_image_by_image(name):
    net = WINDOWS[name]().double()
    x = example_of(net, 2)
    repaired = polyphase(net, x)
    assert repaired.done
    moved = torch.stack([image.roll(shift, -1) for image, shift in zip(x, (1, 3), strict=True)])
    with torch.no_grad():
        pairs = list(zip(repaired.model(x), repaired.model(moved), strict=True))
    for before, after in pairs:
        rolls = [before.roll(units, -1) for units in range(before.shape[-1])]
        assert min(float((after - rolled).abs().max()) for rolled in rolls) < 1e-12


def test_in_float32_the_classes_of_every_shift_agree(resnet):
    model = polyphase(resnet, (1, 3, 64, 64)).model
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        scores = [model(x.roll((shift, 2 * shift), (2, 3))) for shift in (0, 1, 17)]
    assert scores[0].dtype == torch.float32
    for moved in scores[1:]:
        assert torch.allclose(moved, scores[0], atol=1e-4 * float(scores[0].std()))


def test_gradients_are_those_of_the_component_that_was_kept():
    net = nn.Sequential(nn.Conv1d(1, 2, 3, 2, 1), nn.ReLU(), nn.MaxPool1d(2)).double()
    model = polyphase(net, noise(1, 1, 16)).model.train()
    x = noise(3, 1, 16).requires_grad_()
    assert torch.autograd.gradcheck(model, x)
    model(x).sum().backward()
    assert model[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("repair", [antialias, polyphase])
def test_a_repaired_model_is_saved_and_loaded_and_takes_the_weights_of_the_original(
    repair, resnet, tmp_path
):
    model = repair(resnet, (1, 3, 64, 64)).model
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
        again.load_state_dict(resnet18().state_dict())
        assert not torch.equal(again(x), model(x))
        again.load_state_dict(resnet.state_dict())
        assert torch.equal(again(x), model(x))


def test_the_same_image_is_always_sampled_alike_where_components_tie():
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(1, 1, 4)
    model = polyphase(nn.MaxPool1d(1, 2), x).model
    assert all(torch.equal(model(x), model(x)) for _ in range(3))
    assert torch.equal(model(x), x[..., ::2])


def test_maps_move_by_whole_units():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 3))
    repaired = polyphase(net, (1, 1, 24, 18))
    assert repaired.done
    assert repaired.measurement.up_to_roll


@pytest.mark.parametrize(
    ("net", "size", "why"),
    [
        (nn.MaxPool2d(2), 7, "size 7 along axis 2.*not a multiple of its stride 2"),
        (nn.Conv2d(1, 1, 3, stride=2), 8, "do not cover a period; pad it"),
        (nn.MaxPool2d(2, return_indices=True), 8, "returns indices"),
    ],
)
def test_what_cannot_be_sampled_in_phase_is_refused_with_the_reason(net, size, why):
    with pytest.raises(UsageError, match=why) as raised:
        polyphase(nn.Sequential(nn.Identity(), net), (1, 1, size, size))
    assert "of '1'" in str(raised.value)


def test_valid_windows_are_sampled_in_phase_once_they_wrap():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2))
    repaired = polyphase(net, (1, 1, 16, 16), valid="wrap")
    assert repaired.done
    assert repaired.model(torch.randn(1, 1, 16, 16)).shape == (1, 2, 4, 4)


def test_what_breaks_the_periodic_copy_is_told_where_sampling_in_phase_does_not_help():
    net = nn.Sequential(nn.Conv1d(1, 2, 3, 2, 1), nn.Flatten(), nn.Linear(16, 3))
    repaired = polyphase(net, (1, 1, 16))
    assert not repaired.done
    assert "2 breaks axis 2: a linear layer gives every position" in repaired.why_not[0]


def test_branches_of_different_steps_are_refused():
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.two, self.four = nn.Conv1d(1, 1, 2, stride=2), nn.Conv1d(1, 1, 4, stride=4)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.two(x)) + self.four(x)

    with pytest.raises(UsageError, match="reached from 8 and, by 'conv1d' of 'four', from 16"):
        polyphase(Forked(), (1, 1, 16))


def test_slicing_in_a_forward_is_not_called_done():
    class Sliced(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., ::2].square().mean(-1)

    assert not polyphase(Sliced(), (1, 1, 16)).done
