"""Versions are said alike everywhere: bounds, pins, and the Pythons that the tests are run with."""

from __future__ import annotations

import re

from tests.release.project import PROJECT, ROOT, pythons

RUNTIME = ("torch", "onnx", "zoo", "plot", "tile", "files")


def bounds() -> dict[str, str]:
    needed = list(PROJECT["dependencies"])
    for extra in RUNTIME:
        needed += PROJECT["optional-dependencies"][extra]
    found = (re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", each) for each in needed)
    return {match[1].lower(): match[2] for match in found if match}


def test_the_oldest_environment_has_every_lower_bound():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if "==" in line)
    lower = bounds()
    assert len(lower) > 10
    assert set(lower) == set(pinned)
    for name, bound in lower.items():
        assert f"{pinned[name]}.".startswith(f"{bound}."), name


def test_the_oldest_python_that_installs_is_the_first_that_is_named():
    assert PROJECT["requires-python"] == f">={pythons()[0]}"


def test_the_pages_name_the_pythons_that_the_classifiers_name():
    tested = pythons()
    named = f"Python {', '.join(tested[:-1])} or {tested[-1]}, git and make"
    assert named in (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| (3\.\d+) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert sorted({*rows}) == tested


def test_the_versions_of_torch_that_are_said_to_be_tested_are_those_that_are_pinned():
    said = (ROOT / "CONTRIBUTING.md").read_text()
    for pins in ("constraints.txt", "constraints-oldest.txt"):
        (torch,) = re.findall(r"^torch==(.+)$", (ROOT / pins).read_text(), re.MULTILINE)
        assert f"| {torch} | `{pins}` |" in said
