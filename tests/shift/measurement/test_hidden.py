"""What hides a break from a model's own weights, and not from a decision on its structure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from fieldwise.shift.measurement.equivariance import measure
from fieldwise.shift.measurement.metrics import consistency

SHAPE = (1, 4, 8, 8)


class Hidden(nn.Module):
    """A zero-padded convolution, and what keeps it from being seen."""

    def __init__(self, hide: Callable[[nn.Module], None], forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.own = forward
        with torch.no_grad():
            hide(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.own(self, x)


def parameter(value: float, *shape: int) -> Callable[[nn.Module], None]:
    return lambda net: net.register_parameter("p", nn.Parameter(torch.full(shape, value)))


def batch_norm(**values: float) -> Callable[[nn.Module], None]:
    def hide(net: nn.Module) -> None:
        net.norm = nn.BatchNorm2d(4)
        for name, value in values.items():
            getattr(net.norm, name).fill_(value)

    return hide


def attention(net: nn.Module, x: Tensor) -> Tensor:
    """Tokens of a row attend to each other, with a bias per pair of columns."""
    rows = x.permute(0, 2, 3, 1)
    return (rows @ rows.mT + net.p).softmax(-1) @ rows


def relative_attention(net: nn.Module, x: Tensor) -> Tensor:
    """The bias is gathered from a table of distances, as in BEiT, LeViT and EfficientFormer."""
    places = torch.arange(8)
    bias = net.p[(places[:, None] - places).abs()]
    rows = x.permute(0, 2, 3, 1)
    return (rows @ rows.mT + bias).softmax(-1) @ rows


CASES = {
    "a norm whose weight starts at 0": (
        batch_norm(weight=0.0), lambda net, x: x + net.norm(net.conv(x)),
    ),
    "a norm of a huge variance": (
        batch_norm(running_var=1e26), lambda net, x: x + net.norm(net.conv(x)),
    ),
    "a layer scale": (parameter(1e-12, 4, 1, 1), lambda net, x: x + net.p * net.conv(x)),
    "a residual weight of 0": (parameter(0.0), lambda net, x: x + net.p * net.conv(x)),
    "a convolution of zeros": (
        lambda net: net.conv.weight.zero_(), lambda net, x: x + net.conv(x),
    ),
    "a closed gate": (parameter(-100.0), lambda net, x: x + net.p.sigmoid() * net.conv(x)),
    "a dead unit": (
        lambda net: net.conv.bias.fill_(-100.0), lambda net, x: x + net.conv(x).relu(),
    ),
    "a saturated unit": (
        lambda net: net.conv.bias.fill_(100.0), lambda net, x: x + net.conv(x).sigmoid(),
    ),
    "a position embedding of zeros": (parameter(0.0, 1, 4, 8, 8), lambda net, x: x + net.p),
    "an attention bias of zeros": (parameter(0.0, 8, 8), attention),
    "a table of zeros for relative positions": (parameter(0.0, 8), relative_attention),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_generic_weights_show_what_own_weights_hide(name):
    torch.manual_seed(0)
    net = Hidden(*CASES[name])
    assert measure(net, SHAPE, axis=3, shift=1, randomise=False).verdict != "broken"
    found = measure(net, SHAPE, axis=3, shift=1)
    assert found.verdict == "broken"
    assert found.error > 1e-2


def test_a_softmax_that_large_activations_saturate_does_not_hide_its_bias(monkeypatch):
    net = Hidden(
        lambda net: (batch_norm()(net), parameter(0.0, 8, 8)(net)),
        lambda net, x: attention(net, net.norm(1e4 * x)),
    )
    assert measure(net, SHAPE, axis=3, shift=1).verdict == "broken"
    monkeypatch.setattr("fieldwise.shift.measurement.subject.settle", lambda *_: None)
    assert measure(net, SHAPE, axis=3, shift=1).verdict == "holds"


def test_one_class_for_everything_is_consistent_and_no_evidence():
    torch.manual_seed(0)
    net = resnet18().eval()
    found = consistency(net, torch.randn(8, 3, 64, 64), most=16)
    assert found.agreement == 1
    assert not found.evidence
    assert measure(net, (1, 3, 64, 64), axis=3).verdict == "broken"


def test_bfloat16_rounds_the_error_away_and_float64_does_not():
    torch.manual_seed(0)
    net = Hidden(parameter(1e-4), lambda net, x: 1 + net.p * net.conv(x)).bfloat16()
    x = torch.randn(SHAPE).bfloat16()
    assert torch.equal(net(x.roll(1, 3)), net(x).roll(1, 3))
    assert measure(net, SHAPE, axis=3).verdict == "broken"
    assert measure(net, SHAPE, axis=3, randomise=False).verdict == "broken"


@pytest.mark.parametrize("name", ["efficientformer_l1", "efficientformerv2_s0"])
def test_biases_that_start_at_zero_deep_in_a_network_are_seen(name):
    net = timm.create_model(name).eval()
    found = measure(net, (1, 3, 224, 224), axis=3, shift=32)
    assert found.verdict == "broken"
    assert found.error > 1e-3


def test_what_holds_still_holds_on_generic_weights():
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1),
    )  # fmt: skip
    assert measure(net, SHAPE).verdict == "holds"
