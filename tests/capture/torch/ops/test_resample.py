"""Interpolation against the Jacobian, and nearest neighbours against what they pick."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fieldwise.axes import AxisMap
from fieldwise.capture.torch import capture
from fieldwise.graph.ir import Along, Separable
from tests.capture.torch.ops.oracle import Op, agree, recorded

SHAPES = {"linear": (1, 2, 5), "bilinear": (1, 1, 5, 4), "trilinear": (1, 1, 2, 2, 3)}
SHAPES |= {"bicubic": (1, 1, 5, 6)}
SCALES = [2, 3, 1.5, 0.5, 0.7, 4 / 3]


def resize(**how: Any) -> Op:
    return Op(lambda x: F.interpolate(x, **how))


@pytest.mark.parametrize("mode", SHAPES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_a_scaled_map_reads_the_taps_of_non_zero_weight(mode, align_corners, scale):
    agree(resize(scale_factor=scale, mode=mode, align_corners=align_corners), SHAPES[mode])


@pytest.mark.parametrize("mode", SHAPES)
@pytest.mark.parametrize("align_corners", [False, True])
def test_a_scale_may_be_recomputed_from_the_sizes(mode, align_corners):
    how = {"mode": mode, "align_corners": align_corners, "recompute_scale_factor": True}
    agree(resize(scale_factor=1.3, **how), SHAPES[mode])


@settings(max_examples=80)
@given(before=st.integers(1, 12), after=st.integers(1, 12), align_corners=st.booleans())
def test_linear_interpolation_to_any_size(before, after, align_corners):
    agree(
        resize(size=after, mode="linear", align_corners=align_corners),
        (1, 1, before),
        inputs="basis",
    )


@settings(max_examples=60)
@given(
    before=st.integers(1, 9),
    after=st.integers(1, 9),
    align_corners=st.booleans(),
    antialias=st.booleans(),
    mode=st.sampled_from(["bilinear", "bicubic"]),
)
def test_planar_interpolation_to_any_size(before, after, align_corners, antialias, mode):
    how = {"mode": mode, "align_corners": align_corners, "antialias": antialias}
    agree(resize(size=(after, 2), **how), (1, 1, before, 3), inputs="basis")


@settings(max_examples=40)
@given(
    before=st.integers(1, 12),
    scale=st.floats(0.2, 3).map(lambda scale: round(scale, 3))
    | st.sampled_from([0.25, 0.75, 1.25, 1.5]),
    antialias=st.booleans(),
    mode=st.sampled_from(["bilinear", "bicubic"]),
)
def test_planar_interpolation_by_any_factor(before, scale, antialias, mode):
    assume(before * scale >= 1)
    model = resize(scale_factor=(scale, 1), mode=mode, antialias=antialias)
    agree(model, (1, 1, before, 2), inputs="basis")


@pytest.mark.parametrize("size", [3, 7])
def test_area_interpolation_is_adaptive_pooling(size):
    agree(resize(size=size, mode="area"), (1, 1, 5, 4))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("shape", [(1, 2, 5), (1, 1, 5, 3), (1, 1, 3, 2, 4)])
@pytest.mark.parametrize("scale", [2, 3, 0.5, 1.5])
def test_a_nearest_neighbour_reads_one_sample(mode, shape, scale):
    if shape[2] * scale < 9:
        agree(resize(scale_factor=scale, mode=mode), shape)


@settings(max_examples=80)
@given(before=st.integers(1, 40), after=st.integers(1, 90))
def test_a_nearest_neighbour_is_the_sample_that_torch_picks(before, after):
    model = resize(size=(after, 1), mode="nearest")
    picked = model(torch.arange(before, dtype=torch.float32).view(1, 1, before, 1)).flatten()
    reads = recorded(capture(model, torch.empty(1, 1, before, 1)))["output"]["input"]
    assert reads.sum(axis=1).tolist() == [1] * after
    assert reads.argmax(axis=1).tolist() == picked.long().tolist()


@pytest.mark.parametrize("shape", [(1, 1, 40, 1), (2, 3, 40, 200), (1, 4, 40, 3)])
@pytest.mark.parametrize("scale", [1.01, 2.02])
def test_whichever_of_its_kernels_torch_takes_the_sample_counts(shape, scale):
    model = resize(scale_factor=(scale, 1), mode="nearest")
    picked = model(torch.arange(40.0).view(1, 1, 40, 1).expand(shape).contiguous())[0, 0, :, 0]
    (node,) = capture(model, torch.empty(shape)).nodes
    (step,) = node.reads[0][0].steps
    reads = step.coords[2].map
    assert all(int(sample) in reads(i) for i, sample in enumerate(picked))


@pytest.mark.parametrize(
    ("how", "period", "advance"),
    [
        ({"size": 448, "mode": "bilinear"}, 2, 1),
        ({"size": 112, "mode": "nearest"}, 1, 2),
        ({"size": 336, "mode": "nearest-exact"}, 3, 2),
        ({"scale_factor": 0.75, "mode": "bicubic"}, 3, 4),
        ({"size": 448, "mode": "bilinear", "align_corners": True}, 447, 223),
    ],
)
def test_a_rational_factor_has_a_closed_form(how, period, advance):
    (node,) = capture(resize(**how), torch.empty(1, 1, 224, 224)).nodes
    (step,) = node.reads[0][0].steps
    assert isinstance(step, Separable)
    assert isinstance(step.coords[3], Along)
    assert isinstance(step.coords[3].map, AxisMap)
    assert (step.coords[3].map.period, step.coords[3].map.advance) == (period, advance)
