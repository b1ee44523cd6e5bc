"""Whatever a file holds, it is read, or refused in a sentence: never run, never a bare error."""

from __future__ import annotations

import json
import random
from math import prod
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
import zarr

from fieldwise.errors import FieldwiseError, UsageError
from fieldwise.tile.files import calibration_of, open_source, readings
from fieldwise.tile.interop.bioimageio import read_description
from tests.tile.files.hostile import ODD, changed_bytes, changed_data
from tests.tile.interop.test_bioimageio import description, modern

DATA = np.arange(3 * 40 * 50, dtype=np.float32).reshape(3, 40, 50)
CASES = 300


def outcome(read, path: Path) -> str:
    """'read', or 'refused' where that was said in a sentence or two; anything else is raised."""
    try:
        read(path)
    except FieldwiseError as error:
        said = str(error)
        assert said.isprintable(), said
        assert len(said) < 500, said
        assert said.endswith((".", "?")), said
        assert str(path) in said
        return "refused"
    return "read"


def read_array(path: Path) -> None:
    source = open_source(path)
    corner = tuple(min(size, 7) for size in source.shape)
    assert source[tuple(map(slice, corner))].shape == corner
    if prod(source.shape) < 1_000_000:
        assert source[tuple(map(slice, source.shape))].shape == source.shape
    assert source.identity() == source.identity()
    readings(source.shape, hint=source.axes)
    assert calibration_of(source, "TZCYX"[-len(source.shape) :]) is None or source.about


# ------------------------------------------------------------------ arrays


def npy(draw, folder: Path) -> Path:
    path = folder / "a.npy"
    np.save(path, np.asfortranarray(DATA) if draw.random() < 0.3 else DATA)
    path.write_bytes(changed_bytes(draw, path.read_bytes()))
    return path


def npy_header(draw, folder: Path) -> Path:
    header = {"descr": "<f4", "fortran_order": False, "shape": (3, 40, 50)}
    header[draw.choice(list(header))] = draw.choice(
        [*ODD, (-1, 5), (2**40, 2**40), (10**30,), (1.5,), (True,), (1,) * 70, "<c8", "<U3", "|V5"]
    )
    text = draw.choice([repr(header)] * 6 + ["{" * 5000, "[" * 90_000, "-" * 9000 + "1"])
    version, width = draw.choice([(1, 2), (2, 4), (3, 4), (9, 4)])
    length = min(len(text.encode()), 2 ** (8 * width) - 1).to_bytes(width, "little")
    path = folder / "a.npy"
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + DATA.tobytes())
    return path


TIFFS = (
    {},
    {"tile": (16, 16), "compression": "zlib"},
    {"bigtiff": True, "rowsperstrip": 7},
    {"ome": True, "metadata": {"axes": "ZYX"}},
    {"rowsperstrip": 7, "compression": "zlib", "predictor": 2},
)


def tiff(draw, folder: Path) -> Path:
    path = folder / "a.tif"
    options = draw.choice(TIFFS)
    pixels = DATA.astype(np.uint16) if "predictor" in options else DATA
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    path.write_bytes(changed_bytes(draw, path.read_bytes()))
    return path


def zarr_array(draw, folder: Path) -> Path:
    path = folder / f"{draw.getrandbits(64)}.zarr"
    version = draw.choice([2, 3])
    sharded = version == 3 and draw.random() < 0.3
    array = zarr.create_array(
        str(path), shape=DATA.shape, chunks=(1, 20, 25), dtype="f4", zarr_format=version,
        shards=DATA.shape if sharded else None,
    )  # fmt: skip
    array[:] = DATA
    about = path / (".zarray" if version == 2 else "zarr.json")
    if draw.random() < 0.7:
        about.write_text(json.dumps(changed_data(draw, json.loads(about.read_text()))))
    else:
        file = draw.choice(sorted(file for file in path.rglob("*") if file.is_file()))
        file.write_bytes(changed_bytes(draw, file.read_bytes()))
    return path


