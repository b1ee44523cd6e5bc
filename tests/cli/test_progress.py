"""The progress line: only on a terminal, only for what takes long."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stderr, suppress

import pytest

from fieldwise.cli import progress

HIDE_CURSOR, SHOW_CURSOR, ERASE_LINE = "\x1b[?25l", "\x1b[?25h", "\x1b[1A\x1b[2K"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def short_delay(monkeypatch):
    monkeypatch.setattr(progress, "_DELAY", 0.05)
    monkeypatch.setenv("TERM", "xterm")


def shown(body, stream):
    with redirect_stderr(stream), suppress(KeyboardInterrupt), progress.progress("building"):
        body(stream)
    return stream.getvalue()


def waiting(stream):
    """Until a line is shown, however busy the machine is."""
    end = time.monotonic() + 30
    while not stream.getvalue() and time.monotonic() < end:
        time.sleep(0.01)


def interrupted(stream):
    waiting(stream)
    raise KeyboardInterrupt


def test_what_is_quick_shows_nothing():
    assert shown(lambda stream: None, Terminal()) == ""


@pytest.mark.parametrize("body", [waiting, interrupted])
def test_what_takes_long_shows_a_line_and_leaves_the_terminal_clean(body):
    text = shown(body, Terminal())
    assert "building" in text
    assert text.count(HIDE_CURSOR) == text.count(SHOW_CURSOR) == 1
    assert text.endswith(ERASE_LINE)


def test_nothing_is_shown_when_stderr_is_no_terminal():
    assert shown(lambda stream: time.sleep(0.2), io.StringIO()) == ""
