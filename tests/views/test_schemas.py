"""The JSON Schemas are in step with the page of fields, and what every command prints is valid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from jsonschema import Draft202012Validator, ValidationError
from typer.testing import CliRunner

from fieldwise.cli import app
from tests.views.schemas import FOLDER, described, schema, schemas, text

CHAIN = "layers:conv3/2p1 relu conv3p1"
SHAPE = ("--input", "1x1x32x32")
WHOLE = ("--input", "1x1x64x64")
PRINTED = {
    "field": ("FieldReport", ["field", CHAIN, *SHAPE]),
    "field of a unit": ("FieldReport", ["field", CHAIN, *SHAPE, "--unit", "3,3"]),
    "fold": (
        "FoldReport",
        ["fold", "torchvision:resnet18", "--input", "1x3x32x32", "--check", "0"],
    ),
    "shift": ("Certificates", ["shift", CHAIN, *SHAPE, "--layer", "*"]),
    "shift, measured": ("Certificates", ["shift", CHAIN, *SHAPE, "--measure"]),
    "stream": ("LatencyReport", ["stream", CHAIN, *SHAPE]),
    "summary": ("ModuleSummary", ["summary", CHAIN, *SHAPE]),
    "compare": ("NetworkComparison", ["compare", CHAIN, CHAIN, *SHAPE]),
    "diagram": ("Connections", ["diagram", CHAIN, *SHAPE, "-o", "a.svg"]),
    "view": ("Page", ["view", CHAIN, *SHAPE, "-o", "a.html"]),
    "erf": ("EffectiveField", ["erf", CHAIN, *SHAPE, "--noise", "1"]),
    "tile, planned": ("JobReport", ["tile", CHAIN, "in.npy", "out.npy", *WHOLE, "--plan"]),
    "tile, done": ("JobReport", ["tile", CHAIN, "in.npy", "out.npy", *WHOLE, "--random-weights"]),
}
"""Per case, the schema and the command."""


def valid(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def test_the_schemas_are_those_of_the_page_of_fields():
    made = schemas()
    assert set(made) == {path.stem for path in FOLDER.glob("*.json")}
    for name, found in made.items():
        Draft202012Validator.check_schema(found)
        said = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
        assert said == text(found), "write it again: python -m tests.views.schemas"


def test_the_page_links_to_every_schema():
    page = (FOLDER.parent / "json.md").read_text(encoding="utf-8")
    assert all(f"(schema/{path.name})" in page for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("case", PRINTED)
def test_what_a_command_prints_is_valid(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, words = PRINTED[case]
    np.save("in.npy", np.zeros((1, 64, 64), np.float32))
    done = CliRunner().invoke(app, [*words, "--format", "json"])
    assert done.exit_code in (0, 1), done.output
    valid(name).validate(json.loads(done.stdout))


def test_every_command_has_a_schema():
    commands = typer.main.get_command(app).commands
    assert {words[0] for _, words in PRINTED.values()} == set(commands)


def test_another_field_another_type_or_a_missing_one_is_not_valid():
    fields = described()["Checked"]
    made = {"schema": 1, "path": "out.npy", "pieces": 2, "faults": ["Piece 1: it is not there."]}
    check = Draft202012Validator(schema("Checked", fields, [made]))
    check.validate(made)
    for wrong in ({**made, "more": 1}, {**made, "path": 3}, {"schema": 1}, {**made, "schema": 2}):
        with pytest.raises(ValidationError):
            check.validate(wrong)


def test_the_schemas_lie_where_the_site_takes_them_from():
    assert Path("docs/schema") == FOLDER.relative_to(FOLDER.parents[1])
