"""Values kept in files: found again as they were, or not at all."""

from __future__ import annotations

import pytest
import torch

from fieldwise.graph.ir import Value
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.jobs.kept import FileStore


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.complex64])
def test_what_is_kept_in_files_is_found_again_by_another_store(tmp_path, dtype):
    value = (torch.arange(24).reshape(2, 3, 4) % 5).to(dtype)
    store = FileStore(tmp_path / "kept")
    kind = Value("value", tuple(value.shape), str(dtype).rpartition(".")[2])
    store.begin("value", kind, AxisPlace(1))
    store.write("value", 0, value[:, :2])
    store.write("value", 2, value[:, 2:])
    store.put("scalar", value.sum() if dtype is not torch.bool else value.any())
    again = FileStore(tmp_path / "kept")
    assert again.adopt(store.manifest(["value", "scalar"]))
    assert torch.equal(again.values["value"], value)
    assert torch.equal(again.values["scalar"], store.values["scalar"])
    assert again.axes == store.axes
    again.keep(["value"])
    assert len(list((tmp_path / "kept").iterdir())) == 1
    again.keep([])
    assert not list((tmp_path / "kept").iterdir())


SPOILT = {
    "gone": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(b"x"),
    "changed": lambda path: path.write_bytes(path.read_bytes()[::-1]),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_of_a_spoilt_folder_nothing_is_taken_over(tmp_path, spoil):
    store = FileStore(tmp_path / "kept")
    for name in ("one", "other"):
        store.put(name, torch.arange(6.0))
    manifest = store.manifest(["one", "other"])
    spoil(tmp_path / "kept" / store.manifest(["other"])["other"][0])
    again = FileStore(tmp_path / "kept")
    assert not again.adopt(manifest)
    assert not again.values
    assert not (tmp_path / "kept").exists()
