"""Pictures as inputs: 8 and 16 bits are the same picture, and what has no range is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fieldwise.effective.inputs import pictures
from fieldwise.errors import UsageError

GREY = np.add.outer(np.arange(8), np.arange(8)).astype(np.uint8) * 17


def read(folder, channels=1):
    plain = ((0.0,) * channels, (1.0,) * channels)
    return pictures(folder, (1, channels, 8, 8), plain)[0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_picture_of_16_bits_is_that_of_8(tmp_path, suffix, channels):
    for name, values in (("eight", GREY), ("sixteen", GREY.astype(np.uint16) * 257)):
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(tmp_path / name / f"a{suffix}")
    eight, sixteen = (read(tmp_path / name, channels) for name in ("eight", "sixteen"))
    assert eight.shape == sixteen.shape == (1, channels, 8, 8)
    assert torch.allclose(eight, sixteen, atol=1e-6)
    assert torch.allclose(eight[0, 0], torch.from_numpy(GREY / 255).float())


def test_numbers_of_no_range_are_refused(tmp_path):
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match=r"holds numbers of no range that is known; give \.npy"):
        read(tmp_path)
