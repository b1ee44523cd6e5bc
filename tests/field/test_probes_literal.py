"""The literal quantity, right where it is right and wrong in the four ways it goes wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.field.probes import gradient_field, unit_gradient


def extent(gradient):
    seen = gradient.nonzero().flatten()
    return int(seen.max() - seen.min() + 1)


def test_it_is_the_sum_of_the_partial_derivatives_over_both_channels():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Conv1d(3, 2, 3))
    x = torch.rand(1, 2, 9)
    jacobian = torch.autograd.functional.jacobian(model, x)[0, :, 2, 0]
    expected = jacobian.sum((0, 1))
    torch.testing.assert_close(unit_gradient(model, x, (2,)), expected)


def test_a_layer_that_an_in_place_op_overwrites_is_read_as_it_was_returned():
    model = nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU(inplace=True))
    nn.init.constant_(model[0].weight, -1.0)
    gradient = unit_gradient(model, torch.ones(1, 1, 5), (1,), layer="0")
    assert gradient.tolist() == [0, -1, -1, -1, 0]


def test_cancellation_hides_a_tap_that_the_sound_probe_sees():
    model = nn.Conv1d(1, 2, 3, bias=False)
    model.weight.data[:] = torch.tensor([[[1.0, 2.0, 3.0]], [[1.0, -2.0, 3.0]]])
    x = torch.rand(1, 1, 5)
    assert unit_gradient(model, x, (1,)).tolist() == [0, 2, 0, 6, 0]
    assert gradient_field(model, x, None, (1,)).count == 3


def test_a_dead_relu_hides_everything_behind_it():
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 1, 3))
    nn.init.constant_(model[0].bias, -100.0)
    x = torch.rand(1, 1, 9)
    assert not unit_gradient(model, x, (2,)).any()
    assert gradient_field(model, x, None, (2,)).count == 5


def test_the_arg_max_of_a_pool_hides_the_samples_that_lost():
    model, x = nn.MaxPool1d(3), torch.tensor([[[1.0, 5.0, 2.0]]])
    assert unit_gradient(model, x, (0,)).tolist() == [0, 1, 0]
    assert gradient_field(model, x, None, (0,)).count == 3


def test_zero_initialised_branches_make_a_fresh_resnet50_answer_11_instead_of_427():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("resnet50").eval()
    x = torch.rand(1, 3, 480, 32)
    literal = unit_gradient(model, x, (7, 0), layer="layer4")
    assert extent(literal.abs().sum(1)) <= 11
    assert gradient_field(model, x, "layer4", (7, 0)).extent[0] == 427


def test_the_models_gradients_buffers_and_hooks_are_left_alone():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    unit_gradient(model, torch.rand(4, 1, 9), (2,), layer="1")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model[1]._forward_hooks
