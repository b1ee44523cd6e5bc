"""Arrays on disk: what is read is what was stored, what is written is what was given."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.errors import UsageError
from fieldwise.tile.files import BlockRows, NewFile, open_source, tiff
from fieldwise.tile.files.protocol import DamagedError
from fieldwise.tile.files.raw import RawArray
from tests.tile.jobs.cases import image

IMAGE = image(3, 300, 130)
CUT = (slice(0, 2), slice(60, 200), slice(5, 77))


def npy(path: Path, values: np.ndarray = IMAGE) -> Path:
    np.save(path / "a.npy", values)
    return path / "a.npy"


def fortran_npy(path: Path, values: np.ndarray = IMAGE) -> Path:
    np.save(path / "f.npy", np.asfortranarray(values))
    return path / "f.npy"


def big_endian_npy(path: Path, values: np.ndarray = IMAGE) -> Path:
    np.save(path / "b.npy", values.astype(">f4"))
    return path / "b.npy"


def mapped_tiff(path: Path, values: np.ndarray = IMAGE) -> Path:
    tifffile.imwrite(path / "a.tif", values, photometric="minisblack", metadata={"axes": "CYX"})
    return path / "a.tif"


def big_endian_tiff(path: Path, values: np.ndarray = IMAGE) -> Path:
    tifffile.imwrite(path / "a.tif", values, photometric="minisblack", byteorder=">")
    return path / "a.tif"


def tiled_tiff(path: Path, values: np.ndarray = IMAGE) -> Path:
    options = {"photometric": "minisblack", "compression": "zlib", "tile": (64, 64)}
    tifffile.imwrite(path / "t.tiff", values, **options)
    return path / "t.tiff"


def zarr_3(path: Path, values: np.ndarray = IMAGE) -> Path:
    zarr.create_array(str(path / "a.zarr"), data=values, chunks=(2, 64, 50), overwrite=True)
    return path / "a.zarr"


def zarr_2(path: Path, values: np.ndarray = IMAGE) -> Path:
    options = {"chunks": (1, 64, 130), "zarr_format": 2, "overwrite": True}
    zarr.create_array(str(path / "v.zarr"), data=values, **options)
    return path / "v.zarr"


def zarr_in_a_group(path: Path, values: np.ndarray = IMAGE) -> Path:
    zarr.open_group(str(path / "g.zarr"), mode="w").create_array("0", data=values)
    return path / "g.zarr"


STORED = [
    npy, fortran_npy, big_endian_npy, mapped_tiff, big_endian_tiff, tiled_tiff, zarr_3, zarr_2,
    zarr_in_a_group,
]  # fmt: skip


@pytest.mark.parametrize("store", STORED)
def test_a_stored_array_is_read_piece_by_piece(tmp_path, store):
    source = open_source(store(tmp_path))
    assert source.shape == IMAGE.shape
    np.testing.assert_array_equal(source[CUT], IMAGE[CUT])


@pytest.mark.parametrize("store", STORED)
def test_a_source_can_be_sent_to_another_process(tmp_path, store):
    source = pickle.loads(pickle.dumps(open_source(store(tmp_path))))
    np.testing.assert_array_equal(source[CUT], IMAGE[CUT])


@pytest.mark.parametrize("store", STORED)
def test_a_changed_array_has_another_identity_and_a_read_one_the_same(tmp_path, store):
    path = store(tmp_path)
    before = open_source(path).identity()
    open_source(path)[CUT]
    assert open_source(path).identity() == before
    changed = IMAGE.copy()
    changed[0, 150, 3] += 1
    assert open_source(store(tmp_path, changed)).identity() != before


class Chunked:
    """An array in memory that says it is stored in chunks, and notes what is fetched."""

    dtype, axes, chunks = IMAGE.dtype, None, (2, 64, 50)

    def __init__(self, values):
        self.values, self.shape, self.fetched = values, values.shape, []

    def __getitem__(self, index):
        self.fetched.append((index[1].start, index[1].stop))
        return self.values[index]

    def identity(self):
        return ""


@given(start=st.integers(0, 250), band=st.integers(1, 90))
def test_rows_of_chunks_give_the_rows_asked_for(start, band):
    rows = BlockRows(Chunked(IMAGE), 1)
    for lo in range(start, 300, band):
        index = (slice(0, 3), slice(lo, min(lo + band, 300)), slice(0, 130))
        np.testing.assert_array_equal(rows[index], IMAGE[index])


def test_bands_fetch_every_chunk_once():
    source = Chunked(IMAGE)
    rows = BlockRows(source, 1)
    for lo in range(0, 300, 10):
        rows[(slice(None), slice(lo, lo + 10), slice(None))]
    assert source.fetched == [(0, 64), (64, 128), (128, 192), (192, 256), (256, 320)]


# ------------------------------------------------------------------------------- writing

WRITTEN = [
    ("CHW", (3, 600, 130), "a.npy"),
    ("HWC", (600, 130, 3), "a.npy"),
    ("CHW", (3, 600, 130), "a.zarr"),
    ("HWC", (600, 130, 3), "inner/a.zarr/0"),
    ("NCDHW", (1, 2, 100, 40, 30), "a.zarr"),
    ("CL", (2, 70_000), "a.zarr"),
    ("CHW", (3, 600, 130), "a.tif"),
    ("HWC", (600, 300, 5), "a.tiff"),
    ("HWC", (600, 300, 1), "a.tiff"),
    ("HW", (600, 300), "a.ome.tif"),
    ("CDHW", (2, 3, 260, 130), "a.tif"),
]


def written(file: NewFile, values: np.ndarray, axis: int, *, times: int) -> None:
    """In bands of a few grains along one axis, the file reopened before each."""
    step = times * file.grain[axis]
    for lo in range(0, values.shape[axis], step):
        start = tuple(lo if a == axis else 0 for a in range(values.ndim))
        sink = file.create() if lo == 0 else file.reopen()
        sink.write(start, np.take(values, range(lo, min(lo + step, values.shape[axis])), axis))
        sink.flush()


@pytest.mark.parametrize(("axes", "shape", "name"), WRITTEN)
def test_what_is_written_in_bands_is_read_back(tmp_path, axes, shape, name):
    values = image(*shape)
    file = NewFile.of(tmp_path / name, shape, values.dtype, axes)
    written(file, values, int(np.argmax(shape)), times=200 if name.endswith("npy") else 1)
    assert read(file.path).dtype == values.dtype
    np.testing.assert_array_equal(read(file.path).reshape(shape), values)


@st.composite
def regions(draw):
    """The shape of an array, and a region of it."""
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    ends = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return tuple(shape), [slice(*pair) for pair in ends]


@given(case=regions(), fortran=st.booleans())
def test_a_region_of_a_raw_array_is_read_and_written_as_numpy_does(tmp_path_factory, case, fortran):
    shape, region = case
    path = tmp_path_factory.mktemp("raw") / "raw"
    values = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    path.write_bytes(b"head" + values.tobytes("F" if fortran else "C"))
    raw, handle = RawArray(shape, values.dtype, 4, fortran), os.open(path, os.O_RDWR)
    try:
        np.testing.assert_array_equal(raw.read(handle, region), values[tuple(region)])
        values[tuple(region)] *= -1
        raw.write(handle, [one.start for one in region], values[tuple(region)])
        whole = [slice(None)] * len(shape)
        np.testing.assert_array_equal(raw.read(handle, whole), values)
    finally:
        os.close(handle)
    assert path.read_bytes()[:4] == b"head"


@pytest.mark.parametrize(("axes", "shape", "name"), WRITTEN)
def test_what_was_written_is_read_back_by_the_sink_that_wrote_it(tmp_path, axes, shape, name):
    values = image(*shape)
    values[..., : shape[-1] // 2] = 0
    file = NewFile.of(tmp_path / name, shape, values.dtype, axes)
    written(file, values, int(np.argmax(shape)), times=200 if name.endswith("npy") else 1)
    for sink in (file.reopen(), file.reopen(writable=False)):
        np.testing.assert_array_equal(sink.read((0,) * len(shape), shape), values)
        assert sink.frame() == file.reopen().frame()


def test_a_result_is_written_where_it_was_made_whatever_its_name_means_by_then(tmp_path):
    for name in ("a.npy", "a.tif"):
        file = NewFile.of(tmp_path / name, (600, 300), np.dtype("f4"), "HW")
        late = file.create()
        written(file, image(600, 300), 0, times=1 if name.endswith("tif") else 600)
        late.write((0, 0), np.zeros((600, 300), "f4"))
        late.flush()
        np.testing.assert_array_equal(read(file.path), image(600, 300))


def test_a_missing_or_damaged_chunk_is_told_even_of_zeros(tmp_path):
    file = NewFile.of(tmp_path / "a.zarr", (600, 300), np.dtype("f4"), "HW")
    written(file, np.zeros((600, 300), "f4"), 0, times=1)
    chunk = file.path / "c" / "1" / "0"
    data = chunk.read_bytes()
    for damage in (data[:-1], bytes([data[0] ^ 1]) + data[1:], b"", None):
        if damage is None:
            chunk.unlink()
        else:
            chunk.write_bytes(damage)
        with pytest.raises(DamagedError, match=r"1/0' (cannot be read|is missing)"):
            file.reopen().read((0, 0), (600, 300))
        assert not file.reopen().read((0, 0), (512, 300)).any()


def test_a_result_cut_short_is_told(tmp_path):
    for name in ("a.npy", "a.tif"):
        file = NewFile.of(tmp_path / name, (600, 300), np.dtype("f4"), "HW")
        sink = file.create()
        os.truncate(file.path, file.path.stat().st_size - 8)
        with pytest.raises(DamagedError, match="the file ends"):
            sink.read((0, 0), (600, 300))


def test_the_frame_of_a_result_holds_all_that_is_no_element(tmp_path):
    for name, place in (("a.npy", 70), ("a.tif", 20)):
        file = NewFile.of(tmp_path / name, (600, 300), np.dtype("f4"), "HW")
        before = file.create().frame()
        written(file, image(600, 300), 0, times=1 if name.endswith("tif") else 600)
        assert file.reopen().frame() == before
        sink, data = file.reopen(), bytearray(file.path.read_bytes())
        data[place] ^= 1
        file.path.write_bytes(data)
        assert sink.frame() != before


def test_a_written_tiff_is_tiled_and_names_its_axes(tmp_path):
    file = NewFile.of(tmp_path / "a.tif", (3, 600, 300), np.dtype("f4"), "CHW")
    written(file, image(3, 600, 300), 1, times=1)
    with tifffile.TiffFile(file.path) as found:
        assert found.series[0].axes == "CYX"
        assert found.pages[0].tile == (256, 256)
        assert not found.is_bigtiff
    np.testing.assert_array_equal(tifffile.imread(file.path), image(3, 600, 300))


def test_a_large_tiff_is_a_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "_BIG", 1000)
    file = NewFile.of(tmp_path / "a.tif", (300, 300), np.dtype("f4"), "HW")
    written(file, image(300, 300), 0, times=1)
    assert tifffile.TiffFile(file.path).is_bigtiff
    np.testing.assert_array_equal(tifffile.imread(file.path), image(300, 300))


def test_a_written_zarr_is_of_version_3_and_names_its_dimensions(tmp_path):
    file = NewFile.of(tmp_path / "a.zarr", (600, 300), np.dtype("f4"), "HW")
    file.create()
    found = zarr.open_array(str(file.path))
    assert found.metadata.zarr_format == 3
    assert found.metadata.dimension_names == ("H", "W")


# ------------------------------------------------------------------------------- refusals


def read(path: Path) -> np.ndarray:
    source = open_source(path)
    return source[tuple(slice(None) for _ in source.shape)]


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read(path)
    return str(caught.value)


def test_pickled_objects_are_never_loaded(tmp_path):
    bomb = Bomb(tmp_path / "exploded")
    np.save(tmp_path / "a.npy", np.array([bomb, None]), allow_pickle=True)
    assert "cannot be read as npy" in refusal(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(pickle.dumps(bomb))
    assert "cannot be read as npy" in refusal(tmp_path / "b.npy")
    assert not (tmp_path / "exploded").exists()


class Bomb:
    """What is unpickled of it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "codecs",
    [
        {"compressor": {"id": "pickle"}},
        {"filters": [{"id": "delta", "dtype": "<f4"}, {"id": "pickle"}]},
        {"filters": [{"id": "pickle"}]},
    ],
)
def test_chunks_that_are_pickles_are_never_loaded(tmp_path, codecs):
    path = tmp_path / "a.zarr"
    options = {"zarr_format": 2, "chunks": (4,), "compressors": None}
    zarr.create_array(str(path), shape=(4,), dtype="f4", **options)
    about = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps({**about, **codecs}))
    (path / "0").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert "cannot be read as zarr" in refusal(path)
    assert not (tmp_path / "exploded").exists()