def nifti(draw, folder: Path) -> Path:
    nib, path = pytest.importorskip("nibabel"), folder / "a.nii"
    image = nib.Nifti1Image(DATA, np.diag([0.7, 1, 2, 1]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    path.write_bytes(changed_bytes(draw, path.read_bytes()))
    return path


def png(draw, folder: Path) -> Path:
    image, path = pytest.importorskip("PIL.Image"), folder / "a.png"
    image.fromarray(DATA[0].astype(np.uint8)).save(path)
    path.write_bytes(changed_bytes(draw, path.read_bytes()))
    return path


def npz(draw, folder: Path) -> Path:
    path = folder / "a.npz"
    np.savez_compressed(path, a=DATA)
    path.write_bytes(changed_bytes(draw, path.read_bytes()))
    return path


def rdf(draw, folder: Path) -> Path:
    path = folder / "rdf.yaml"
    data = draw.choice([modern(), description(16, 64, 16)])
    if draw.random() < 0.8:
        data = changed_data(draw, json.loads(json.dumps(data)))
        path.write_text(yaml.safe_dump(data))
    else:
        path.write_bytes(changed_bytes(draw, yaml.safe_dump(data).encode()))
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "read"),
    [
        (npy, read_array),
        (npy_header, read_array),
        (tiff, read_array),
        (nifti, read_array),
        (png, read_array),
        (npz, read_array),
        pytest.param(zarr_array, read_array, marks=pytest.mark.slow),
        (rdf, read_description),
    ],
)
def test_a_file_changed_at_random_is_read_or_refused_in_a_sentence(tmp_path, make, read):
    draw = random.Random(11)
    found = [outcome(read, make(draw, tmp_path)) for _ in range(CASES)]
    assert found.count("refused") > CASES / 6
    assert found.count("read") > (CASES / 20 if make is not npy_header else 0)


def test_a_chunk_that_would_fill_the_memory_is_not_read(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), shape=(8, 8), chunks=(8, 8), dtype="f4")[:] = 1
    about = json.loads((path / "zarr.json").read_text())
    about["shape"] = about["chunk_grid"]["configuration"]["chunk_shape"] = [50_000, 50_000]
    (path / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(UsageError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"{str(path)!r} is stored in chunks of 50000x50000, which are 10000000000 bytes and at "
        "most 536870912 can be read; write it in smaller ones."
    )


# ------------------------------------------------------------------ descriptions


def told(text: str, tmp_path: Path) -> str:
    path = tmp_path / "rdf.yaml"
    path.write_text(text)
    assert outcome(read_description, path) == "refused"
    with pytest.raises(UsageError) as caught:
        read_description(path)
    return str(caught.value)


def laughs() -> str:
    """Nine lists of nine, each of the list before: 387 million values if written out."""
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(["a0: &a0 lol", *lines, "inputs: *a9", "outputs: *a9"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000, "it is nested more than 32 levels deep"),
        ("a: " * 1 + "{b: " * 50 + "1" + "}" * 50, "it is nested more than 32 levels deep"),
        (laughs(), "it holds more than 50000 values"),
        ("inputs: &a [*a]", "a value lies within itself"),
        ("x: " + "9" * 6000, "a number has 6000 characters"),
        ("x: " + ":".join(["1"] * 6000), "a number has 11999 characters"),
        ("x: 2024-13-45", "month must be in 1..12"),
        ("x: !!bool maybe", "'maybe'"),
        ("x" * (1 << 21), "it is larger than 1048576 bytes"),
        ("x: \0", "special characters are not allowed"),
    ],
)
def test_yaml_that_is_too_much_or_none_is_told(tmp_path, text, sentence):
    assert sentence in told(text, tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scale": 0}, "the scale 0 is no positive number"),
        ({"scale": "1e999999999"}, "the scale '1e999999999' is no positive number"),
        ({"scale": float("nan")}, "the scale nan is no positive number"),
        ({"scale": -1}, "the scale -1 is no positive number"),
        ({"offset": "x"}, "the offset 'x' is no whole number"),
        ({"size": float("inf")}, "the size inf is no whole number"),
        ({"size": True}, "the size True is no whole number"),
        ({"size": 1 << 40}, "the size 1099511627776 is larger than 1048576"),
        ({"type": [[[[["x"]]]]]}, "unhashable type"),
        ({"type": "x" * 5000}, "..."),
    ],
)
def test_numbers_of_a_description_are_bounded(tmp_path, change, sentence):
    offset = {"offset": change.pop("offset")} if "offset" in change else {}
    data = modern(size={"size": {"tensor_id": "raw", "axis_id": "x", **offset}, **change})
    assert sentence in told(yaml.safe_dump(data), tmp_path)


def test_aliases_stand_for_what_they_name(tmp_path):
    path = tmp_path / "rdf.yaml"
    path.write_text(yaml.safe_dump(modern()))
    assert "&id001" in path.read_text()
    assert read_description(path).inputs[0][3].step == 16
