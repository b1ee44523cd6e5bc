"""Layer lists as torch modules: the same network as the graph."""

from __future__ import annotations

import pytest
import torch

from fieldwise.capture.layer_kinds import POINTWISE
from fieldwise.capture.layer_list import layer_names, parse_layers
from fieldwise.capture.layers import layers_graph
from fieldwise.capture.torch.from_layers import layers_module
from fieldwise.errors import UsageError
from fieldwise.graph import WHOLE

LISTS = [
    ("conv3 relu conv3/2 maxpool2/2", (1, 2, 33)),
    ("conv3x5/2d2p1 bn relu6 avgpool3x2/2p1", (1, 3, 40, 41)),
    ("tconv4/2p1 tconv3/2p1o1 dropout", (1, 2, 7, 8)),
    ("dwconv3p1 up2 conv3 bilinear3", (1, 4, 9, 10)),
    ("conv4same conv5d2same maxpool3d2/2p1", (1, 2, 30)),
    ("conv3x1x1 maxpool2 bilinear2 globalpool", (1, 2, 8, 8, 8)),
]


@pytest.mark.parametrize(("text", "shape"), LISTS)
def test_the_torch_module_has_the_shapes_of_the_graph(text, shape):
    value = torch.zeros(shape)
    found = [shape]
    for layer in layers_module(text, shape):
        value = layer(value)
        found.append(tuple(value.shape))
    assert found == [value.shape for value in layers_graph(text, shape).values.values()]


LAYERS = """
conv3/2p1 conv5d2 conv4same conv4d3same dwconv3 avgpool3/2p1 tconv4/2p1 tconv3/2p1o1
tconv3/3d2 up2 up3 bilinear2 bilinear3 globalpool relu bn
"""


@pytest.mark.parametrize("text", LAYERS.split())
def test_every_unit_reads_what_the_gradient_of_its_torch_layer_says(text):
    value = torch.rand(1, 2, 14).requires_grad_()
    (node,) = layers_graph(text, (1, 2, 14)).nodes
    coord = node.reads[0][0].steps[0].coords[2]
    for unit, output in enumerate(layers_module(text, (1, 2, 14))(value)[0, 0]):
        (gradient,) = torch.autograd.grad(output, value, retain_graph=True)
        seen = {index[2] for index in (gradient.abs() > 1e-6).nonzero().tolist()}
        read = range(14) if coord == WHOLE else coord.border.land(coord.map(unit), 14)
        assert seen == set(read)


@pytest.mark.parametrize("kind", POINTWISE)
def test_every_element_wise_layer_exists_in_torch(kind):
    assert layers_module(kind, (1, 2, 5))(torch.zeros(1, 2, 5)).shape == (1, 2, 5)


def test_its_submodules_have_the_names_of_the_graph():
    text = "conv3 relu conv3/2 relu"
    names = [name for name, _ in layers_module(text, (1, 1, 16)).named_children()]
    assert tuple(names) == layer_names(parse_layers(text))


def test_it_is_in_eval_mode():
    assert not layers_module("bn dropout", (1, 2, 4)).training


def test_an_input_of_other_axes_than_the_list_is_refused():
    with pytest.raises(UsageError, match="is written for 2 axes"):
        layers_module("conv3x3", (1, 1, 9))
