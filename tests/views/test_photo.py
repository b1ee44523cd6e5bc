"""Photos below a drawing: of 8 and of 16 bits, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fieldwise.errors import UsageError
from fieldwise.views.photo import photo_of

GREY = np.add.outer(np.arange(8), np.arange(8)).astype(np.uint8) * 17


def test_a_photo_of_16_bits_is_that_of_8(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "eight.png")
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    eight, sixteen = (photo_of(tmp_path / f"{name}.png", (8, 8)) for name in ("eight", "sixteen"))
    np.testing.assert_allclose(eight, sixteen, atol=1e-6)
    np.testing.assert_allclose(eight, np.repeat(GREY[..., None] / 255, 3, 2), atol=1e-6)


def test_a_picture_of_numbers_without_a_range_is_refused(tmp_path):
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UsageError, match="its numbers have no range that is known"):
        photo_of(tmp_path / "a.tif", (8, 8))
