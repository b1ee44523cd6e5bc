"""Exported programs take other batches and sizes, and say which they do not."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from fieldwise.errors import UnsuitableError
from fieldwise.folding import fold
from fieldwise.folding.saving.program import Exporting, pt2_writer
from tests.folding.saving.networks import Classifier, Scaled, UNet, settled


def saved(net, shape, path, **options):
    torch.manual_seed(0)
    folded = fold(net, torch.randn(shape), verify=False, allow_graph=True)
    return folded.save(path, **options)


def rules(found):
    return {axis.axis: axis.rule for axis in found.program.axes}


def same(net, path, *shapes):
    """Whether a program gives what the network gives, on inputs of each shape."""
    program = torch.export.load(path).module()
    torch.manual_seed(1)
    images = [torch.randn(shape) for shape in shapes]
    with torch.no_grad():
        return [torch.allclose(program(x), net(x), rtol=1e-4, atol=1e-4) for x in images]


EVERY_FOURTH = "4 or more, as 12 and 16; the model refuses 9"


def test_a_unet_takes_any_batch_and_every_size_that_it_runs_at(tmp_path):
    net = settled(UNet())
    found = saved(net, (1, 3, 8, 8), tmp_path / "net.pt2")
    assert found.paths == (tmp_path / "net.pt2",)
    assert rules(found) == {0: "any", 1: "3", 2: EVERY_FOURTH, 3: EVERY_FOURTH}
    assert found.program.shapes == (((1, 3, 8, 8),), ((2, 3, 12, 16),))
    assert found.program.verify.passed
    assert found.program.verify.compared == 4 * 8 * 8 + 2 * 4 * 12 * 16
    assert same(net, tmp_path / "net.pt2", (1, 3, 16, 4), (3, 3, 4, 32)) == [True, True]


@pytest.mark.parametrize(
    ("name", "size", "least"),
    [
        ("resnet18", 32, "any"),
        ("mobilenet_v3_small", 32, "any"),
        ("inception_v3", 96, "75 or more"),
    ],
)
@pytest.mark.slow
def test_networks_of_torchvision_take_other_batches_and_sizes(tmp_path, name, size, least):
    """Also where a map is one sample wide, which torch takes for a constant by default."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "inception_v3" else {}
    net = settled(torchvision.models.get_model(name, weights=None, **options))
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):  # else the outputs hardly move
            nn.init.kaiming_normal_(module.weight)
    found = saved(net, (1, 3, size, size), tmp_path / "net.pt2")
    assert rules(found) == {0: "any", 1: "3", 2: least, 3: least}
    assert found.program.verify.passed
    assert found.program.verify.compared == 3000
    assert len(found.program.shapes) == 2
    wide = (3, 3, size + 8, 2 * size)
    assert same(net, tmp_path / "net.pt2", (1, 3, size, size), wide) == [True, True]


def test_an_axis_that_the_model_fixes_says_what_the_model_says(tmp_path):
    found = saved(settled(Classifier()), (1, 3, 8, 8), tmp_path / "net.pt2")
    assert rules(found) == {0: "any", 1: "3", 2: "8", 3: "8"}
    why = {axis.axis: axis.why for axis in found.program.axes}
    assert why[0] is None
    assert "the model runs at no other size that was tried (" in why[2]
    assert found.program.shapes == (((1, 3, 8, 8),), ((2, 3, 8, 8),))


def test_sizes_that_are_pooled_alike_are_named_with_one_that_the_model_refuses(tmp_path):
    """13 is pooled to 5 as 12 is; the program's own bounds do not say that 14 is not."""
    parts = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(100, 2)
    found = saved(settled(nn.Sequential(*parts)), (1, 3, 12, 12), tmp_path / "net.pt2")
    rule = "4 or more, as 13; the model refuses 14"
    assert rules(found) == {0: "any", 1: "3", 2: rule, 3: rule}
    assert found.program.shapes == (((1, 3, 12, 12),), ((2, 3, 13, 13),))


def test_static_takes_the_size_of_the_example_alone(tmp_path):
    net = settled(UNet())
    found = saved(net, (1, 3, 16, 16), tmp_path / "net.pt2", static=True)
    assert [axis.fixed for axis in found.program.axes] == [True] * 4
    assert found.program.axes[0].why == "it was asked for (--static, static=True)"
    assert found.program.shapes == (((1, 3, 16, 16),),)
    with pytest.raises(AssertionError, match="Guard failed"):
        same(net, tmp_path / "net.pt2", (2, 3, 16, 16))


def test_a_graph_of_recorded_sizes_is_not_exported_for_others(tmp_path):
    net = Scaled().eval()
    found = saved(net, (2, 3, 6, 6), tmp_path / "net.pt2")
    assert all(same(net, tmp_path / "net.pt2", (2, 3, 6, 6)))
    assert found.program.verify.passed
    for axis in found.program.axes:
        if not axis.fixed:
            shape = [2, 3, 6, 6]
            shape[axis.axis] += 3
            assert all(same(net, tmp_path / "net.pt2", tuple(shape)))


class TwoImages(nn.Module):
    def forward(self, left, right):
        return left + right


def test_inputs_whose_sizes_go_together_are_changed_together(tmp_path):
    example = (torch.randn(1, 2, 6), torch.randn(1, 2, 6))
    made = fold(TwoImages().eval(), example, verify=False)
    found = made.save(tmp_path / "net.pt2")
    assert {(axis.input, axis.axis): axis.fixed for axis in found.program.axes} == {
        (name, axis): False for name in ("left", "right") for axis in range(3)
    }
    assert found.program.verify.passed


class Halved(nn.Module):
    """Python decides by the size, which a program cannot."""

    def forward(self, x):
        return x[:, :, : x.shape[2] // 2] * (2.0 if x.shape[2] > 6 else 1.0)


def test_what_is_wrong_or_refused_at_another_size_is_fixed(tmp_path):
    found = saved(Halved().eval(), (2, 3, 6), tmp_path / "net.pt2")
    axis = found.program.axes[2]
    assert axis.fixed == (axis.rule == "6")
    assert found.program.verify.passed
    if axis.fixed:
        assert "what torch exported" in axis.why


def test_a_program_that_gives_other_numbers_is_not_kept(tmp_path):
    one, other = settled(UNet(), seed=0), settled(UNet(), seed=1)
    work = Exporting(one, other, torch.randn(1, 3, 8, 8))
    with pytest.raises(UnsuitableError, match="gives other numbers than the model"):
        work.written(pt2_writer(tmp_path / "net.pt2"), static=True, compare=True)


class Unwritable(nn.Module):
    def forward(self, x):
        return x + float(x.sum())


def test_a_model_that_torch_cannot_export_says_so_and_keeps_the_weights(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 1, 1), Unwritable()).eval()
    made = fold(net[:1].eval(), torch.randn(1, 1, 4, 4), verify=False)
    from fieldwise.folding.saving.write import save

    with pytest.raises(UnsuitableError, match=r"torch.export refuses the model.*weights are in"):
        save(net, made.example, tmp_path / "net")
    assert (tmp_path / "net.safetensors").exists()
    assert not (tmp_path / "net.pt2").exists()


def test_without_a_comparison_that_is_said(tmp_path):
    found = saved(settled(UNet()), (1, 3, 8, 8), tmp_path / "net.pt2", compare=False)
    assert found.program.verify is None
    assert "not compared" in found.program.note
