"""The project's own files agree: workflows, templates, the distribution and its version."""

from __future__ import annotations

import re

import pytest
import yaml

import fieldwise
from tests.release.project import PROJECT, ROOT, pythons

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())["jobs"]


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_every_python_that_is_declared_is_tested_and_tried_by_a_host():
    assert jobs("tests.yml")["make-test"]["strategy"]["matrix"]["python"] == pythons()
    assert jobs("release.yml")["smoke"]["strategy"]["matrix"]["python"] == pythons()


def test_the_tests_run_on_three_systems():
    tests = jobs("tests.yml")
    systems = {tests["make-test"]["runs-on"], *tests["systems"]["strategy"]["matrix"]["system"]}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    assert set(jobs("release.yml")["smoke"]["strategy"]["matrix"]["system"]) == systems


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_makes_is_a_target_and_what_it_installs_an_extra(path):
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line for job in jobs(path.name).values() for line in commands(job)]
    made = {target for line in lines for target in re.findall(r"^make ([a-z-]+)", line)}
    assert made, lines
    assert made <= targets
    asked = {
        name
        for line in lines
        for group in re.findall(r"\[([\w,]+)\]", line)
        for name in group.split(",")
    }
    assert asked <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_the_repository_and_nothing_else(path):
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_the_extra_all_has_whatever_is_for_users():
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    named = set(re.fullmatch(r"fieldwise\[(.+)\]", everything)[1].split(","))
    implied = {"torch"} if any("fieldwise[torch]" in extras[name] for name in named) else set()
    assert named | implied == set(extras) - {"all", "dev"}


@pytest.mark.parametrize(
    "path", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.stem
)
def test_an_issue_form_asks_for_what_can_be_run_again(path):
    form = yaml.safe_load(path.read_text())
    asked = {part["id"]: part for part in form["body"] if "id" in part}
    assert {"name", "description"} <= set(form)
    assert all(part["validations"]["required"] for part in asked.values())
    assert "versions" in asked


def test_the_version_and_its_date_are_said_alike():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    dated = r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$"
    released = re.findall(dated, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == (fieldwise.__version__, str(about["date-released"]))
