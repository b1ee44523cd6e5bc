"""Mutated exported programs: each is answered or refused in a sentence, and nothing happens.

What may not happen is watched by an audit hook: no file is opened for writing, no process started,
nothing compiled or executed, and no module imported that a correct program does not need.
"""

from __future__ import annotations

import io
import json
import math
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest

from fieldwise import receptive_fields
from fieldwise.capture import load_model
from fieldwise.errors import CaptureError, UsageError
from tests.capture.torch.exported_cases import (
    GRAPH,
    WEIGHTS,
    leaves,
    members,
    rewritten,
    write_program,
)

CASES = 500
_WATCHED = (
    "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.remove", "os.rename",
    "os.mkdir", "socket.connect", "ctypes.dlopen", "pickle.find_class",
)  # fmt: skip
_KNOWN = {"fieldwise", "torch", "numpy", *sys.stdlib_module_names}
_seen: list[str] | None = None


def _audit(event, args):
    if _seen is None:
        return
    if event == "open":
        path, mode, flags = args
        if (mode and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & 3):
            _seen.append(f"open {path!r} {mode}")
    elif event == "import" and args[0].split(".")[0] not in _KNOWN:
        _seen.append(f"import {args[0]}")
    elif event in _WATCHED or (event in ("compile", "exec") and not Path(_file(args)).is_file()):
        _seen.append(f"{event} {args!r}"[:120])


def _file(args):
    """The file that code is from, where it is from one: modules are compiled and executed too."""
    return getattr(args[0], "co_filename", None) or str(args[-1])


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[list[str]]:
    """What happens inside that should not."""
    global _seen
    _seen = found = []
    try:
        yield found
    finally:
        _seen = None


def outcome(path: Path) -> str:
    """'answered', or the kind of refusal; anything else that is raised fails the test."""
    said = _said(path)
    if said is None:
        return "answered"
    text = str(said)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 1000
    return type(said).__name__


def _said(path: Path) -> Exception | None:
    try:
        model = load_model(str(path))
        receptive_fields(model.source, model.example())
    except (UsageError, CaptureError) as error:
        return error
    return None


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = write_program(tmp_path_factory.mktemp("fuzz") / "net.pt2")
    assert outcome(path) == "answered"
    return path


def test_the_watch_sees_what_it_should(tmp_path):
    with watched() as seen:
        (tmp_path / "written").write_text("")
        compile("1", "none", "eval")
    assert [what.split()[0] for what in seen] == ["open", "compile"]


# -------------------------------------------------------------------- archives


