"""How commands end: exit codes and one sentence on stderr."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fieldwise.cli.answers import answer
from fieldwise.cli.app import app
from fieldwise.cli.outcome import reported
from fieldwise.errors import CaptureError, UsageError


def ending(error, capsys, *, debug=False):
    with pytest.raises(typer.Exit) as caught, reported(debug=debug):
        raise error
    return caught.value.exit_code, capsys.readouterr().err


@pytest.mark.parametrize("kind", [UsageError, CaptureError])
def test_an_error_of_fieldwise_is_told_as_it_is(capsys, kind):
    assert ending(kind("Too small; use 8."), capsys) == (2, "error: Too small; use 8.\n")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ZeroDivisionError("by zero\nmore"),
            "ZeroDivisionError: by zero; fieldwise did not expect this: "
            "please report it with what --debug prints.",
        ),
        (
            PermissionError(13, "Permission denied", "/a/b"),
            "PermissionError: [Errno 13] Permission denied: '/a/b'; "
            "check the files and folders that the command was given.",
        ),
        (
            MemoryError(),
            "MemoryError; the machine has too little memory for this; give a smaller --input.",
        ),
    ],
)
def test_any_other_exception_is_named_in_one_sentence(capsys, error, told):
    assert ending(error, capsys) == (2, f"error: {told}\n")


def test_debug_adds_the_traceback_and_keeps_the_exit_code(capsys):
    code, said = ending(UsageError("No."), capsys, debug=True)
    assert code == 2
    assert said.startswith("Traceback")
    assert said.endswith("error: No.\n")


def test_an_interrupt_ends_with_130(capsys):
    assert ending(KeyboardInterrupt(), capsys) == (130, "Interrupted.\n")


def test_a_second_interrupt_does_not_disturb_what_the_first_sets_off():
    code = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
from fieldwise.cli.outcome import reported
from fieldwise.cli.answers import answers
with reported(debug=False):
    try:
        print("begun", flush=True, file=answers())
        time.sleep(60)
    finally:
        print("ending", flush=True, file=answers())
        time.sleep(0.5)
        print("ended", flush=True, file=answers())
"""
    command = [sys.executable, "-c", f"import typer\n{code}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"ending\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"ended\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert told.startswith(b"Interrupted.")


def test_interrupts_are_as_they_were_after_a_command_that_was_not_interrupted():
    handler = signal.default_int_handler
    found = signal.signal(signal.SIGINT, handler)
    try:
        with reported(debug=False):
            assert signal.getsignal(signal.SIGINT) is not handler
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, found)


def test_a_process_that_the_code_of_a_model_ends_is_an_error(capsys):
    said = "error: The code of the model ended the process: sys.exit('no GPU').\n"
    assert ending(SystemExit("no GPU"), capsys) == (2, said)


def test_what_the_code_of_a_model_prints_goes_to_stderr_and_answers_to_stdout(capsys):
    with reported(debug=False):
        sys.stdout.write("loading\n")
        answer("3 layers")
    sys.stdout.write("afterwards\n")
    assert capsys.readouterr() == ("3 layers\nafterwards\n", "loading\n")


ANSWERS = [
    ["--help"], ["--version"], ["field", "--help"], ["field", "layers:conv3"],
    ["field", "layers:conv3", "--format", "csv"], ["stream", "layers:conv3"],
]  # fmt: skip


@pytest.mark.parametrize("command", ANSWERS)
def test_an_answer_that_nobody_reads_ends_quietly_with_141(command):
    reader, writer = os.pipe()
    os.close(reader)
    ended = written_to(writer, command)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("command", ANSWERS)
def test_an_answer_for_which_there_is_no_space_ends_in_one_sentence(command):
    ended = written_to(os.open("/dev/full", os.O_WRONLY), command)
    said = "No space left on device; check the files and folders that the command was given.\n"
    assert ended.returncode == 2
    assert ended.stderr.decode() == f"error: OSError: [Errno 28] {said}"


def written_to(stdout, command):
    """A command of a process of its own, whose answer goes there."""
    try:
        return subprocess.run(
            [sys.executable, "-m", "fieldwise", *command],
            stdout=stdout, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    finally:
        os.close(stdout)


def test_an_exit_asked_for_passes_through(capsys):
    assert ending(typer.Exit(1), capsys) == (1, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "No such command 'nosuch'. See fieldwise --help."),
        (["--nosuch"], "No such option: --nosuch. See fieldwise --help."),
        (["field"], "Missing argument 'MODEL'. See fieldwise field --help."),
        (
            ["diagram", "layers:conv3"],
            "Missing option '-o' / '--out'. See fieldwise diagram --help.",
        ),
        (
            ["fold", "layers:a", "--zzz"],
            "No such option: --zzz. See fieldwise fold --help.",
        ),
    ],
)
def test_what_a_command_does_not_take_is_said_as_every_other_error(words, said):
    done = CliRunner().invoke(app, words, prog_name="fieldwise")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {said}\n")


@pytest.mark.parametrize(
    "command", [[], ["field"], ["fold"], ["shift"], ["stream"], ["tile"], ["diagram"]]
)
def test_the_short_option_for_help_is_the_long_one(command):
    short, long = (
        CliRunner().invoke(app, [*command, option], prog_name="fieldwise")
        for option in ("-h", "--help")
    )
    assert short.exit_code == 0
    assert short.output == long.output
    assert short.output.startswith("Usage: ")


def test_the_help_says_how_a_factory_of_ones_own_is_written():
    for command in ("field", "fold", "shift", "stream", "tile", "diagram"):
        said = " ".join(CliRunner().invoke(app, [command, "--help"]).output.split())
        assert "(nets.unet:make, nets/unet.py:UNet or 'nets.unet:UNet(width=64)')" in said


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_streams_that_are_closed_from_the_start_are_quiet(closed):
    command = f"{sys.executable} -m fieldwise field 'layers:conv3 relu' {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "did not expect" not in done.stderr