def test_an_array_is_replaced_even_after_a_kill_in_between(tmp_path):
    file = NewFile.of(tmp_path / "a.zarr", (600, 300), np.dtype("f4"), "HW")
    for left in (".a.zarr.new", ".a.zarr.old"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "zarr.json.1.partial").touch()
    written(file, image(600, 300), 0, times=1)
    written(file, image(600, 300, seed=1), 0, times=1)
    np.testing.assert_array_equal(read(file.path), image(600, 300, seed=1))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_what_a_kill_has_left_of_a_chunk_is_removed(tmp_path):
    file = NewFile.of(tmp_path / "a.zarr", (600, 300), np.dtype("f4"), "HW")
    written(file, image(600, 300), 0, times=1)
    (file.path / "c" / "0" / "0.1234.partial").touch()
    file.tidy()
    assert not list(file.path.rglob("*.partial"))
    np.testing.assert_array_equal(read(file.path), image(600, 300))


def test_complex_numbers_and_records_are_refused(tmp_path):
    for number, dtype in enumerate(["c8", "S3", [("a", "f4")], "M8[s]"]):
        path = tmp_path / f"{number}.npy"
        np.save(path, np.zeros((4, 4), dtype=dtype))
        assert "not real numbers" in refusal(path)


@pytest.mark.parametrize("store", STORED)
@settings(max_examples=15)
@given(cut=st.floats(0, 0.999))
def test_a_truncated_file_is_told_in_one_sentence(tmp_path_factory, store, cut):
    path = store(tmp_path_factory.mktemp("cut"))
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: int(cut * len(content))])
    assert "\n" not in refusal(path)


