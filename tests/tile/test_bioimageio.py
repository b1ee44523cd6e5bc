"""Declared halos and steps held against the network; the verdict, against blocks that are run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile.bioimageio import AxisCheck, check_description, read_description
from fieldwise.tile.bioimageio.description import described
from fieldwise.tile.plan import TileError
from tests.field.networks import Chain, TransposedUNet
from tests.tile.test_adapters import network

Array = np.ndarray


class Valid(nn.Sequential):
    """Convolutions that pad nothing: outputs are smaller than their blocks, and need no halo."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 5))


class Strided(nn.Sequential):
    """Half as many outputs as inputs."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 5, stride=2, padding=2), nn.Conv2d(4, 2, 3, padding=1))


class Doubled(nn.Sequential):
    """Twice as many."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 2, 4, 2, 1))


def description(halo: int, least: int, step: int) -> dict:
    sizes = {"min": [1, 3, least, least], "step": [0, 0, step, step]}
    return {
        "inputs": [{"name": "raw", "axes": "bcyx", "shape": sizes}],
        "outputs": [{"name": "mask", "axes": "bcyx", "halo": [0, 0, halo, halo]}],
    }


def seam(kind: type[nn.Module], halo: int, least: int, step: int, blocks: int) -> float:
    """The largest error of strips side by side, away from the image's own borders."""
    _, predict = network(kind)
    x = np.random.default_rng(0).normal(size=(1, 3, 320, 32))
    wanted, size = predict(x), least + blocks * step
    try:
        out = predict(x[..., :size, :]).shape[2]
    except RuntimeError:
        return float("inf")
    scale = {Chain: 0.25, Strided: 0.5, Doubled: 2}.get(kind, 1)
    keep = out - 2 * halo
    errors = [0.0]
    for number in range(1, 20):
        start = (number * keep - halo) / scale
        if start % 1:
            return float("inf")
        if 0 <= start <= 320 - size:
            found = predict(x[..., int(start) : int(start) + size, :])[..., halo : out - halo, :]
            stretch = wanted[..., number * keep : number * keep + keep, :]
            errors.append(np.abs(found - stretch).max())
    return max(errors)


CASES = [
    (Chain, 0, 64, 16), (Chain, 1, 64, 16), (Chain, 2, 64, 16), (Chain, 3, 62, 16),
    (TransposedUNet, 8, 96, 16), (TransposedUNet, 24, 96, 16), (TransposedUNet, 32, 96, 16),
    (TransposedUNet, 32, 96, 4), (TransposedUNet, 30, 96, 16), (TransposedUNet, 40, 96, 8),
    (Valid, 0, 40, 8), (Valid, 1, 40, 8), (Strided, 1, 40, 8), (Strided, 2, 40, 8),
    (Strided, 2, 40, 7), (Chain, 4, 64, 2), (Valid, 0, 41, 3),
    (Doubled, 1, 40, 8), (Doubled, 2, 40, 8), (Doubled, 4, 40, 8),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "halo", "least", "step"), CASES)
def test_blocks_have_seams_just_where_the_check_says_so(kind, halo, least, step):
    model, _ = network(kind)
    checks = check_description(model, described(description(halo, least, step)))
    assert len(checks) == 2
    worst = max(seam(kind, halo, least, step, blocks) for blocks in (0, 1, 2, 3))
    assert (worst > 1e-10) == bool(checks[0].wrong), (worst, checks)


def test_the_halo_it_proposes_is_the_least_that_has_no_seams():
    for kind in (Chain, TransposedUNet, Strided, Doubled):
        model, _ = network(kind)
        (one, _) = check_description(model, described(description(0, 96, 48)))
        assert one.wrong
        assert not check_description(model, described(description(one.good, 96, 48)))[0].wrong
        assert check_description(model, described(description(one.needed - 1, 96, 48)))[0].wrong


def test_axes_of_format_5_are_read_like_letters_of_format_4():
    new = {
        "inputs": [{"id": "raw", "axes": [
            {"type": "batch"},
            {"type": "channel", "id": "channel", "channel_names": ["r", "g", "b"]},
            {"type": "space", "id": "y", "size": {"min": 64, "step": 16}},
            {"type": "space", "id": "x", "size": {"min": 64, "step": 16}}]}],
        "outputs": [{"id": "mask", "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["mask"]},
            {"type": "space", "id": "y", "halo": 8,
             "size": {"tensor_id": "raw", "axis_id": "y", "offset": 0}},
            {"type": "space", "id": "x", "halo": 8,
             "size": {"tensor_id": "raw", "axis_id": "x"}}]}],
    }  # fmt: skip
    model, _ = network(Chain)
    old = check_description(model, described(description(8, 64, 16)))
    assert check_description(model, described(new)) == old
    assert isinstance(old[0], AxisCheck)


def test_a_layer_that_sees_the_whole_image_has_no_halo():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4))
    with pytest.raises(TileError, match="instance_norm"):
        check_description(model, described(description(8, 64, 16)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("inputs: [", "Cannot read"),
        ("name: x", "is no model description"),
        ("inputs: [{axes: bcyx, shape: [1, 3]}]\noutputs: []", "is no model description"),
        ("inputs: []\noutputs: []", "it has no inputs or no outputs"),
        ("!!python/object/apply:os.getcwd []", "Cannot read"),
    ],
)
def test_a_file_that_is_no_description_is_one_sentence(text: str, told: str, tmp_path: Path):
    (tmp_path / "rdf.yaml").write_text(text)
    with pytest.raises(UsageError, match=told) as error:
        read_description(tmp_path / "rdf.yaml")
    assert "\n" not in str(error.value)


def test_a_description_of_another_model_is_refused():
    found = description(8, 64, 16)
    found["outputs"] *= 2
    with pytest.raises(UsageError, match="2 outputs and the model 1"):
        check_description(network(Chain)[0], described(found))
