"""--help of commands with groups of options: every option once, under the heading of its group."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from fieldwise.cli import app, tile_options


def said(command: str) -> str:
    return CliRunner().invoke(app, [command, "--help"]).output


@pytest.mark.parametrize("command", ["tile", "erf", "diagram", "stream"])
def test_every_option_stands_once(command):
    below = said(command).partition("Arguments:")[2]
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", below, re.MULTILINE)
    assert len(options) == len(set(options)) > 5


def test_a_group_is_headed_by_its_first_sentence():
    sections = dict(re.findall(r"^(\S.*):\n((?:(?:  .*)?\n)+)", said("tile"), re.MULTILINE))
    for group in (tile_options.InputOptions, tile_options.OutputOptions, tile_options.RunOptions):
        told = sections[group.__doc__.partition(".")[0]]
        assert told.count("\n  --") + told.startswith("  --") == len(fields(group))
    assert "--format" in sections["Options"]
