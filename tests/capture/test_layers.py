"""Layer lists: what is read, what is built, and where the caret points."""

from __future__ import annotations

import pytest

from fieldwise.axes import AxisMap, Border
from fieldwise.capture.layer_kinds import KINDS
from fieldwise.capture.layer_list import layer_names, parse_layers
from fieldwise.capture.layers import default_input, layers_graph
from fieldwise.errors import UsageError
from fieldwise.graph import WHOLE, Along


def refusal(text, shape=None):
    with pytest.raises(UsageError) as caught:
        layers_graph(text, shape)
    return str(caught.value)


def spatial_coord(text, axis=2):
    (node,) = layers_graph(text, (1, 1, *(32,) * (axis - 1))).nodes
    return node.reads[0][0].steps[0].coords[axis]


def test_defaults_are_those_of_torch():
    conv, pool = parse_layers("conv3 maxpool2")
    assert (conv.stride, conv.dilation, conv.padding) == ((1,), (1,), (0,))
    assert (pool.kernel_size, pool.stride) == ((2,), (2,))


def test_options_may_differ_per_axis_and_come_in_any_order():
    (layer,) = parse_layers("conv3x5/2x1p1x2d2")
    assert layer.kernel_size == (3, 5)
    assert layer.stride == (2, 1)
    assert layer.padding == (1, 2)
    assert (layer.at(1).stride, layer.at(1).dilation) == (1, 2)


def test_layers_are_separated_by_spaces_or_commas():
    assert [layer.text for layer in parse_layers("conv3, relu,conv3/2")] == [
        "conv3",
        "relu",
        "conv3/2",
    ]


def test_a_repeated_layer_is_counted_in_its_name():
    layers = parse_layers("conv3 relu conv3 relu conv3/2")
    assert layer_names(layers) == ("conv3", "relu", "conv3#2", "relu#2", "conv3/2")


def test_every_name_is_parsed_as_itself():
    for kind in KINDS:
        token = f"{kind}3" if "kernel" in KINDS[kind].takes else kind
        assert parse_layers(token)[0].kind == kind


def test_without_an_input_a_list_has_as_many_axes_as_it_is_written_for():
    assert len(layers_graph("conv3 relu").shape("input")) == 3
    assert len(layers_graph("conv3 conv3x1x1").shape("input")) == 5


@pytest.mark.parametrize("text", ["conv3/2 conv3/2 conv7", "conv9d4/4", "tconv4/2p1 conv3", "up2"])
def test_the_default_input_leaves_the_last_map_some_units(text):
    graph = layers_graph(text)
    assert graph.shape(graph.outputs[0])[-1] >= 5


def test_the_default_length_divides_by_the_stride():
    assert default_input("x", parse_layers("maxpool2 maxpool2 maxpool2"))[-1] % 8 == 0


def test_a_convolution_reads_all_channels_and_a_depthwise_one_its_own():
    assert spatial_coord("conv3", axis=2).map == AxisMap.window(3)
    mixing, depthwise = (
        layers_graph(text, (1, 4, 8)).nodes[0].reads[0][0].steps[0].coords[1]
        for text in ("conv3", "dwconv3")
    )
    assert (mixing, depthwise) == (WHOLE, Along(1))


def test_same_padding_puts_the_odd_sample_after_as_torch_does():
    assert spatial_coord("conv4same").map == AxisMap.window(4, padding=1)


def test_linear_upsampling_clamps_at_the_border_and_skips_taps_of_weight_zero():
    coord = spatial_coord("bilinear3")
    assert coord.border is Border.CLAMP
    assert [offset.count for offset in coord.map.offsets] == [2, 1, 2]


def test_a_global_pool_reads_every_position():
    assert spatial_coord("globalpool") == WHOLE


def test_the_graph_names_values_and_scopes_after_the_layers():
    graph = layers_graph("conv3 conv3", (1, 1, 8))
    assert graph.outputs == ("conv3#2",)
    assert graph.scopes["conv3#2"] == (("conv3#2",),)
    assert [node.op for node in graph.nodes] == ["conv", "conv"]


def test_an_unknown_layer_is_underlined_and_close_names_are_suggested():
    assert refusal("conv3 rleu") == (
        "Unknown layer 'rleu'; did you mean 'relu'?\n  conv3 rleu\n        ^^^^"
    )


def test_an_unknown_layer_without_close_names_lists_them_all():
    assert "use one of conv, dwconv, tconv, maxpool" in refusal("xyzzy")


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        ("relu conv", "Layer 'conv' needs a size; write for example 'conv3'.", (5, 4)),
        ("conv3!", "Cannot read '!' in layer 'conv3!'", (5, 1)),
        ("conv3/2/3", "Layer 'conv3/2/3' gives its stride twice; leave one out.", (7, 2)),
        ("relu3", "Layer 'relu' takes no kernel; leave '3' out.", (4, 1)),
        ("maxpool3same", "Layer 'maxpool' takes no same; leave 'same' out.", (8, 4)),
        ("conv3same/2", "'same' in 'conv3same/2' needs stride 1", (0, 11)),
        ("conv0", "A kernel, stride or dilation of 0 in 'conv0'; use 1 or more.", (0, 5)),
        ("maxpool3p2", "The padding 2 of 'maxpool3p2' is more than half its kernel 3", (0, 10)),
        ("tconv3/2o2", "The output padding 2 of 'tconv3/2o2' must be smaller", (0, 10)),
        ("conv3x3 conv3x3x3", "Layer 'conv3x3' is written for 2 axes, but the network", (0, 7)),
    ],
)
def test_what_is_wrong_with_a_layer_is_said_and_underlined(text, message, caret):
    said = refusal(text)
    first, shown, marks = said.split("\n")
    assert first.startswith(message)
    assert shown == f"  {text}"
    assert marks == "  " + " " * caret[0] + "^" * caret[1]


def test_a_layer_that_the_input_is_too_small_for_is_underlined():
    assert refusal("conv3 conv9", (1, 1, 6)) == (
        "Layer 'conv9' does not fit: 9 samples wide, it is given 4 along axis 0; "
        "use a larger input or more padding.\n  conv3 conv9\n        ^^^^^"
    )


def test_a_list_for_other_axes_than_the_input_has_is_refused():
    assert "is written for 2 axes, but the network has 1" in refusal("conv3x5", (1, 1, 9))


def test_an_input_without_batch_and_channels_is_refused():
    assert refusal("conv3", (32, 32)) == (
        "The input 32x32 of a layer list is not batch x channels x one to three axes; "
        "write for example 1x1x64x64."
    )


def test_an_empty_list_is_refused():
    assert "The layer list is empty" in refusal("  ")
