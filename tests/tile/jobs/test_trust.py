"""What lies on disk is believed only where it is what was written, and has one owner at a time."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from fieldwise.errors import UsageError
from fieldwise.tile.files import FileView, open_source
from fieldwise.tile.jobs import Journal, check_result, journal_path
from tests.tile.jobs.cases import carried_out, content, enter, image, planned
from tests.tile.jobs.test_job import CrashError, crashing

OUTS = ["out.npy", "out.zarr", "out.tif"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 1100, 12))


def job_to(out: str, net: str = "unet", **options):
    return planned(Path("in.npy"), Path(out), net, **options)


def finished(out: str, net: str = "unet", **options) -> list[dict[str, bytes]]:
    """Carry a job out; the bytes of its files."""
    job = job_to(out, net, **options)
    carried_out(job)
    return [content(file.path) for file in job.files]


def resumed(out: str, net: str = "unet", **options):
    """What a resumed job says of what it found, and the pieces that it computed."""
    job, recorded = job_to(out, net, **options), []
    with job.open(resume=True) as journal, pytest.MonkeyPatch.context() as patch:

        def record(self, piece, *, whole=Journal.record):
            whole(self, piece)
            recorded.append(piece.piece)

        patch.setattr(Journal, "record", record)
        job.run(journal)
    return journal.spoilt, recorded


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def damage(out: str, row: int) -> None:
    """Flip a bit of a sample in this row, wherever the file holds it."""
    if out.endswith("zarr"):
        flip(chunk(out, row // 512), 60)
    else:
        value = samples(out)[0, row, 3].tobytes()
        flip(Path(out), Path(out).read_bytes().index(value))


def zeros(out: str) -> None:
    """A result of the same form, with zeros in it."""
    (file,) = job_to("zeros" + Path(out).suffix).files
    file.create()
    if file.path.is_dir():
        shutil.rmtree(out)
    os.rename(file.path, out)


def chunk(out: str, row: int) -> Path:
    return Path(out) / "c" / "0" / str(row) / "0"


def samples(out: str) -> np.ndarray:
    source = open_source(Path(out))
    return source[tuple(slice(None) for _ in source.shape)]


# ------------------------------------------------------------------------------- resume


@pytest.mark.parametrize("out", OUTS)
def test_a_flipped_bit_is_found_and_its_piece_alone_computed_again(out):
    (wanted,) = finished(out)
    damage(out, row=700)
    (why,) = check_result(Path(out)).faults
    assert why.startswith("Piece ")
    spoilt, recorded = resumed(out)
    assert "not on disk as written, and it is computed again" in spoilt
    assert f"piece {recorded[0]} (" in spoilt
    assert len(recorded) == 1
    assert content(Path(out)) == wanted
    assert check_result(Path(out)).faults == ()
    assert resumed(out) == (None, [])


@pytest.mark.parametrize("out", OUTS)
def test_zeros_of_the_same_shape_are_no_result(out):
    (wanted,) = finished(out)
    zeros(out)
    spoilt, recorded = resumed(out)
    assert "are not on disk as written, and they are computed again" in spoilt
    assert recorded == list(range(len(job_to(out).plan.pieces)))
    assert content(Path(out)) == wanted


@pytest.mark.parametrize("net", ["unet", "dark"])
def test_a_missing_chunk_is_missing_even_where_it_held_zeros(net):
    (wanted,) = finished("out.zarr", net)
    assert samples("out.zarr").any() == (net == "unet")
    chunk("out.zarr", 1).unlink()
    spoilt, recorded = resumed("out.zarr", net)
    assert "c/0/1/0' is missing" in spoilt
    assert len(recorded) == 1
    assert content(Path("out.zarr")) == wanted


def test_one_of_several_outputs_is_enough_to_compute_a_piece_again():
    wanted = finished("out.npy", "several")
    path = Path("out.half.npy")
    flip(path, path.stat().st_size - 1)
    spoilt, recorded = resumed("out.npy", "several")
    assert "in 'out.half.npy' are not what was written" in spoilt
    assert len(recorded) == 1
    assert [content(file.path) for file in job_to("out.npy", "several").files] == wanted


@pytest.fixture
def at_every_halt(monkeypatch):
    monkeypatch.setattr("fieldwise.tile.jobs.checkpoint.LEAST", 0.0)
    monkeypatch.setattr("fieldwise.tile.jobs.checkpoint._SHARE", 0.0)


@pytest.mark.usefixtures("at_every_halt")
@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize("damaged", [False, True])
def test_what_an_unfinished_piece_has_written_is_looked_at_too(monkeypatch, out, damaged):
    options = {"band": 16, "piece": 5000}
    (wanted,) = finished("whole" + out[3:], **options)
    with monkeypatch.context() as patch:
        crashing(patch, {"out.npy": 25, "out.zarr": 24, "out.tif": 16}[out])
        with pytest.raises(CrashError):
            carried_out(job_to(out, **options))
    if damaged:
        damage(out, row=5)
    spoilt, recorded = resumed(out, **options)
    assert recorded == [0]
    if damaged:
        assert spoilt.startswith("the unfinished piece 0 (")
    else:
        assert spoilt is None
    assert content(Path(out)) == wanted


@pytest.mark.parametrize(("out", "place"), [("out.npy", 100), ("out.tif", 30), ("out.zarr", 0)])
def test_a_result_that_is_stored_in_another_way_is_left_alone(out, place):
    finished(out)
    if out == "out.zarr":
        path = Path(out) / "zarr.json"
        path.write_text(path.read_text().replace('"level": 0', '"level": 1'))
    else:
        flip(Path(out), place)
    before = content(Path(out))
    with pytest.raises(UsageError, match=r"not what this job has begun .*use --overwrite"):
        carried_out(job_to(out), resume=True)
    assert "not what this job has begun" in check_result(Path(out)).faults[0]
    assert content(Path(out)) == before


def test_a_result_that_is_a_link_by_now_is_left_alone(tmp_path):
    finished("out.npy")
    os.rename("out.npy", "moved.npy")
    Path("out.npy").symlink_to("moved.npy")
    flip(Path("moved.npy"), 5000)
    before = content(Path("moved.npy"))
    with pytest.raises(UsageError, match="it is a symbolic link"):
        carried_out(job_to("out.npy"), resume=True)
    carried_out(job_to("out.npy"), overwrite=True)
    assert content(Path("moved.npy")) == before
    assert not Path("out.npy").is_symlink()


def test_results_with_a_second_name_are_not_written_into_but_replaced():
    (wanted,) = finished("out.npy")
    Path("other.npy").hardlink_to("out.npy")
    assert resumed("out.npy") == (None, [])
    flip(Path("out.npy"), 5000)
    before = content(Path("other.npy"))
    with pytest.raises(UsageError, match="has another name too"):
        carried_out(job_to("out.npy"), resume=True)
    carried_out(job_to("out.npy"), overwrite=True)
    assert content(Path("other.npy")) == before
    assert content(Path("out.npy")) == wanted


# ------------------------------------------------------------------------------- the journal


def lines(out: str) -> list[bytes]:
    return journal_path(Path(out)).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record.update(piece=-1),
        lambda record: record.update(piece=10**6),
        lambda record: record.update(piece=True),
        lambda record: record.update(piece="0"),
        lambda record: record.pop("wrote"),
        lambda record: record.update(wrote=[]),
        lambda record: record["wrote"][0].pop(),
        lambda record: record["wrote"][0][0].pop(),
        lambda record: record["wrote"][0][0].__setitem__(2, [0, 10**9]),
        lambda record: record["wrote"][0][0].__setitem__(2, [5, 1]),
        lambda record: record["wrote"][0].__setitem__(1, "crc"),
    ],
)
def test_a_journal_edited_by_hand_is_damaged(edit):
    finished("out.npy")
    *first, last = lines("out.npy")
    record = json.loads(last)
    edit(record)
    journal_path(Path("out.npy")).write_bytes(b"".join(first) + json.dumps(record).encode() + b"\n")
    before = content(Path("out.npy"))
    for call in (lambda: carried_out(job_to("out.npy"), resume=True), check_out):
        with pytest.raises(UsageError, match="is damaged or no journal of this version"):
            call()
    assert content(Path("out.npy")) == before


def check_out():
    check_result(Path("out.npy"))


@pytest.mark.parametrize(
    "text",
    [b"\n", b"{}\n", b"[]\n", b"7\n", b"null\n", b'"fieldwise job"\n', b"\xff\xfe\n",
     b"[" * 10**5 + b"\n", b'{"fieldwise job": 1}\n', b'{"fieldwise job": 3, "pieces": 0}\n',
     b'{"fieldwise job": 3, "pieces": 3, "run": 5, "environment": {}}\n', b"\0" * 1000],
)  # fmt: skip
def test_what_is_no_journal_is_told(text):
    finished("out.npy")
    journal_path(Path("out.npy")).write_bytes(text)
    for call in (lambda: carried_out(job_to("out.npy"), resume=True), check_out):
        with pytest.raises(UsageError, match="is damaged or no journal of this version"):
            call()


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda record: record.update(piece=0), "its journal lists other parts of the result"),
        (
            lambda record: record["wrote"][0][0].__setitem__(2, [0, 3]),
            "its journal lists other parts of the result",
        ),
        (lambda record: record["wrote"][0].__setitem__(1, 7), "are not what was written"),
    ],
)
def test_what_a_journal_claims_is_held_against_the_result(edit, told):
    (wanted,) = finished("out.npy")
    *first, last = lines("out.npy")
    record = json.loads(last)
    edit(record)
    journal_path(Path("out.npy")).write_bytes(b"".join(first) + json.dumps(record).encode() + b"\n")
    spoilt, _ = resumed("out.npy")
    assert told in spoilt
    assert content(Path("out.npy")) == wanted
    assert check_result(Path("out.npy")).faults == ()


def test_a_journal_cut_anywhere_is_gone_on_with_or_refused():
    (wanted,) = finished("out.npy")
    path, whole = journal_path(Path("out.npy")), journal_path(Path("out.npy")).read_bytes()
    header = whole.index(b"\n") + 1
    for end in (*range(header + 1, len(whole), 97), len(whole)):
        path.write_bytes(whole[:end])
        spoilt, _ = resumed("out.npy")
        assert spoilt is None
        assert content(Path("out.npy")) == wanted
    path.write_bytes(whole[: header - 2])
    with pytest.raises(UsageError, match="is damaged"):
        carried_out(job_to("out.npy"), resume=True)


def test_a_journal_of_another_result_does_not_vouch_for_this_one():
    (wanted,) = finished("out.npy")
    finished("other.npy", "other")
    shutil.copy("other.npy", "out.npy")
    spoilt, recorded = resumed("out.npy")
    assert spoilt is not None
    assert recorded == list(range(len(job_to("out.npy").plan.pieces)))
    assert content(Path("out.npy")) == wanted


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_stands_in_the_place_of_a_journal_is_not_written_to(tmp_path, kind):
    precious, path = tmp_path / "precious", journal_path(Path("out.npy"))
    precious.write_text("precious")
    {"link": lambda: path.symlink_to(precious), "folder": path.mkdir,
     "pipe": lambda: os.mkfifo(path)}[kind]()  # fmt: skip
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(UsageError, match=r"is a symbolic link|no regular file|Is a directory"):
            carried_out(job_to("out.npy"), **options)
    assert precious.read_text() == "precious"
    assert not Path("out.npy").exists()


def test_a_refused_job_leaves_no_journal():
    Path("out.npy").write_text("precious")
    with pytest.raises(UsageError, match="exists; use --resume"):
        carried_out(job_to("out.npy"))
    assert not journal_path(Path("out.npy")).exists()


def test_an_empty_journal_is_none():
    journal_path(Path("out.npy")).touch()
    carried_out(job_to("out.npy"), resume=True)
    assert check_result(Path("out.npy")).faults == ()


def test_a_job_whose_journal_is_taken_away_records_nothing_more(monkeypatch):
    job = job_to("out.npy")
    with job.open() as journal:
        journal_path(Path("out.npy")).unlink()
        with job_to("out.npy").open(overwrite=True) as second:
            with pytest.raises(UsageError, match="may be another run's by now"):
                job.run(journal)
            job.run(second)
    assert check_result(Path("out.npy")).faults == ()


def test_what_an_old_run_still_writes_does_not_reach_the_new_one():
    for out in ("out.npy", "out.tif"):
        job = job_to(out)
        carried_out(job)
        late = FileView(job.files[0].reopen(), job.layouts[0])
        carried_out(job, overwrite=True)
        late.write((0, 0, 0, 0), np.zeros((1, 2, 1100, 12), np.float32))
        late.flush()
        assert check_result(Path(out)).faults == ()


# ------------------------------------------------------------------------------- --check


def test_a_result_is_checked_against_its_journal_alone():
    finished("out.npy", "several")
    for name in ("in.npy", "job_nets.py"):
        Path(name).unlink()
    checked = check_result(Path("out.npy"))
    assert checked.pieces > 3
    assert checked.faults == ()
    path = Path("out.mask.npy")
    flip(path, 200)
    flip(path, path.stat().st_size - 1)
    told = check_result(Path("out.npy")).faults
    assert [one.split(":")[0] for one in told] == ["Piece 0", f"Piece {checked.pieces - 1}"]
    assert all(one.endswith("in 'out.mask.npy' are not what was written.") for one in told)
    path.unlink()
    (told,) = check_result(Path("out.npy")).faults
    assert told.startswith("'out.mask.npy' is gone")


def test_a_moved_result_is_checked_under_its_new_name():
    finished("out.npy")
    os.rename("out.npy", "new.npy")
    os.rename("out.npy.journal", "new.npy.journal")
    assert check_result(Path("new.npy")).faults == ()


def test_a_result_without_a_journal_and_one_at_work_cannot_be_checked():
    with pytest.raises(UsageError, match=r"no journal 'out\.npy\.journal'"):
        check_result(Path("out.npy"))
    with (
        job_to("out.npy").open(),
        pytest.raises(UsageError, match="Another process is at work"),
    ):
        check_result(Path("out.npy"))


def test_an_unfinished_result_is_not_whole(monkeypatch):
    with monkeypatch.context() as patch:
        crashing(patch, 20)
        with pytest.raises(CrashError):
            carried_out(job_to("out.npy"))
    (told,) = check_result(Path("out.npy")).faults
    assert told.endswith("pieces are not done; --resume computes them.")


# ------------------------------------------------------------------------------- the input


def test_an_input_that_was_another_for_a_while_gives_no_piece_of_the_result(monkeypatch):
    (wanted,) = finished("whole.npy")
    np.save("other.npy", image(3, 1100, 12, seed=1))
    number = [0]

    def flush(self, *, whole=FileView.flush):
        whole(self)
        number[0] += 1
        if number[0] == 2:
            os.rename("in.npy", "kept.npy")
            os.rename("other.npy", "in.npy")

    with monkeypatch.context() as patch:
        patch.setattr(FileView, "flush", flush)
        with pytest.raises(UsageError, match="changed while it was read"):
            carried_out(job_to("out.npy"))
    os.rename("kept.npy", "in.npy")
    spoilt, recorded = resumed("out.npy")
    assert spoilt is None
    assert recorded[0] == 1
    assert content(Path("out.npy")) == wanted


def test_a_mixture_is_not_gone_on_with_even_where_the_input_is_put_right(monkeypatch):
    zarr.create_array("in.zarr", data=image(3, 1100, 12), chunks=(3, 100, 12))
    part = Path("in.zarr") / "c" / "0" / "5" / "0"
    before, times = part.read_bytes(), part.stat()
    job = planned(Path("in.zarr"), Path("out.npy"))

    def record(self, piece, *, whole=Journal.record):
        whole(self, piece)
        part.write_bytes(part.with_name("0").read_bytes()[::-1])

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "record", record)
        patch.setattr(type(job.request.source), "__getitem__", lambda self, index: image(
            *(len(range(*one.indices(n))) for one, n in zip(index, self.shape, strict=True))
        ))  # fmt: skip
        with pytest.raises(UsageError, match="changed while it was read"):
            carried_out(job)
    part.write_bytes(before)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UsageError, match="so the result is a mixture; use --overwrite"):
        carried_out(planned(Path("in.zarr"), Path("out.npy")), resume=True)
    assert "a mixture" in check_result(Path("out.npy")).faults[0]
