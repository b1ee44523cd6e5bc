"""Jobs survive: whatever ends them, a resumed one has the bytes of one that was not interrupted."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fieldwise.errors import Refused, UsageError
from fieldwise.tile.files import FileView, Scaled
from fieldwise.tile.files.zarr_array import ZarrSink
from fieldwise.tile.jobs import Journal, check_result, journal_path
from fieldwise.tile.jobs.checkpoint import Checkpoint
from tests.tile.jobs.cases import carried_out, command_line, content, enter, image, planned

ROOT = Path(__file__).parents[3]
OUTS = ["out.npy", "out.zarr", "out.tif"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 1100, 12))


class CrashError(Exception):
    """The process ends here."""


def crashing(monkeypatch, moment: int) -> None:
    """Let the process end at the n-th time that it writes, flushes or records, half of it done."""
    left = [moment]

    def ends() -> bool:
        left[0] -= 1
        return left[0] < 0

    def write(self, start, block, *, whole=FileView.write):
        if ends():
            whole(self, start, np.zeros_like(block))
            raise CrashError
        whole(self, start, block)

    def flush(self, *, whole=FileView.flush):
        if ends():
            raise CrashError
        whole(self)

    def record(self, piece, *, whole=Journal.record):
        if ends():
            self._file.write(b'{"pie')
            raise CrashError
        whole(self, piece)

    def replace(self, target, *, whole=Path.replace):
        if ends():
            raise CrashError
        return whole(self, target)

    monkeypatch.setattr(FileView, "write", write)
    monkeypatch.setattr(FileView, "flush", flush)
    monkeypatch.setattr(Journal, "record", record)
    monkeypatch.setattr(Path, "replace", replace)


@pytest.fixture
def at_every_halt(monkeypatch):
    """Where a piece stands is kept at each occasion."""
    monkeypatch.setattr("fieldwise.tile.jobs.checkpoint.LEAST", 0.0)
    monkeypatch.setattr("fieldwise.tile.jobs.checkpoint._SHARE", 0.0)


STREAM, HALO = {}, {"engine": "halo", "tile": 160}


@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize(("net", "engine"), [("unet", STREAM), ("several", STREAM), ("unet", HALO)])
def test_a_job_that_ends_at_any_step_is_resumed_with_the_same_bytes(
    tmp_path, monkeypatch, out, net, engine
):
    whole = planned(tmp_path / "in.npy", tmp_path / "whole" / out, net, **engine)
    carried_out(whole)
    wanted = [content(file.path) for file in whole.files]
    moment, finished = 0, False
    while not finished:
        folder = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            crashing(patch, moment)
            try:
                carried_out(planned(tmp_path / "in.npy", folder / out, net, **engine))
                finished = True
            except CrashError:
                pass
        resumed = planned(tmp_path / "in.npy", folder / out, net, **engine)
        carried_out(resumed, resume=True)
        assert [content(file.path) for file in resumed.files] == wanted
        moment += 1 if moment < 12 else 7
    assert moment > 6


ONE_PIECE = {"band": 16, "piece": 5000}


@pytest.mark.usefixtures("at_every_halt")
@pytest.mark.parametrize(
    ("out", "net", "options"),
    [
        *((out, "several", {}) for out in OUTS),
        *((out, "gated", {"global_ops": "multipass"}) for out in OUTS),
        (OUTS[0], "attends", {"global_ops": "materialise"}),
    ],
)
def test_a_piece_that_ends_at_any_step_is_gone_on_with_to_the_same_bytes(
    tmp_path, monkeypatch, out, net, options
):
    whole = planned(tmp_path / "in.npy", tmp_path / "whole" / out, net, **ONE_PIECE, **options)
    assert len(whole.plan.pieces) == 1
    carried_out(whole)
    wanted = [content(file.path) for file in whole.files]
    moment, finished = 0, False
    while not finished:
        folder = tmp_path / str(moment)
        job = planned(tmp_path / "in.npy", folder / out, net, **ONE_PIECE, **options)
        for begun in (False, True):
            with monkeypatch.context() as patch:
                crashing(patch, moment)
                try:
                    carried_out(job, resume=begun)
                    finished = finished or not begun
                except CrashError:
                    pass
        carried_out(job, resume=True)
        assert [content(file.path) for file in job.files] == wanted
        assert sorted(folder.iterdir()) == sorted(
            [*(file.path for file in job.files), journal_path(folder / out)]
        )
        moment += 1 if moment < 6 else 11
    assert moment > 6


def halted(out, monkeypatch, moment=25, **options):
    """A job of one piece that has ended in the middle; what it reads from then on is noted."""
    with monkeypatch.context() as patch:
        crashing(patch, moment)
        with pytest.raises(CrashError):
            carried_out(planned(out.parent / "in.npy", out, **ONE_PIECE, **options))
    job = planned(out.parent / "in.npy", out, **ONE_PIECE, **options)
    read = []

    def noting(self, index, *, whole=Scaled.__getitem__):
        read.append(index[2].start)
        return whole(self, index)

    monkeypatch.setattr(Scaled, "__getitem__", noting)
    carried_out(job, resume=True)
    return min(read)


@pytest.mark.usefixtures("at_every_halt")
def test_a_resumed_piece_reads_only_what_is_left(tmp_path, monkeypatch):
    assert halted(tmp_path / "out.npy", monkeypatch) > 100


@pytest.mark.usefixtures("at_every_halt")
@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "another run's"])
def test_without_a_whole_checkpoint_a_piece_begins_again_with_the_same_bytes(
    tmp_path, monkeypatch, damage
):
    carried_out(planned(tmp_path / "in.npy", tmp_path / "whole.npy", **ONE_PIECE))
    out, kept = tmp_path / "out.npy", tmp_path / "out.npy.journal.piece"

    def go_on(cls, path, identity, environment, *, cut, whole=Journal.go_on.__func__):
        content = kept.read_bytes()
        if damage == "gone":
            kept.unlink()
        elif damage == "cut":
            kept.write_bytes(content[:-100])
        elif damage == "changed":
            kept.write_bytes(content[:400] + bytes([content[400] ^ 1]) + content[401:])
        journal = whole(cls, path, identity, environment, cut=cut)
        if damage == "another run's":
            journal.piece.run = "another"
        return journal

    monkeypatch.setattr(Journal, "go_on", classmethod(go_on))
    assert halted(out, monkeypatch) == 0
    assert content(out) == content(tmp_path / "whole.npy")


@pytest.mark.usefixtures("at_every_halt")
def test_a_disk_without_room_for_checkpoints_does_not_end_a_job(tmp_path, monkeypatch):
    def full(self, data):
        self._fresh.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoint, "_write", full)
    carried_out(planned(tmp_path / "in.npy", tmp_path / "out.npy", **ONE_PIECE))
    assert {path.name for path in tmp_path.glob("out*")} == {"out.npy", "out.npy.journal"}


def full(*args):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("place", ["write", "flush", "record"])
def test_a_full_disk_is_told_and_the_job_goes_on_once_there_is_room(tmp_path, monkeypatch, place):
    carried_out(planned(tmp_path / "in.npy", tmp_path / "whole.zarr"))
    out = tmp_path / "out.zarr"
    begun(out, monkeypatch)
    job = planned(tmp_path / "in.npy", out)
    with (
        Path("/dev/full").open("ab", buffering=0) as nowhere,
        job.open(resume=True) as journal,
        monkeypatch.context() as patch,
    ):
        if place == "record":
            patch.setattr(journal, "_file", nowhere)
        else:
            patch.setattr(ZarrSink, place, full)
        path = journal_path(out) if place == "record" else out
        with pytest.raises(UsageError, match=r"No space left on device; .* --resume goes on") as it:
            job.run(journal)
        assert repr(str(path)) in str(it.value)
    carried_out(job, resume=True)
    assert content(out) == content(tmp_path / "whole.zarr")


def test_checkpoints_take_a_small_share_of_the_time(tmp_path):
    kept, saved = Checkpoint(tmp_path / "kept", "run", least=0.05), []
    begun = time.monotonic()
    while time.monotonic() - begun < 0.4:
        kept.offer(lambda: saved.append(time.sleep(0.01)))
    assert 1 <= len(saved) <= 3


@pytest.mark.parametrize("out", OUTS)
def test_a_piece_is_recorded_only_after_its_file_is_on_disk(tmp_path, monkeypatch, out):
    events = []

    def noting(kind, name):
        whole = getattr(kind, name)

        def noted(self, *args):
            whole(self, *args)
            events.append(name)

        monkeypatch.setattr(kind, name, noted)

    def fsync(handle, *, whole=os.fsync):
        whole(handle)
        is_journal = os.path.sameopenfile(handle, journal._file.fileno())
        events.append("journal" if is_journal else "fsync")

    job = planned(tmp_path / "in.npy", tmp_path / out)
    with job.open() as journal:
        noting(FileView, "write")
        noting(Journal, "record")
        monkeypatch.setattr(os, "fsync", fsync)
        job.run(journal)
    told = "".join(event[0] for event in events)
    assert re.fullmatch(r"f*(w+f+jr)+", told)
    assert told.count("r") == len(job.plan.pieces)


@pytest.fixture(scope="module")
def processes():
    """Processes that have imported what the command line needs before they begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.tile.jobs.warm"])
        process = context.Process(target=time.monotonic)
        process.start()
        process.join()
    return context


