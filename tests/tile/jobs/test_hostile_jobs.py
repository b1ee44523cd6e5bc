"""Whatever journals, checkpoints and weights hold: used, dropped, or told in a sentence."""

from __future__ import annotations

import hashlib
import io
import json
import random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fieldwise.capture.torch.weights import load_weights
from fieldwise.errors import FieldwiseError
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.fingerprint import Identity, environment
from fieldwise.tile.jobs.journal import Journal
from tests.tile.files.hostile import changed_bytes, changed_data

CASES = 300
HERE = environment(torch.device("cpu"))
IDENTITY = Identity("m", "c", "i", "p", {"--scale": "1.0"})


def told(error: FieldwiseError) -> None:
    said = str(error)
    assert said.isprintable(), said
    assert len(said) < 600, said
    assert said.endswith((".", "?")), said


def test_a_changed_journal_is_gone_on_with_or_refused(tmp_path):
    draw, refused, path = random.Random(5), 0, tmp_path / "out.npy.journal"
    with Journal.begin(path, IDENTITY, HERE):
        pass
    whole = path.read_bytes()
    for number in range(CASES):
        if number % 3:
            first, *rest = whole.splitlines()
            header = changed_data(draw, json.loads(first))
            path.write_bytes(b"\n".join([json.dumps(header).encode(), *rest, b""]))
        else:
            path.write_bytes(changed_bytes(draw, whole))
        try:
            Journal.go_on(path, IDENTITY, HERE).__exit__(None, None, None)
        except FieldwiseError as error:
            told(error)
            refused += 1
    assert refused > CASES / 3


def test_a_changed_checkpoint_is_taken_whole_or_not_at_all(tmp_path):
    draw, path = random.Random(5), tmp_path / "out.npy.journal.piece"
    kept = Checkpoint(path, "run", least=0.0)
    kept._write({"row": 3, "sums": [torch.arange(40.0)], "name": "x"})
    payload = path.read_bytes()[: -hashlib.sha256().digest_size]
    for number in range(CASES):
        changed = changed_bytes(draw, payload)
        digest = hashlib.sha256(changed if number % 2 else payload).digest()
        path.write_bytes(changed + digest)
        assert isinstance(kept.load(), (dict, type(None)))
    path.write_bytes(b"")
    assert kept.load() is None


def test_a_checkpoint_of_something_else_is_not_taken(tmp_path):
    kept = Checkpoint(tmp_path / "piece", "run")
    for other in ([1, 2, 3], 7, ("run",), {"a": 1}, [torch.zeros(2)], ("1 another", 2)):
        buffer = io.BytesIO()
        torch.save(other, buffer)
        content = buffer.getvalue()
        kept.path.write_bytes(content + hashlib.sha256(content).digest())
        assert kept.load() is None


def test_changed_weights_are_loaded_or_refused(tmp_path):
    draw, refused, path = random.Random(5), 0, tmp_path / "w.safetensors"
    model = nn.Conv1d(2, 3, 3)
    save_file(model.state_dict(), path)
    whole = path.read_bytes()
    for _ in range(CASES):
        path.write_bytes(changed_bytes(draw, whole))
        try:
            load_weights(model, path)
        except FieldwiseError as error:
            told(error)
            refused += 1
    assert refused > CASES / 3


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b"9" * 6000, b"[1]", b"null", b'{"a": 1}', b"\xff"]
)
def test_a_journal_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "out.npy.journal"
    path.write_bytes(text + b"\n")
    with pytest.raises(FieldwiseError) as caught:
        Journal.go_on(path, IDENTITY, HERE)
    told(caught.value)
