"""Formats of ``fieldwise[files]``: what is read is what their own libraries read."""

from __future__ import annotations

import pickle
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fieldwise.errors import UsageError
from fieldwise.tile.files import NewFile, open_source
from fieldwise.tile.files.calibration import Calibration, SampleStep

h5py, nib, sf = (pytest.importorskip(name) for name in ("h5py", "nibabel", "soundfile"))
Image = pytest.importorskip("PIL.Image")

DRAW = np.random.default_rng(4)
COLOURS = DRAW.integers(0, 255, (40, 30, 3), dtype=np.uint8)
VOLUME = DRAW.normal(size=(20, 30, 9)).astype(np.float32)
CUT = (slice(3, 15), slice(2, 22), slice(0, 3))


def picture(path: Path, suffix: str, **options: object) -> Path:
    Image.fromarray(COLOURS).save(path / f"a{suffix}", **options)
    return path / f"a{suffix}"


def nifti(path: Path, name: str = "a.nii", kind: type = nib.Nifti1Image) -> Path:
    nib.save(kind(VOLUME, np.eye(4)), path / name)
    return path / name


def hdf5(path: Path, **options: object) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("entry/data", data=VOLUME, **options)
        file.create_dataset("entry/other", data=COLOURS)
    return Path(f"{path / 'a.h5'}:/entry/data")


def npz(path: Path) -> Path:
    np.savez_compressed(path / "a.npz", volume=VOLUME, other=np.asfortranarray(COLOURS))
    return Path(f"{path / 'a.npz'}:volume")


def bare(path: Path, dtype: str = "<f4", head: bytes = b"") -> Path:
    (path / "a.raw").write_bytes(head + VOLUME.astype(dtype).tobytes())
    return Path(f"{path / 'a.raw'}:{dtype}:20x30x9{f':{len(head)}' if head else ''}")


STORED = {
    "png": (lambda path: picture(path, ".png"), COLOURS),
    "bmp": (lambda path: picture(path, ".bmp"), COLOURS),
    "webp": (lambda path: picture(path, ".webp", lossless=True), COLOURS),
    "nii": (nifti, VOLUME),
    "nii.gz": (lambda path: nifti(path, "a.nii.gz"), VOLUME),
    "nifti 2": (lambda path: nifti(path, kind=nib.Nifti2Image), VOLUME),
    "h5": (hdf5, VOLUME),
    "h5 in chunks": (lambda path: hdf5(path, chunks=(8, 8, 8), compression="gzip"), VOLUME),
    "npz": (npz, VOLUME),
    "npz in Fortran's order": (lambda path: Path(f"{npz(path)}"[:-6] + "other"), COLOURS),
    "bare": (bare, VOLUME),
    "bare, big-endian, behind a header": (lambda path: bare(path, ">f8", b"head"), VOLUME),
}


@pytest.mark.parametrize("name", STORED)
def test_an_array_is_read_piece_by_piece_here_and_elsewhere(tmp_path, name):
    store, values = STORED[name]
    source = open_source(store(tmp_path))
    assert source.shape == values.shape
    for one in (source, pickle.loads(pickle.dumps(source))):
        np.testing.assert_array_equal(one[CUT], values[CUT])
    assert source.identity() == open_source(source.path).identity()


def test_a_lossy_picture_is_what_pillow_decodes(tmp_path):
    path = picture(tmp_path, ".jpg")
    source = open_source(path)
    assert source.axes == "YXC"
    assert source.chunks == (40, 30, 3)
    np.testing.assert_array_equal(source[CUT], np.asarray(Image.open(path))[CUT])


@pytest.mark.parametrize(
    ("mode", "dtype", "shape"),
    [("L", "uint8", (40, 30)), ("RGBA", "uint8", (40, 30, 4)), ("LA", "uint8", (40, 30, 2)),
     ("1", "bool", (40, 30)), ("I;16", "uint16", (40, 30))],
)  # fmt: skip
def test_pictures_have_channels_where_their_mode_has(tmp_path, mode, dtype, shape):
    Image.fromarray(COLOURS).convert("L").convert(mode).save(tmp_path / "a.png")
    source = open_source(tmp_path / "a.png")
    assert (source.shape, source.dtype) == (shape, np.dtype(dtype))
    assert source[(slice(0, 4),) * len(shape)].shape == (4, 4, *shape[2:])


def test_what_is_not_as_it_looks_is_said(tmp_path):
    Image.fromarray(COLOURS).quantize(16).save(tmp_path / "p.png")
    source = open_source(tmp_path / "p.png")
    assert source.shape == (40, 30, 3)
    assert source.note.endswith("has a palette, and its colours are read")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(COLOURS).save(tmp_path / "t.jpg", exif=turned)
    assert "turned or mirrored, and is read as it is stored" in open_source(tmp_path / "t.jpg").note


