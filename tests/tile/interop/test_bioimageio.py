"""Declared halos and steps held against the network; the verdict, against blocks that are run."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile.errors import TileError
from fieldwise.tile.interop.bioimageio import AxisCheck, check_description, read_description
from fieldwise.tile.interop.bioimageio.description import described
from tests.field.networks import Chain, TransposedUNet
from tests.tile.crops.test_other_tools import network

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
        assert not check_description(model, described(description(one.good, 144, 48)))[0].wrong
        assert check_description(model, described(description(one.needed - 1, 144, 48)))[0].wrong


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
def test_a_file_that_is_no_description_is_one_sentence(text, told, tmp_path):
    (tmp_path / "rdf.yaml").write_text(text)
    with pytest.raises(UsageError, match=told) as error:
        read_description(tmp_path / "rdf.yaml")
    assert "\n" not in str(error.value)


def test_a_description_of_another_model_is_refused():
    found = description(8, 64, 16)
    found["outputs"] *= 2
    with pytest.raises(UsageError, match="2 outputs and the model 1"):
        check_description(network(Chain)[0], described(found))


# ------------------------------------------------------------------- what is written badly


def modern(**changes) -> dict:
    """A description of format 0.5, with changes to its axis y."""
    space = {"type": "space", "size": {"min": 64, "step": 16}}
    channels = {"type": "channel", "channel_names": ["r", "g", "b"]}
    entry = [{"type": "batch"}, channels, {**space, "id": "y"}, {**space, "id": "x"}]
    result = [
        {"type": "batch"},
        {"type": "channel", "channel_names": ["a"]},
        {"type": "space", "id": "y", "size": {"tensor_id": "raw", "axis_id": "y"}, "halo": 16},
        {"type": "space", "id": "x", "size": {"tensor_id": "raw", "axis_id": "x"}, "halo": 16},
    ]
    for which, change in changes.items():
        axes, place = (result, 2) if which == "halo" else (entry, {"channels": 1}.get(which, 2))
        axes[place] = {**axes[place], **change}
    return {"inputs": [{"id": "raw", "axes": entry}], "outputs": [{"id": "mask", "axes": result}]}


def test_a_size_that_refers_to_another_axis_is_that_one_scaled():
    found = described(
        modern(size={"size": {"tensor_id": "raw", "axis_id": "x", "offset": 4}, "scale": 0.5})
    )
    assert (found.inputs[0][2].least, found.inputs[0][2].step) == (132, 32)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"halo": {"halo": 6.5}}, "the halo 6.5 is no whole number"),
        ({"halo": {"halo": "lots"}}, "the halo 'lots' is no whole number"),
        ({"halo": {"halo": -3}}, "the halo of axis 'y' is -3"),
        ({"size": {"size": 0}}, "the size of axis 'y' is 0"),
        ({"size": {"size": {"min": 64, "step": -16}}}, "the step of axis 'y' is -16"),
        ({"size": {"type": "banana"}}, "an axis of type 'banana' is none of batch, channel"),
        ({"channels": {"channel_names": "#3"}}, "the channel names '#3' are no list"),
    ],
)
def test_numbers_that_make_no_sense_are_no_description(tmp_path, changes, told):
    (tmp_path / "rdf.yaml").write_text(yaml.safe_dump(modern(**changes)))
    with pytest.raises(UsageError, match="is no model description") as caught:
        read_description(tmp_path / "rdf.yaml")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shape": {"min": [1, 3, 64, 64]}}, "the step None is not one number for each of 4 axes"),
        ({"shape": [1, 3, 64]}, "the shape [1, 3, 64] is not one number for each of 4 axes"),
    ],
)
def test_so_are_lists_of_another_length_in_older_formats(tmp_path, change, told):
    data = description(16, 64, 16)
    data["inputs"][0] |= change
    (tmp_path / "rdf.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UsageError) as caught:
        read_description(tmp_path / "rdf.yaml")
    assert told in str(caught.value)
    del data["inputs"][0]["shape"]
    (tmp_path / "rdf.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UsageError, match="the input 'raw' has no shape"):
        read_description(tmp_path / "rdf.yaml")


def test_a_halo_that_leaves_nothing_of_the_least_blocks_is_wrong():
    model, _ = network(TransposedUNet)
    (check, _) = check_description(model, described(description(48, 96, 16)))
    assert check.wrong == ("the halo of 48 leaves nothing of the least blocks, which give 96",)


def test_a_least_size_on_which_the_model_fails_is_wrong():
    model, _ = network(Valid)
    (check, _) = check_description(model, described(description(0, 4, 8)))
    assert check.wrong == ("the model fails on the least size of 4",)