def mutated_archive(program: Path, seed: int) -> bytes:
    """The archive with bytes flipped, cut, doubled, or members changed for each other."""
    draw = random.Random(seed)
    data = bytearray(program.read_bytes())
    kind = draw.choice(("flip", "flip header", "cut", "insert", "swap", "zero", "member"))
    if kind == "flip":
        for _ in range(draw.randint(1, 20)):
            data[draw.randrange(len(data))] = draw.randrange(256)
    elif kind == "flip header":
        marks = [at for mark in (b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04", b"PK\x06\x06")
                 for at in _places(data, mark)]  # fmt: skip
        for _ in range(draw.randint(1, 4)):
            at = draw.choice(marks) + draw.randint(4, 45)
            data[min(at, len(data) - 1)] = draw.choice((0, 1, 8, 127, 255, draw.randrange(256)))
    elif kind == "cut":
        data = data[: draw.randrange(len(data))]
    elif kind == "insert":
        at = draw.randrange(len(data))
        data[at:at] = draw.randbytes(draw.randint(1, 64))
    elif kind == "zero":
        at = draw.randrange(len(data))
        data[at : at + draw.randint(1, 400)] = bytes(min(400, len(data) - at))
    else:
        return _mutated_members(program, draw, swap=kind == "swap")
    return bytes(data)


def _mutated_members(program: Path, draw: random.Random, *, swap: bool) -> bytes:
    content = members(program)
    one, other = draw.sample(sorted(content), 2)
    if swap:
        content[one], content[other] = content[other], content[one]
    else:
        changed = bytearray(content[one] or b"x")
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        content[one] = bytes(changed)
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _places(data: bytes, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def check_archives(program: Path, folder: Path, seeds: range) -> dict[str, int]:
    """How many are answered and refused."""
    counts: dict[str, int] = {}
    path = folder / "net.pt2"
    for seed in seeds:
        path.write_bytes(mutated_archive(program, seed))
        with watched() as seen:
            kind = outcome(path)
        assert not seen, (seed, seen)
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def test_500_mutated_archives_are_answered_or_refused(program, tmp_path):
    counts = check_archives(program, tmp_path, range(CASES))
    assert sum(counts.values()) == CASES
    assert min(counts["UsageError"], counts["answered"]) > CASES / 10


# -------------------------------------------------------------------- leaves


HOSTILE = (
    -1, 0, 1, 2, 7, 10**6, 2**31, 2**40, 2**63 - 1, 2**63, -(2**63), 10**30, 1.5, 1e308, math.nan,
    math.inf, None, True, False, "", "x", "x" * 5000, "\x00", "__class__", "../../etc/passwd",
    "S('eval')(S('chr')(112))", "__import__('os').system('touch canary')", "9**9**9**9", "Infinity",
    "torch.ops.aten.from_file.default", "torch.ops.aten.set_.source_Tensor", "torch.hub.load",
    "torch.ops.aten.relu.default", "torch.ops.aten.expand.default", "_operator.pow", "conv2d",
    "x_1", [], [1], [[[]]], {}, {"as_int": 10**12}, {"as_tensor": {"name": "x"}}, {"as_none": True},
    {"as_ints": [10**9, 10**9]}, {"as_graph": {"name": "g", "graph": {}}}, {"as_operator": "exec"},
    {"as_custom_obj": {"name": "x", "class_fqn": "y"}}, {"as_string": "/etc/passwd"},
)  # fmt: skip


def mutated_leaves(document: bytes, draw: random.Random) -> bytes:
    """A JSON document with one to three of its leaves replaced."""
    changed = json.loads(document)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        container, key = draw.choice(list(leaves(changed)))
        container[key] = draw.choice(HOSTILE)
    return json.dumps(changed).encode()


def check_leaves(program: Path, folder: Path, seeds: range) -> dict[str, int]:
    """How many are answered and refused."""
    counts: dict[str, int] = {}
    for seed in seeds:
        draw = random.Random(seed)
        document = draw.choice((GRAPH, GRAPH, GRAPH, WEIGHTS))

        def change(data: bytes, draw: random.Random = draw) -> bytes:
            return mutated_leaves(data, draw)

        path = rewritten(program, folder / "net.pt2", {document: change})
        with watched() as seen:
            kind = outcome(path)
        assert not seen, (seed, seen)
        counts[kind] = counts.get(kind, 0) + 1
    assert [item.name for item in folder.iterdir()] == ["net.pt2"]
    return counts


def test_500_mutated_leaves_are_answered_or_refused(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = check_leaves(program, tmp_path, range(CASES))
    assert sum(counts.values()) == CASES
    assert min(counts["UsageError"], counts["answered"]) > CASES / 10


@pytest.mark.slow
def test_every_leaf_replaced_by_something_is_answered_or_refused(program, tmp_path):
    """No field is left unchecked: each is replaced once."""
    content = members(program)
    (document,) = (json.loads(data) for name, data in content.items() if name.endswith(GRAPH))
    for number, (container, key) in enumerate(list(leaves(document))):
        kept, container[key] = container[key], HOSTILE[number % len(HOSTILE)]
        changed = json.dumps(document).encode()
        container[key] = kept
        path = rewritten(program, tmp_path / "net.pt2", {GRAPH: lambda _, new=changed: new})
        with watched() as seen:
            outcome(path)
        assert not seen, (number, seen)
