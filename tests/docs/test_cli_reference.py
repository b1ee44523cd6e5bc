"""The reference of the command line names every command, argument and option that there is."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from fieldwise.cli import app
from tests.docs.cli_reference import MARK, on_page_markdown, reference
from tests.docs.pages import ROOT


def test_every_command_has_a_section_with_all_of_its_options():
    sections = "\n".join(reference()).split("## `fieldwise ")[1:]
    commands = typer.main.get_command(app).commands
    assert [section.partition("`")[0] for section in sections] == [*commands]
    for section, command in zip(sections, commands.values(), strict=True):
        for parameter in command.params:
            name = parameter.opts[-1] if parameter.opts[-1].startswith("-") else parameter.metavar
            assert parameter.hidden or name in section, (command.name, name)


def test_the_reference_takes_the_place_of_its_mark_on_one_page_alone():
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page.count(MARK) == 1
    assert MARK not in on_page_markdown(page)
    assert on_page_markdown("another page") == "another page"


def test_help_is_shown_for_both_of_its_names_by_every_command():
    for name in ((), *((each,) for each in typer.main.get_command(app).commands)):
        short, long = (CliRunner().invoke(app, [*name, option]) for option in ("-h", "--help"))
        assert short.exit_code == long.exit_code == 0
        assert short.stdout == long.stdout
        assert short.stdout.startswith("Usage: ")


def test_the_shell_is_told_how_to_complete(monkeypatch):
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")
    done = CliRunner().invoke(app, ["--show-completion"], prog_name="fieldwise")
    assert done.exit_code == 0
    assert "_FIELDWISE_COMPLETE=complete_bash" in done.stdout