@pytest.mark.parametrize(
    ("net", "out", "pieces"),
    [
        *(("unet", out, ()) for out in OUTS),
        ("unet", "one.zarr", ("--piece", "5000")),
        ("attends", "kept.npy", ("--global-ops", "materialise")),
    ],
)
def test_a_killed_process_is_resumed_with_the_same_bytes(tmp_path, processes, net, out, pieces):
    np.save(tmp_path / "in.npy", image(3, 3000, 100))
    pieces = (*pieces, "--layout", "CHW")

    def started(name: str, *options: str):
        arguments = [f"job_nets:{net}", "in.npy", name, *pieces, *options]
        process = processes.Process(target=command_line, args=(str(tmp_path), arguments))
        process.start()
        return process

    for _ in range(2):
        begun = time.monotonic()
        process = started(f"whole_{out}", "--overwrite")
        process.join()
        duration = time.monotonic() - begun
    assert process.exitcode == 0
    moments = random.Random(out)
    wanted = content(tmp_path / f"whole_{out}")
    kills, again = 0, "--resume"
    while kills < 5:
        process = started(out, again)
        process.join(moments.uniform(0.2, 0.9) * duration)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills, again = kills + 1, "--resume"
            process.join()
        else:
            assert content(tmp_path / out) == wanted
            again = "--overwrite"
    process = started(out, "--resume")
    process.join()
    assert process.exitcode == 0
    assert content(tmp_path / out) == wanted


