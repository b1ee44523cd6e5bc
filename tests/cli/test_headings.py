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


def test_what_a_command_does_is_listed_in_whole_and_the_model_is_built_last():
    listed = CliRunner().invoke(app, ["--help"]).output.partition("Commands:")[2]
    lines = [line for line in listed.splitlines() if line.startswith("  ")]
    assert lines[0].split()[0] == "summary"
    assert all(line.endswith(".") and "..." not in line for line in lines[:-1])
    for command in ("field", "fold", "stream", "view"):
        told = said(command)
        assert re.search(rf"^Usage: \S+ {command} \[OPTIONS\] MODEL( \[MODEL_B\])?$", told, re.M)
        assert told.index("Options:") < told.index("How the model is built") < told.index("--set")
        assert "<str>" not in told
