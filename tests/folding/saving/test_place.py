"""Which files an OUT stands for, and what is said before anything is done."""

from __future__ import annotations

import pytest

from fieldwise.errors import UsageError
from fieldwise.folding.saving import place
from fieldwise.folding.saving.place import OutPlace


@pytest.mark.parametrize(
    ("out", "names"),
    [
        ("net.onnx", ["net.onnx"]),
        ("net.pt2", ["net.pt2"]),
        ("net.SafeTensors", ["net.SafeTensors"]),
        ("net", ["net.safetensors", "net.pt2"]),
        ("net.v2", ["net.v2.safetensors", "net.v2.pt2"]),
    ],
)
def test_the_suffix_decides(out, names):
    assert [path.name for path in OutPlace.of(out).files.values()] == names


@pytest.mark.parametrize("out", ["net.pt", "net.pth", "net.ckpt", "net.bin"])
def test_no_pickle_is_written(out):
    with pytest.raises(UsageError, match=r"would be a pickle.*write -o net\.safetensors"):
        OutPlace.of(out)


def test_a_name_is_needed():
    with pytest.raises(UsageError, match="names no file"):
        OutPlace.of("")


@pytest.mark.parametrize("taken", ["net.safetensors", "net.pt2"])
def test_nothing_is_replaced_without_a_word(tmp_path, taken):
    (tmp_path / taken).touch()
    out = OutPlace.of(tmp_path / "net")
    with pytest.raises(UsageError, match=rf"{taken}' is there already; .*--overwrite"):
        out.check(overwrite=False)
    out.check(overwrite=True)


def test_what_lies_beside_an_onnx_file_is_not_replaced_either(tmp_path):
    (tmp_path / "net.onnx.data").touch()
    with pytest.raises(UsageError, match="is there already"):
        OutPlace.of(tmp_path / "net.onnx").check(overwrite=False)


def test_a_folder_is_no_file_and_a_file_is_no_folder(tmp_path):
    (tmp_path / "net.pt2").mkdir()
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        OutPlace.of(tmp_path / "net.pt2").check(overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file, and no folder to write to"):
        OutPlace.of(tmp_path / "file" / "net.pt2").check(overwrite=False)


@pytest.mark.parametrize(
    ("out", "package"), [("net.onnx", "onnxscript"), ("net.safetensors", "safetensors")]
)
def test_a_missing_package_is_told_at_once(monkeypatch, tmp_path, out, package):
    monkeypatch.setattr(place, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(UsageError, match=f"needs {package}; install it with pip install 'fieldw"):
        OutPlace.of(tmp_path / out).check(overwrite=False)