@pytest.mark.parametrize("store", [npy, fortran_npy, mapped_tiff])
def test_an_input_that_is_cut_short_or_gone_while_it_is_read_is_told(tmp_path, store):
    path = store(tmp_path)
    source = open_source(path)
    source[CUT]
    os.truncate(path, 60_000)
    for told in ("the file ends at byte", "No such file"):
        with pytest.raises(UsageError, match=f"cannot be read now .*{told}.* --overwrite"):
            source[CUT]
        path.unlink(missing_ok=True)


def test_other_suffixes_and_missing_files_are_told(tmp_path):
    with pytest.raises(UsageError, match=r"names no format; use \.npy, \.zarr"):
        NewFile.of(tmp_path / "a.doc", (4, 4), np.dtype("f4"), "HW")
    assert "There is no file" in refusal(tmp_path / "a.npy")


def test_a_group_of_several_arrays_names_them(tmp_path):
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    for name in ("0", "1"):
        group.create_array(name, data=IMAGE)
    told = refusal(tmp_path / "g.zarr")
    assert "name one of them" in told
    assert str(tmp_path / "g.zarr" / "1") in told


def test_a_folder_that_is_no_array_is_left_alone(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "precious").touch()
    file = NewFile.of(tmp_path / "a.zarr", (4,), np.dtype("f4"), "L")
    with pytest.raises(UsageError, match="left alone"):
        file.create()
    assert (tmp_path / "a.zarr" / "precious").exists()


