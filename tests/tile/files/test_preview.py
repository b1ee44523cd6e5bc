"""A picture of any image file: the values are those of the file, or stretched as it is said."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fieldwise.errors import UsageError
from fieldwise.tile.files.preview import preview

Image = pytest.importorskip("PIL.Image")

DRAW = np.random.default_rng(2)
BYTES = DRAW.integers(0, 255, (40, 30, 3), dtype=np.uint8)


def shown(path: Path) -> tuple[np.ndarray, str]:
    content, said = preview(path)
    return np.asarray(Image.open(io.BytesIO(content))), said


@pytest.mark.parametrize("values", [BYTES, BYTES[..., 0], BYTES.transpose(2, 0, 1)])
def test_bytes_are_shown_as_they_are(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    found, said = shown(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, BYTES if values.ndim == 3 else BYTES[..., 0])
    assert said == ""


def test_other_numbers_are_stretched_between_percentiles_and_that_is_said(tmp_path):
    values = DRAW.integers(0, 60_000, (7, 40, 30), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, metadata={"axes": "ZYX"}, ome=True)
    found, said = shown(tmp_path / "a.tif")
    low, high = np.percentile(values[0], (1, 99.8))
    wanted = ((values[0] - low) / (high - low)).clip(0, 1) * 255
    np.testing.assert_array_equal(found, wanted.round())
    assert said == f"{low:g} to {high:g} as black to white, percentiles 1 and 99.8"


def test_a_large_image_is_thinned_and_numbers_that_are_none_are_black(tmp_path):
    values = np.ones((5000, 6), np.float32)
    values[0, 0] = np.nan
    np.save(tmp_path / "a.npy", values)
    found, said = shown(tmp_path / "a.npy")
    assert found.shape == (1667, 2)
    assert found[0, 0] == 0
    assert said.startswith("one pixel in 3 x 3; 1 to 1 as black to white")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros(5), "is 5, which is no image."),
        (np.zeros((0, 5)), "is 0x5, which is no image."),
        (np.zeros((2, 3, 4, 5)), "is 2x3x4x5, which is no image."),
        (np.full((2, 2), np.nan), "holds no number that could be shown."),
    ],
)
def test_what_is_no_image_is_a_sentence(tmp_path, values, told):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(UsageError) as caught:
        preview(tmp_path / "a.npy")
    assert told in str(caught.value)


def test_an_image_that_is_too_large_for_a_page_is_not_read(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (20_000, 20_000)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 20_000 * 20_000 * 8)
    with pytest.raises(UsageError, match="too large for a page; show a smaller image"):
        preview(tmp_path / "a.npy")
