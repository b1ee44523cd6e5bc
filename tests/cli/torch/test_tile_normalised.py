"""``fieldwise tile`` with --mean, --normalize and --percentiles: what the model sees."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from fieldwise.cli import app
from tests.cli.torch.tile_command import run, whole
from tests.tile.jobs.cases import enter

COLOURS = np.random.default_rng(0).integers(0, 255, (3, 64, 32), dtype=np.uint8)
UNET = ("job_nets:unet", "in.npy", "out.npy", "--layout", "CHW")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save("in.npy", COLOURS)


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32).reshape(-1, 1, 1)


def check(seen: np.ndarray) -> None:
    wanted = whole("unet", seen.astype(np.float32))[0].numpy()
    np.testing.assert_allclose(np.load("out.npy"), wanted, atol=1e-4)


def said_of(*args: object) -> str:
    result = CliRunner().invoke(app, ["tile", *map(str, args)])
    assert result.exit_code == 0, result.stderr
    return result.stderr


def test_channels_are_shifted_and_divided_after_the_scale():
    run(*UNET, "--scale", "1/255", "--mean", "0.5,0.4,0.3", "--std", "1/4,0.2,0.5")
    check((COLOURS / 255 - column(0.5, 0.4, 0.3)) / column(0.25, 0.2, 0.5))


def test_percentiles_of_the_whole_go_to_0_and_1():
    said = said_of(*UNET, "--percentiles", "2,97.5", "--band", 16)
    low, high = np.percentile(COLOURS, (2, 97.5), axis=(1, 2))
    check((COLOURS - column(*low)) / column(*(high - low)))
    assert f"percentiles 2 and 97.5 of the channels: {low[0]:g} to {high[0]:g};" in said


def test_the_models_own_config_says_how():
    pytest.importorskip("torchvision")
    said = said_of(
        "torchvision:fcn_resnet50", "in.npy", "out.npy", "--normalize", "model", "--plan"
    )
    assert "note: samples are divided by 255 first, the most that uint8 holds" in said
    assert "note: then 0.485, 0.456, 0.406 is subtracted and divided by 0.229, 0.224, 0.225" in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mean", "1"], "--mean and --std belong together; give both."),
        (["--mean", "1,2", "--std", "1"], "--mean has 2 numbers, and the input 3 channels"),
        (["--mean", "a", "--std", "1"], "--mean 'a' is no list of numbers; write 0.5,0.5,0.5."),
        (["--mean", "1", "--std", "0"], "--std holds a zero"),
        (["--mean", "1", "--std", "1", "--percentiles", "1,99"], "are three ways to normalise"),
        (["--percentiles", "99"], "is no pair of percentages; write for example 1,99.8."),
        (["--percentiles", "99,1"], "is no pair of percentages"),
        (["--normalize", "model"], "has no config that says a mean and a deviation"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, told):
    assert told in run(*UNET, *arguments, code=2)


def test_a_constant_channel_has_no_percentiles_apart():
    np.save("in.npy", np.full((3, 64, 32), 7, np.uint8))
    assert "is 7 at both percentiles" in run(*UNET, "--percentiles", "1,99", code=2)


def test_another_normalisation_is_another_job():
    run(*UNET, "--mean", "1", "--std", "2")
    said = run(*UNET, "--mean", "1", "--std", "3", "--resume", code=2)
    assert "The normalisation (--mean and --std, --normalize or --percentiles) has changed" in said
