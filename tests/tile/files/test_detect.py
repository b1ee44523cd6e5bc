"""What a file is, by its first bytes, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fieldwise.errors import UsageError
from fieldwise.tile.files import open_source
from fieldwise.tile.files.detect import FORMATS, format_to_write, split_name

IMAGE = np.arange(48 * 32, dtype=np.uint16).reshape(48, 32)
ALL = (slice(None), slice(None))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("suffix", [".svs", ".btf", ".tf8", ".gtiff", ".qptiff", ".scn", ""])
def test_a_tiff_file_is_one_under_any_suffix(tmp_path, suffix, big):
    path = tmp_path / f"slide{suffix}"
    with path.open("wb") as file:
        tifffile.imwrite(file, IMAGE, bigtiff=big, byteorder=">" if big else "<")
    source = open_source(path)
    assert source.note is None
    assert (source[ALL] == IMAGE).all()


def test_a_file_under_the_suffix_of_another_format_is_read_with_a_word(tmp_path):
    path = tmp_path / "a.npy"
    tifffile.imwrite(tmp_path / "a.tif", IMAGE)
    (tmp_path / "a.tif").rename(path)
    source = open_source(path)
    assert (source[ALL] == IMAGE).all()
    assert source.note == f"{str(path)!r} is named .npy and holds tiff, as which it is read"


def test_a_file_that_is_nothing_known_is_told(tmp_path):
    path = tmp_path / "a.dm4"
    path.write_bytes(b"what is this?")
    with pytest.raises(UsageError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"{str(path)!r} begins like no format that is read, and its suffix names none; bare "
        "numbers are read as a.dm4:uint16:1024x1024."
    )


def test_a_colon_names_what_is_within_a_file(tmp_path):
    file = tmp_path / "a:b.h5"
    file.touch()
    assert split_name(file) == (file, "")
    assert split_name(Path(f"{file}:/entry/data")) == (file, "/entry/data")
    assert split_name(tmp_path / "gone.h5:/x") == (tmp_path / "gone.h5:/x", "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.jpg", "what is read from it is not what was computed; write .png or .tif"),
        ("a.nii.gz", "it is compressed as a whole, and results are written piece by piece; write"),
        ("a.npz", "compressed as a whole, and results are written piece by piece; write .npy"),
        ("a.flac", "it holds samples from -1 to 1, and results may lie beyond; write .wav"),
        ("a.raw", "nothing in it says what it holds; write .npy"),
    ],
)
def test_a_format_that_is_only_read_says_why(name, reason):
    with pytest.raises(UsageError) as caught:
        format_to_write(Path(name))
    assert reason in str(caught.value)


def test_every_suffix_names_one_format():
    suffixes = [suffix for one in FORMATS for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize(
    ("head", "module"),
    [(b"\x89PNG\r\n\x1a\n", "PIL"), (b"\x89HDF\r\n\x1a\n", "h5py"), (b"fLaC", "soundfile"),
     (bytes(344) + b"n+1\0", "nibabel")],
)  # fmt: skip
def test_a_package_that_is_missing_is_named_with_what_installs_it(
    tmp_path, monkeypatch, head, module
):
    import sys

    path = tmp_path / "a.file"
    path.write_bytes(head)
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("picture", "png", "hdf5", "sound", "nifti"):
        monkeypatch.delitem(sys.modules, f"fieldwise.tile.files.{name}", raising=False)
    with pytest.raises(UsageError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"{str(path)!r} needs {module}; install it with pip install 'fieldwise[files]'."
    )
