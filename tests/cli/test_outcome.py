"""How commands end: exit codes and one sentence on stderr."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

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
with reported(debug=False):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(0.5)
        print("ended", flush=True)
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
