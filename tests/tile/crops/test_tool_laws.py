"""Whatever the network and the tile: what a tool is given makes exact what is called exact."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from fieldwise.tile import plan_tiles
from fieldwise.tile.errors import TileError
from tests.tile.crops.tool_copies import careamics, monai, terratorch, torchio

TOLERANCE = 1e-10


@st.composite
def networks(draw) -> nn.Module:
    """Convolutions of several windows, some on a coarser grid and back."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        kernel = (draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 3])))
        dilation = draw(st.sampled_from([1, 2]))
        padding = tuple(dilation * (n // 2) for n in kernel)
        conv = nn.Conv2d(1, 1, kernel, padding=padding, dilation=dilation)
        if draw(st.booleans()):
            layers += [nn.AvgPool2d(2), conv, nn.ConvTranspose2d(1, 1, 2, 2)]
        else:
            layers.append(conv)
        layers.append(nn.Tanh())
    return nn.Sequential(*layers).double().eval()


@st.composite
def plans(draw):
    model = draw(networks())
    size = tuple(4 * draw(st.integers(6, 14)) for _ in range(2))
    axes = draw(st.sampled_from([(2, 3), (2,), (3,)]))
    tile = 4 * draw(st.integers(1, 14))
    try:
        plan = plan_tiles(
            model, torch.empty(1, 1, *size, dtype=torch.float64), tile=tile, axes=axes
        )
    except TileError:
        assume(False)
    x = np.random.default_rng(0).normal(size=(1, 1, *size))

    def predict(image):
        with torch.no_grad():
            return model(torch.from_numpy(np.ascontiguousarray(image))).numpy()

    return plan, x, predict


ONLY_BORDERS = ("get none (NaN)", "mirrored at its borders")


@given(plans())
@settings(max_examples=60, deadline=None)
def test_what_is_called_exact_is_and_elsewhere_the_inner_part_is(case):
    plan, x, predict = case
    wanted = predict(x)
    for tool, found in (
        (monai, plan.as_monai()),
        (torchio, plan.as_torchio()),
        (careamics, plan.as_careamics()),
        (terratorch, plan.as_terratorch()),
    ):
        borders = [why for why in found.why if any(text in why for text in ONLY_BORDERS)]
        if len(borders) < len(found.why):
            continue
        result = tool(predict, x, **found.settings)
        assert result.shape == wanted.shape
        margin = int(borders[0].split("outer ")[1].split()[0]) if borders else 0
        inner = (..., *(slice(margin, size - margin) for size in x.shape[2:]))
        assert np.abs(result[inner] - wanted[inner]).max(initial=0) <= TOLERANCE, found
        assert found.exact == (margin == 0)