def test_a_group_of_arrays_is_not_overwritten(tmp_path):
    zarr_in_a_group(tmp_path)
    with pytest.raises(UsageError, match="left alone"):
        NewFile.of(tmp_path / "g.zarr", (4,), np.dtype("f4"), "L").create()
    assert open_source(tmp_path / "g.zarr").shape == IMAGE.shape


def test_a_tiff_of_signals_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds images"):
        NewFile.of(tmp_path / "a.tif", (2, 100), np.dtype("f4"), "CL")


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    file = NewFile.of(tmp_path / "file" / "a.npy", (4,), np.dtype("f4"), "L")
    with pytest.raises(UsageError, match="Cannot write"):
        file.create()


def test_a_link_is_replaced_and_what_it_names_is_left_alone(tmp_path):
    written(NewFile.of(tmp_path / "b.zarr", (600, 300), np.dtype("f4"), "HW"), image(600, 300), 0,
            times=1)  # fmt: skip
    (tmp_path / "b.npy").write_text("precious")
    for name in ("a.zarr", "a.npy"):
        (tmp_path / name).symlink_to(tmp_path / name.replace("a", "b", 1))
        file = NewFile.of(tmp_path / name, (4,), np.dtype("f4"), "L")
        with pytest.raises(
            UsageError, match=r"not what this job has begun \(it is a symbolic link"
        ):
            file.reopen()
        file.create()
        assert not (tmp_path / name).is_symlink()
    np.testing.assert_array_equal(read(tmp_path / "b.zarr"), image(600, 300))
    assert (tmp_path / "b.npy").read_text() == "precious"


def test_a_result_with_another_name_is_read_but_not_written_to(tmp_path):
    file = NewFile.of(tmp_path / "a.npy", (4,), np.dtype("f4"), "L")
    file.create()
    (tmp_path / "b.npy").hardlink_to(file.path)
    with pytest.raises(UsageError, match="has another name too"):
        file.reopen()
    assert not file.reopen(writable=False).read((0,), (4,)).any()


def test_a_result_of_another_shape_is_not_reopened(tmp_path):
    NewFile.of(tmp_path / "a.npy", (4,), np.dtype("f4"), "L").create()
    with pytest.raises(UsageError, match="not what this job has begun"):
        NewFile.of(tmp_path / "a.npy", (5,), np.dtype("f4"), "L").reopen()
    with pytest.raises(UsageError, match="is gone"):
        NewFile.of(tmp_path / "b.npy", (5,), np.dtype("f4"), "L").reopen()


def test_an_image_of_one_column_is_not_written_as_tiff(tmp_path):
    with pytest.raises(UsageError, match=r"a single column .*; write zarr or \.npy"):
        NewFile.of(tmp_path / "a.tif", (3, 60, 1), np.dtype("f4"), "CHW", [None] * 3)
    shape = (3, 1, 60)
    file = NewFile.of(tmp_path / "a.tif", shape, np.dtype("f4"), "CHW", [None] * 3)
    assert tiff.create(file).offsets.shape == (3, 1, 1)