def test_a_volume_with_a_slope_is_read_scaled(tmp_path):
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, tmp_path / name)
        source = open_source(tmp_path / name)
        assert source.dtype == np.float64
        wanted = nib.load(tmp_path / name).get_fdata()
        np.testing.assert_array_equal(source[(slice(1, 3), slice(0, 4), slice(2, 5))],
                                      wanted[1:3, :, 2:5])  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_recording_is_samples_from_minus_one_to_one(tmp_path, suffix, channels):
    path, samples = tmp_path / f"a{suffix}", DRAW.uniform(-0.9, 0.9, (900, channels))
    sf.write(path, samples, 16_000)
    source, wanted = open_source(path), sf.read(path, dtype="float32", always_2d=True)[0]
    assert source.axes == ("L" if channels == 1 else "LC")
    found = source[(slice(100, 400), slice(0, 2))[: len(source.shape)]]
    np.testing.assert_array_equal(found.reshape(300, channels), wanted[100:400])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axes", ["L", "CL", "LC"])
def test_a_wav_file_holds_any_signal_of_floats_and_its_rate(tmp_path, axes, dtype):
    shape = tuple({"L": 300, "C": 2}[letter] for letter in axes)
    values = (DRAW.normal(size=shape) * 9).astype(dtype)
    about = Calibration({"X": SampleStep(Fraction(1, 44_100), "second")})
    file = NewFile.of(tmp_path / "a.wav", shape, values.dtype, axes).saying(about)
    assert file.lost == ()
    file.create().write((0,) * len(shape), values)
    assert not file.path.exists(), "it waits beside the file"
    file.finish()
    again = file.reopen(writable=False).read((0,) * len(shape), shape)
    np.testing.assert_array_equal(again, values)
    found, rate = sf.read(file.path, dtype=dtype)
    assert rate == 44_100
    np.testing.assert_array_equal(found, values.T if axes == "CL" else values)
    assert open_source(file.path).about.steps["X"].size == Fraction(1, 44_100)


def test_a_wav_file_does_not_say_when_it_was_written(tmp_path):
    values = DRAW.normal(size=50).astype("float32")
    written = []
    for name in ("a.wav", "b.wav"):
        file = NewFile.of(tmp_path / name, (50,), values.dtype, "L")
        file.create().write((0,), values)
        file.finish()
        written.append(file.path.read_bytes())
        time.sleep(1.1)  # libsndfile counts seconds
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("shape", "axes", "dtype", "said"),
    [
        ((40, 50), "YX", "float32", "one signal of at most 1024 channels, not 40x50"),
        ((2, 50), "CL", "uint8", "holds float32 or float64 here, not uint8"),
    ],
)
def test_what_is_no_signal_of_floats_is_no_wav_file(tmp_path, shape, axes, dtype, said):
    with pytest.raises(UsageError, match=said):
        NewFile.of(tmp_path / "a.wav", shape, np.dtype(dtype), axes)


def test_a_rate_that_is_no_whole_number_is_said_to_be_lost(tmp_path):
    about = Calibration({"X": SampleStep(Fraction(3, 44_101), "second")})
    file = NewFile.of(tmp_path / "a.wav", (9,), np.dtype("float32"), "L").saying(about)
    assert file.about is None
    assert "a WAV file has a rate alone" in file.lost[0]
    assert file.lost[1:] == (NO_RATE,)


NO_RATE = "rate: none is known in whole samples per second, so 16000 are written"


def test_a_wav_file_of_samples_without_a_rate_says_which_it_gets(tmp_path):
    file = NewFile.of(tmp_path / "a.wav", (9,), np.dtype("float32"), "L")
    assert file.lost == file.saying(Calibration()).lost == (NO_RATE,)
    file.create().write((0,), np.zeros(9, "float32"))
    file.finish()
    assert sf.info(file.path).samplerate == 16_000


def test_the_axis_of_a_signal_may_be_called_time(tmp_path):
    about = Calibration({"T": SampleStep(Fraction(1, 8000), "second")})
    file = NewFile.of(tmp_path / "a.wav", (9,), np.dtype("float32"), "T").saying(about)
    assert (file.about.steps, file.lost) == (about.steps, ())