def test_of_jobs_started_at_once_one_wins(tmp_path, processes):
    np.save(tmp_path / "in.npy", image(3, 3000, 100))
    together = processes.Barrier(4)
    arguments = ["job_nets:unet", "in.npy", "out.npy", "--layout", "CHW"]
    started = [
        processes.Process(target=command_line, args=(str(tmp_path), arguments, together))
        for _ in range(4)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert sorted(process.exitcode for process in started) == [0, 2, 2, 2]
    assert check_result(tmp_path / "out.npy").faults == ()


# ------------------------------------------------------------------------------- refusals


def begun(out, monkeypatch, net="unet", **options):
    """A job that has ended after its first piece."""

    def record(self, piece, *, whole=Journal.record):
        whole(self, piece)
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "record", record)
        with pytest.raises(CrashError):
            carried_out(planned(out.parent / "in.npy", out, net, **options))


def refused(out, net="unet", **options) -> str:
    with pytest.raises(UsageError) as caught:
        carried_out(planned(out.parent / "in.npy", out, net, **options), resume=True)
    assert "use --overwrite to begin again" in str(caught.value)
    return str(caught.value)


def test_a_changed_model_refuses_to_resume(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    begun(out, monkeypatch)
    assert refused(out, "other").startswith("The model (its weights) has changed")


def test_changed_code_refuses_to_resume(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    begun(out, monkeypatch)
    text = (tmp_path / "job_nets.py").read_text().replace(".relu()", ".sigmoid()")
    (tmp_path / "job_nets.py").write_text(text)
    monkeypatch.delitem(sys.modules, "job_nets")
    assert refused(out).startswith("The model (what it computes) has changed")


def test_changed_weights_in_a_file_refuse_to_resume(tmp_path, monkeypatch):
    out, weights = tmp_path / "out.npy", tmp_path / "weights.safetensors"
    import job_nets  # type: ignore[import-not-found]

    save_file(job_nets.other().state_dict(), weights)
    begun(out, monkeypatch, weights=weights)
    save_file(job_nets.unet().state_dict(), weights)
    assert refused(out, weights=weights).startswith("The model (its weights) has changed")


def test_a_changed_input_refuses_to_resume(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    begun(out, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 1100, 12, seed=1))
    assert refused(out).startswith("The input has changed")


def test_a_changed_input_size_and_model_are_both_named(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    begun(out, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 1200, 12))
    assert refused(out).startswith("The input has changed")
    assert refused(out, "other").startswith("The model (its weights) and the input have changed")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"band": 16}, "--band has changed since this job was begun with --engine stream"),
        ({"engine": "halo"}, "--engine has changed"),
        ({"strip": 8, "piece": 32}, "--strip and --piece have changed"),
        ({"scale": 0.5}, "--scale has changed since this job was begun, so"),
        ({"scale": 0.5, "band": 16, "fill": 1.0}, "--scale and --fill have changed"),
        ({"mean": (1.0,), "std": (2.0,)}, "The normalisation (--mean and --std, --normalize or"),
        ({"axes": "CWH"}, "--layout has changed"),
    ],
)
def test_a_job_is_not_resumed_with_another_option_which_is_named(
    tmp_path, monkeypatch, options, named
):
    out = tmp_path / "out.npy"
    begun(out, monkeypatch)
    assert refused(out, **options).startswith(named)


