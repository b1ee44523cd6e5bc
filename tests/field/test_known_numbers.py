"""The numbers that papers, the exercise and careful hands agree on."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from fieldwise.axes import IndexSet
from fieldwise.capture.layers import layers_graph
from fieldwise.capture.specs import load_model
from fieldwise.errors import UsageError
from fieldwise.field import FieldReport, receptive_fields, unproductive
from fieldwise.field.probes import GradientProbe
from tests.field import networks


def report_of(spec: str, **options) -> FieldReport:
    model = load_model(spec, weights=False)
    return receptive_fields(model.source, model.example(), **options)


def micro(network: type[nn.Module]) -> FieldReport:
    return receptive_fields(network().eval(), networks.CATALOGUE[network])


@pytest.mark.parametrize(
    ("layers", "extent"), [("conv3 conv1", 3), ("conv3 conv3", 5), ("conv3/2 conv3", 7)]
)
def test_two_convolutions_have_the_extents_of_the_exercise(layers, extent):
    assert receptive_fields(layers_graph(layers)).rows[-1].extent == (extent,)


def test_vgg16_grows_as_the_closed_form_of_araujo_says():
    report = report_of("torchvision:vgg16")
    expected = {2: (5, 1), 4: (6, 2), 14: (40, 4), 21: (92, 8), 28: (196, 16), 30: (212, 32)}
    for layer, (extent, stride) in expected.items():
        row = report[f"features.{layer}"].row
        assert row.extent == (extent, extent)
        assert row.stride == (stride, stride)


def test_resnet50_depends_on_where_the_stride_stands():
    row = report_of("torchvision:resnet50")["layer4"].row
    assert (row.extent, row.stride) == ((427, 427), (32, 32))
    original = receptive_fields(networks.CaffeResNet50().eval(), (1, 3, 224, 224))
    assert original.find(original.graph.outputs[0]).extent == (483, 483)


def test_mobilenet_v2_sees_491():
    row = report_of("torchvision:mobilenet_v2")["features"].row
    assert (row.extent, row.stride) == ((491, 491), (32, 32))


def test_inception_v3_sees_a_union_of_three_rectangles():
    row = report_of("timm:inception_v3")["Mixed_7c"].row
    assert (row.extent, row.products) == ((1311, 1311), 3)
    model = load_model("timm:inception_v3", "1x3x1599x1599", weights=False)
    report = receptive_fields(model.source, model.example())
    products = report["Mixed_7c"].unbounded(20, 20)
    assert sorted(tuple(side.extent for side in product) for product in products) == [
        (1183, 1311),
        (1247, 1247),
        (1311, 1183),
    ]
    assert all(side.is_contiguous for product in products for side in product)


def test_a_unet_with_transposed_convolutions_has_16_phases_that_gradients_confirm():
    model = networks.TransposedUNet().eval()
    report = receptive_fields(model, (1, 3, 96, 96))
    output = report.graph.outputs[0]
    row = report.find(output)
    assert row.period == (16, 16)
    assert row.stride == (1, 1)
    probe = GradientProbe.of_graph(report.graph)
    for phase in range(16):
        unit = (40 + phase, 40 + phase)
        assert (report[output].at(*unit).mask() == probe.field(output, unit).mask).all()


def test_context_is_told_per_phase_where_networks_upsample():
    report = receptive_fields(layers_graph("conv3/2 tconv2/2", (1, 1, 32)))
    axis = report.rows[-1].axes[0]
    assert axis.period == 2
    assert axis.context == ((Fraction(0), Fraction(2)), (Fraction(1), Fraction(1)))


def test_squeeze_and_excitation_is_full_and_names_the_op_while_local_paths_stay_bounded():
    report = report_of("timm:efficientnet_b0", ignore_global=True)
    row = report["blocks"].row
    assert row.full == (True, True)
    assert row.extent == (None, None)
    assert row.exact
    assert row.axes[0].full_by == "blocks.0.0.se/mean"
    assert row.local is not None
    assert [(axis.extent, axis.stride) for axis in row.local] == [(851, 32), (851, 32)]


@pytest.mark.parametrize(
    ("network", "extent", "count", "stride"),
    [
        (networks.Dilated, 9, 3, 1),
        (networks.EarlyParallelStrides, 7, 7, 2),
        (networks.ParallelStrides, 5, 5, 2),
        (networks.Concat, 5, 5, 1),
        (networks.Twice, 5, 5, 1),
        (networks.Residual, 5, 5, 1),
        (networks.Chain, 12, 12, 4),
    ],
)
def test_micro_networks_have_their_hand_counted_fields(network, extent, count, stride):
    report = micro(network)
    row = report.find(report.graph.outputs[0])
    assert (row.extent, row.count, row.stride) == ((extent,) * 2, (count,) * 2, (stride,) * 2)
    assert row.exact


@pytest.mark.parametrize("network", networks.CATALOGUE, ids=lambda network: network.__name__)
def test_every_micro_network_agrees_with_gradients_at_each_of_its_outputs(network):
    report = micro(network)
    probe = GradientProbe.of_graph(report.graph)
    for name in set(report.graph.outputs):
        dims = report.roles(name).unit
        shape = report.graph.shape(name)
        for numerator in (0, 1, 2, 3, 4):
            unit = tuple((shape[dim] - 1) * numerator // 4 for dim in dims)
            seen = report[name].at(*unit)
            measured = probe.field(name, unit, dims=dims, wrt_dims=report.axes)
            assert seen.exact
            assert (seen.mask() == measured.mask).all(), (name, unit)


def test_channels_of_a_concatenation_see_their_own_branch():
    report = micro(networks.Concat)
    whole, name = report[report.graph.outputs[0]], report.graph.outputs[0]
    middle = tuple(report.graph.shape(name)[dim] // 2 for dim in (2, 3))
    extents = [
        whole.at(*middle, channel=c).hi[0] - whole.at(*middle, channel=c).lo[0] + 1
        for c in range(report.graph.shape(name)[1])
    ]
    assert extents == [3, 3, 5, 5, 5]


def test_branches_of_different_strides_are_misaligned_and_name_the_join():
    class Torn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine = nn.Conv1d(1, 1, 3)
            self.coarse = nn.Conv1d(1, 1, 3, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fine(x)[..., :8] + self.coarse(x)[..., :8]

    report = receptive_fields(Torn().eval(), (1, 1, 32))
    row = report.find(report.graph.outputs[0])
    assert row.misaligned == "add"
    assert row.extent == (None,)
    seen = report["add"].at(5)
    assert seen.products == ((IndexSet.of([5, 6, 7, 10, 11, 12]),),)


def test_swin_and_vit_are_exact_at_every_row():
    for spec in ("timm:swin_tiny_patch4_window7_224", "timm:vit_tiny_patch16_224"):
        assert all(row.exact for row in report_of(spec).rows)


def test_a_shifted_window_has_a_closed_form_with_the_period_of_the_window():
    row = report_of("timm:swin_tiny_patch4_window7_224")["layers.0"].row
    assert (row.extent, row.period, row.stride) == ((56, 56), (7, 7), (4, 4))
    assert not row.at_this_size


def test_fields_between_two_layers_compose_to_the_whole():
    report = report_of("torchvision:resnet50")
    assert report.between("layer3", "layer4").row.extent == (11, 11)
    assert report.between("layer3", "layer4").row.stride == (2, 2)
    with pytest.raises(UsageError, match="does not depend on"):
        report.between("layer4", "layer3")


def test_the_projective_field_is_the_receptive_field_read_backwards():
    report = receptive_fields(layers_graph("conv3/2p1 conv3p1", (1, 1, 16)))
    output = report.graph.outputs[0]
    units = range(report.graph.shape(output)[2])
    for sample in range(16):
        seeing = {u for u in units if sample in report[output].at(u).products[0][0]}
        assert set(report.projective_field(sample).products[0][0]) == seeing


def test_layers_after_the_whole_input_was_seen_are_unproductive():
    report = receptive_fields(layers_graph("conv3 conv3/4 conv7 conv3", (1, 1, 40)))
    assert unproductive(report).saturated == ()
    small = receptive_fields(layers_graph("conv9p4 conv9p4 conv3p1", (1, 1, 12)))
    assert unproductive(small).saturated == ("conv3p1",)


def test_a_stride_beyond_the_extent_skips_inputs():
    report = receptive_fields(layers_graph("conv2/3 conv3", (1, 1, 40)))
    assert unproductive(report).skipping == ("conv2/3",)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda r: r["layer5"], "No value or module is called 'layer5'; did you mean"),
        (
            lambda r: r["conv1"].at(-1, 0),
            "Position -1,0 is outside 'conv1', which has 112x112 positions",
        ),
        (lambda r: r["conv1"].at(0, 112), "Position 0,112 is outside 'conv1'"),
        (lambda r: r["conv1"].at(3), "name one by 2 indices, not 1"),
        (lambda r: r["conv1"].at(0, 0, channel=64), "'conv1' has channels 0 to 63; 64 is none"),
        (lambda r: r["layer1.0.relu"], "ran 3 times; ask for 'layer1.0.relu#1'"),
    ],
)
def test_requests_that_make_no_sense_are_refused_in_a_sentence(ask, said):
    report = report_of("torchvision:resnet50")
    with pytest.raises(UsageError) as refusal:
        ask(report)
    assert said in str(refusal.value)


class Gated(nn.Module):
    """Convolutions, and the mean of all positions added between them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, 2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.one(x)
        return self.two(y + y.mean((2, 3), keepdim=True))


def test_the_local_field_goes_on_behind_a_global_operation():
    row = receptive_fields(Gated(), torch.zeros(1, 1, 32, 32), ignore_global=True).rows[-1]
    assert [axis.full for axis in row.axes] == [True, True]
    assert row.local is not None
    assert [(axis.extent, axis.stride) for axis in row.local] == [(5, 2), (5, 2)]
