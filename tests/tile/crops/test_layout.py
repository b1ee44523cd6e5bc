"""Crops lie channels-last where that is quicker and the model makes the same calls of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.tile import tiled
from fieldwise.tile.crops import layout
from fieldwise.tile.crops.layout import lies_channels_last
from fieldwise.tile.memory_format import is_channels_last


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x).relu()


class Views(Net):
    """A view that another layout does not have."""

    def forward(self, x):
        y = self.conv(x)
        return y.view(len(y), -1, y.shape[3]).view(y.shape)


class Strides(Net):
    """Neighbours in memory, whatever they are."""

    def forward(self, x):
        y = self.conv(x)
        return y.as_strided(y.shape, y.new_empty(y.shape, device="meta").stride())


class Branches(Net):
    def forward(self, x):
        return self.conv(x) * (1 if x.is_contiguous() else 2)


CASES = {Net: True, Views: False, Strides: False, Branches: False}


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_only_models_that_do_the_same_are_given_channels_last(kind):
    torch.manual_seed(0)
    model, x = kind().eval(), torch.randn(1, 3, 64, 64)
    assert lies_channels_last(ModelCall.of(model, x), [x.shape]) is CASES[kind]
    with torch.no_grad():
        assert torch.allclose(tiled(model, x, tile=16)(x), model(x), atol=1e-6)


def test_the_model_sees_crops_in_the_layout_that_pays(monkeypatch):
    seen = []

    class Sees(Net):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    model, x = Sees().eval(), torch.randn(1, 3, 64, 64)
    for pays in (True, False):
        monkeypatch.setattr(layout, "channels_last_pays", lambda *_, pays=pays: pays)
        run = tiled(model, x, tile=16)
        run(x)
        assert is_channels_last(seen[-1]) is pays