def test_an_input_that_changes_meanwhile_is_told(tmp_path):
    job = planned(tmp_path / "in.npy", tmp_path / "out.npy")
    np.save(tmp_path / "in.npy", image(3, 1100, 12, seed=1))
    with pytest.raises(UsageError, match="changed while it was read"):
        carried_out(job)


def test_a_job_is_done_by_one_process_at_a_time(tmp_path):
    job = planned(tmp_path / "in.npy", tmp_path / "out.npy")
    with job.open():
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(UsageError, match="Another process is at work"):
                job.open(**options)


def test_a_damaged_journal_is_told(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    begun(out, monkeypatch)
    path = journal_path(out)
    path.write_bytes(path.read_bytes().replace(b'{"piece": 0,', b'{"piece": nought,'))
    assert "is damaged" in refused(out)


def test_a_result_without_a_journal_is_left_alone(tmp_path):
    job = planned(tmp_path / "in.npy", tmp_path / "out.npy")
    (tmp_path / "out.npy").write_text("precious")
    with pytest.raises(
        UsageError, match="it has no journal, which would say what of it is done; use --overwrite"
    ):
        carried_out(job, resume=True)
    with pytest.raises(UsageError, match="exists; use --resume to go on, or --overwrite"):
        carried_out(job)
    assert (tmp_path / "out.npy").read_text() == "precious"


def test_a_finished_job_resumes_to_nothing(tmp_path):
    job = planned(tmp_path / "in.npy", tmp_path / "out.npy")
    carried_out(job)
    before = (tmp_path / "out.npy").stat().st_mtime_ns
    carried_out(job, resume=True)
    assert (tmp_path / "out.npy").stat().st_mtime_ns == before


def test_another_number_of_threads_is_told_when_a_job_goes_on(tmp_path, monkeypatch):
    out = tmp_path / "out.npy"
    begun(out, monkeypatch)
    job = planned(tmp_path / "in.npy", out)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    with job.open(resume=True) as journal:
        assert journal.warning is not None
        assert "threads 1 → 77" in journal.warning


def test_little_memory_makes_narrow_bands_and_too_little_is_told(tmp_path):
    roomy = planned(tmp_path / "in.npy", tmp_path / "out.npy").plan
    tight = planned(tmp_path / "in.npy", tmp_path / "out.npy", memory=40_000).plan
    assert tight.peak_bytes <= 40_000 < roomy.peak_bytes
    assert tight.step < roomy.step
    with pytest.raises(UsageError, match="give more --memory"):
        planned(tmp_path / "in.npy", tmp_path / "out.npy", memory=1000)
    with pytest.raises(UsageError, match="memory is a number of bytes, got '40KB'"):
        planned(tmp_path / "in.npy", tmp_path / "out.npy", memory="40KB")


def test_where_kept_values_are_gone_or_changed_the_passes_begin_again(tmp_path, monkeypatch):
    monkeypatch.setattr("fieldwise.tile.jobs.checkpoint.LEAST", 0.0)
    options = {"global_ops": "materialise", **ONE_PIECE}
    whole = planned(tmp_path / "in.npy", tmp_path / "whole.npy", "attends", **options)
    carried_out(whole)
    for number, spoil in enumerate(
        (lambda kept: kept.unlink(), lambda kept: kept.write_bytes(b""))
    ):
        out = tmp_path / f"{number}.npy"
        with monkeypatch.context() as patch:
            crashing(patch, 14)
            with pytest.raises(CrashError):
                carried_out(planned(tmp_path / "in.npy", out, "attends", **options))
        folder = out.with_name(f"{out.name}.journal.passes.kept")
        assert any(folder.iterdir())
        for kept in folder.iterdir():
            spoil(kept)
        carried_out(planned(tmp_path / "in.npy", out, "attends", **options), resume=True)
        assert content(out) == content(tmp_path / "whole.npy")
        assert not folder.exists()


def test_where_no_axis_is_given_one_is_taken_that_works_and_fits(tmp_path):
    job = planned(tmp_path / "in.npy", tmp_path / "columns.npy", "columns")
    assert job.plan.along == 3
    carried_out(job)
    np.save(tmp_path / "wide.npy", image(3, 40, 6000))
    roomy = planned(tmp_path / "wide.npy", tmp_path / "wide_out.npy", "unet")
    assert roomy.plan.along == 2
    tight = planned(tmp_path / "wide.npy", tmp_path / "out.zarr", "unet", memory=3 << 20)
    assert tight.plan.along == 3
    assert tight.plan.peak_bytes <= 3 << 20


@pytest.mark.parametrize(
    ("net", "options", "told"),
    [
        ("columns", {"along": 2}, r"axis 3 it can be streamed: --axis 3\.\nOr keep"),
        ("columns", {"engine": "halo", "tile": 64}, r"\nIt can be streamed: --engine stream\.$"),
        ("pooled", {"along": 2}, r"--global-ops multipass\)\.$"),
    ],
)
def test_a_refusal_names_the_axis_or_the_engine_that_was_tried_and_works(
    tmp_path, net, options, told
):
    with pytest.raises(Refused, match=told):
        planned(tmp_path / "in.npy", tmp_path / "out.npy", net, **options)