def refusal(path: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        open_source(Path(path))[CUT]
    return str(caught.value)


def test_an_array_that_is_not_in_the_file_is_told_with_those_that_are(tmp_path):
    file = str(hdf5(tmp_path)).split(":")[0]
    told = f"names no array of the file; name one of them: {file}:/entry/data, {file}:/entry/other."
    assert told in refusal(file)
    assert told in refusal(f"{file}:/entry")
    file = str(npz(tmp_path)).split(":")[0]
    told = f"names no array of the file; name one of them: {file}:volume, {file}:other."
    assert told in refusal(file)
    assert told in refusal(f"{file}:nothing")


def test_bare_numbers_fill_their_file(tmp_path):
    bare(tmp_path)
    file = tmp_path / "a.raw"
    assert f"{str(file)!r} has 21600 bytes, and 20x30 of uint16 are 1200" in refusal(
        f"{file}:uint16:20x30"
    )
    said = "does not say what its numbers are; write for example a.raw:uint16:1024x1024"
    assert said in refusal(file)
    assert said in refusal(f"{file}:colours:20x30")
    assert "not real numbers" in refusal(f"{file}:complex64:20x30x9")


def test_values_in_other_files_are_not_followed(tmp_path):
    hdf5(tmp_path)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["link"] = h5py.ExternalLink("a.h5", "entry/data")
        layout = h5py.VirtualLayout((20, 30, 9), "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "a.h5", "entry/data", (20, 30, 9))
        file.create_virtual_dataset("made", layout)
    for name in ("link", "made"):
        assert "lie in other files" in refusal(f"{tmp_path / 'v.h5'}:/{name}")


def test_pickled_objects_of_an_archive_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", bad=np.array([{}], dtype=object))
    assert "not real numbers" in refusal(tmp_path / "a.npz")


# ------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("name", "axes", "shape", "dtype"),
    [
        ("a.nii", "DHWC", (9, 20, 30, 2), "f4"),
        ("a.nii", "HW", (40_000, 3), "u1"),
        ("a.h5", "CHW", (3, 60, 50), "f4"),
        ("a.hdf5", "NL", (2, 500), "f8"),
    ],
)
def test_what_is_written_in_bands_is_read_back(tmp_path, name, axes, shape, dtype):
    values = DRAW.integers(0, 200, shape).astype(dtype)
    sink = NewFile.of(tmp_path / name, shape, np.dtype(dtype), axes).create()
    before = sink.frame()
    for at in range(0, shape[0], 7):
        sink.write((at, *[0] * (len(shape) - 1)), values[at : at + 7])
    sink.flush()
    assert sink.frame() == before
    index = tuple(slice(0, n) for n in shape)
    np.testing.assert_array_equal(open_source(tmp_path / name)[index], values)
    np.testing.assert_array_equal(sink.read((0,) * len(shape), shape), values)


def test_written_files_are_what_their_own_libraries_read(tmp_path):
    for name in ("a.nii", "a.h5"):
        sink = NewFile.of(tmp_path / name, VOLUME.shape, VOLUME.dtype, "DHW").create()
        sink.write((0, 0, 0), VOLUME)
        sink.flush()
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii").get_fdata(), VOLUME)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["data"][:], VOLUME)
        assert [dim.label for dim in file["data"].dims] == list("DHW")


@pytest.mark.parametrize(
    ("axes", "shape", "dtype"),
    [("HW", (40, 30), "u1"), ("HW", (40, 30), "u2"), ("CHW", (3, 40, 30), "u1"),
     ("CHW", (1, 40, 30), "u2"), ("HWC", (40, 30, 4), "u1")],
)  # fmt: skip
def test_a_picture_is_there_once_it_is_whole(tmp_path, axes, shape, dtype):
    values = DRAW.integers(0, 250, shape).astype(dtype)
    file = NewFile.of(tmp_path / "a.png", shape, np.dtype(dtype), axes)
    sink = file.create()
    frame = sink.frame()
    sink.write((0,) * len(shape), values)
    sink.flush()
    assert not (tmp_path / "a.png").exists()
    assert file.exists
    again = file.reopen(writable=True)
    np.testing.assert_array_equal(again.read((0,) * len(shape), shape), values)
    file.finish()
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]
    done = file.reopen(writable=False)
    assert done.frame() == frame
    np.testing.assert_array_equal(done.read((0,) * len(shape), shape), values)
    with pytest.raises(UsageError, match="is written as a whole and damaged"):
        file.reopen(writable=True)


@pytest.mark.parametrize(
    ("name", "axes", "shape", "dtype", "said"),
    [
        ("a.png", "HW", (4, 4), "f4", "holds uint8 or uint16 here, not float32; give --out-dtype"),
        ("a.png", "CHW", (3, 4, 4), "u2", "holds uint8 here, not uint16"),
        ("a.png", "CHW", (7, 4, 4), "u1", "1, 3 or 4 channels, not 7x4x4 (CHW); write .tif"),
        ("a.png", "L", (4,), "u1", "1, 3 or 4 channels, not 4 (L)"),
    ],
)
def test_what_a_picture_does_not_hold_is_told(tmp_path, name, axes, shape, dtype, said):
    with pytest.raises(UsageError) as caught:
        NewFile.of(tmp_path / name, shape, np.dtype(dtype), axes)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_volume_that_is_cut_short_is_refused_in_one_line(tmp_path, name):
    path = nifti(tmp_path, name)
    path.write_bytes(path.read_bytes()[:400])
    told = refusal(path)
    assert told.startswith(repr(str(path)))
    assert told.isprintable()
