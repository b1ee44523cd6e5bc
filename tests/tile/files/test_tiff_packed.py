"""Compressed results: written in any order, read by others, whole after a crash."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr

from fieldwise.errors import UsageError
from fieldwise.tile.files import NewFile, open_source
from fieldwise.tile.files.protocol import DamagedError
from tests.tile.jobs.cases import image


def new(path, shape, axes, compression, side=64, dtype="f4"):
    return NewFile.of(path, shape, np.dtype(dtype), axes, compression=compression, side=side)


@pytest.mark.parametrize("compression", ["deflate", "lzw", "zstd"])
@pytest.mark.parametrize(
    ("name", "axes", "shape"),
    [("a.tif", "CHW", (3, 150, 70)), ("a.tif", "HWC", (150, 70, 4)), ("a.tif", "HW", (50, 40)),
     ("a.ome.tif", "CHW", (2, 150, 70)), ("a.tif", "CDHW", (2, 3, 60, 70))],
)  # fmt: skip
def test_tiles_are_written_in_any_order_and_more_than_once(
    tmp_path, compression, name, axes, shape
):
    file, values = new(tmp_path / name, shape, axes, compression), image(*shape)
    sink = file.create()
    frame, rows = sink.frame(), axes.index("H")
    np.testing.assert_array_equal(tifffile.imread(file.path), np.zeros(shape, np.float32))
    starts = list(range(0, shape[rows], 64))
    for lo in (*reversed(starts), *starts):
        place = [0] * len(shape)
        place[rows] = lo
        sink.write(place, values.take(range(lo, min(lo + 64, shape[rows])), rows))
    sink.flush()
    np.testing.assert_array_equal(tifffile.imread(file.path), values)
    again = file.reopen(writable=False)
    assert again.frame() == frame
    np.testing.assert_array_equal(again.read((0,) * len(shape), shape), values)
    source = open_source(file.path)
    np.testing.assert_array_equal(source[tuple(slice(0, n) for n in shape)], values)


def test_a_damaged_tile_is_told(tmp_path):
    file = new(tmp_path / "a.tif", (64, 64), "HW", "zstd")
    sink = file.create()
    sink.write((0, 0), image(64, 64))
    sink.flush()
    with file.path.open("r+b") as opened:
        opened.seek(-40, 2)
        opened.write(bytes(40))
    with pytest.raises(DamagedError, match="the tile at byte"):
        file.reopen(writable=False).read((0, 0), (64, 64))


def test_a_large_compressed_file_is_a_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr("fieldwise.tile.files.tiff._BIG", 1 << 16)
    file = new(tmp_path / "a.tif", (128, 128), "HW", "deflate")
    sink = file.create()
    sink.write((0, 0), image(128, 128))
    with tifffile.TiffFile(file.path) as tiff:
        assert tiff.is_bigtiff
    np.testing.assert_array_equal(tifffile.imread(file.path), image(128, 128))


@pytest.mark.parametrize(("compression", "codecs"), [
    ("zstd", ["bytes", "zstd", "crc32c"]), ("deflate", ["bytes", "gzip", "crc32c"]),
    ("none", ["bytes", "crc32c"]), (None, ["bytes", "zstd", "crc32c"]),
])  # fmt: skip
def test_chunks_of_zarr_are_compressed_as_asked(tmp_path, compression, codecs):
    sink = new(tmp_path / "a.zarr", (100, 90), "HW", compression, side=32).create()
    sink.write((0, 0), image(100, 90))
    array = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert [codec.to_dict()["name"] for codec in array.metadata.codecs] == codecs
    assert array.chunks == (32, 32)
    np.testing.assert_array_equal(open_source(tmp_path / "a.zarr")[0:100, 0:90], image(100, 90))


@pytest.mark.parametrize(
    ("name", "compression", "side", "said"),
    [
        ("a.npy", "zstd", None, "--compression is of .tif and .zarr; "),
        ("a.h5", None, 64, "--chunks is of .tif and .zarr; "),
        ("a.zarr", "lzw", None, "Zarr is written in zstd, deflate, none, not in lzw."),
        ("a.tif", None, 100, "multiples of 16; give --chunks 112 in place of 100."),
    ],
)
def test_what_a_format_does_not_have_is_told(tmp_path, name, compression, side, said):
    with pytest.raises(UsageError) as caught:
        new(tmp_path / name, (64, 64), "HW", compression, side)
    assert said in str(caught.value)
