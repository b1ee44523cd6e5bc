"""Every report: iterable over its rows, printed as the command's table, plain data and HTML."""

from __future__ import annotations

import copy
import json
import pickle
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn
from typer.testing import CliRunner

from fieldwise import fold, receptive_fields
from fieldwise.capture import load_model
from fieldwise.cli import app
from fieldwise.field.unit_connections import connections
from fieldwise.reports import Report
from fieldwise.shift import certify, measure
from fieldwise.shift.measurement.beside_proof import contradictions
from fieldwise.shift.repair import periodic_copy
from fieldwise.views import field_json, reports, shift_json
from tests.views.documents import SHAPE, documents, every_report

PAGE = Path(__file__).parents[2] / "docs" / "json.md"


@pytest.fixture(scope="module")
def every(tmp_path_factory) -> dict[str, Report]:
    """A report of every type."""
    return every_report(tmp_path_factory.mktemp("job"))


NAMES = list(reports.VIEWS)
NAMELESS = {
    "TilePlan", "Certificate", "JobPlan", "JobReport", "EffectiveField", "Checked", "ManyReport",
}  # fmt: skip
"""Reports whose rows have no names: tiles, axes, pieces, shares, faults, files."""


def test_every_type_of_report_has_a_view_and_an_example(every):
    assert {type(report).__name__ for report in every.values()} == set(NAMES)
    assert all(isinstance(report, Report) for report in every.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_a_list_of_its_rows(name, every):
    report = every[name]
    assert len(report) == len(report.rows) == len(list(report)) > 0
    assert list(report) == list(report.rows)
    assert report.rows[-1] in report
    assert "no such name" not in report
    assert object() not in report


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NAMELESS])
def test_a_report_knows_the_names_of_its_rows(name, every):
    report = every[name]
    for row in report:
        assert getattr(row, "name", getattr(row, "module", None)) in report


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_plain_data_with_the_version_of_its_form(name, every):
    found = every[name].to_dict()
    assert json.loads(every[name].to_json()) == found
    assert next(iter(found.items())) == ("schema", 1)
    assert len(found[reports.VIEWS[name].entry]) >= 1


def pickled(report: Report) -> Report:
    return pickle.loads(pickle.dumps(report))


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_a_report_can_be_pickled_and_copied(name, again, every):
    found = again(every[name])
    assert type(found) is type(every[name])
    assert found.to_dict() == every[name].to_dict()
    assert str(found) == str(every[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_a_report_without_an_extension(name, every):
    markup = every[name]._repr_html_()
    shown = "".join(ET.fromstring(markup).itertext())
    for word in re.findall(r"[\w.]+", str(every[name])):
        assert word in shown


@pytest.mark.parametrize("name", NAMES)
def test_rows_become_flat_records_for_pandas(name, every, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    records = every[name].to_pandas()
    assert len(records) >= 1
    assert not any(isinstance(cell, dict) for record in records for cell in record.values())


def test_without_pandas_one_sentence_says_what_to_install(every, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^to_pandas needs pandas; install it with pip install"):
        every["FieldReport"].to_pandas()


def test_a_report_without_rows_is_true_all_the_same():
    assert fold(nn.ReLU().eval(), (1, 3)).report
    assert not len(fold(nn.ReLU().eval(), (1, 3)).report)


LIST = "conv3/2p1 relu conv3p1"


def command(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--input", "1x1x32x32"])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("words", "report"),
    [
        (["field"], lambda model: receptive_fields(model.source, model.example())),
        (["shift", "--layer", "*"], lambda model: certify(model.runnable().source, (1, 1, 32, 32))),
    ],
    ids=["field", "shift"],
)
def test_a_report_prints_the_table_of_the_command(words, report):
    verb, *options = words
    _, *wanted = command(verb, f"layers:{LIST}", *options).splitlines()
    _, *found = str(report(load_model(f"layers:{LIST}", "1x1x32x32"))).splitlines()
    lines = [line.split() for line in wanted]
    assert [line for line in found if line.split() not in lines] == []
    assert len(found) >= 4


# -------------------------------------------------------------------- names


class Stages(nn.Module):
    """The last stage and the list that holds it return one value."""

    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3))
        self.head = nn.ReLU()

    def forward(self, x):
        return self.head(self.stages(x))


@pytest.mark.parametrize("asked", ["stages", "stages.1"])
def test_an_entry_has_the_name_that_was_asked_for_and_lists_the_others(asked):
    model = Stages().eval()
    (row,) = receptive_fields(model, SHAPE).select(asked)
    (certificate,) = certify(model, SHAPE).select(asked)
    for entry in (field_json.layer(row), shift_json.value(certificate, output=False)):
        assert entry["name"] == asked
        assert sorted(entry["names"]) == ["stages", "stages.1"]


@pytest.mark.parametrize("asked", ["stages", "stages.1"])
def test_a_single_answer_has_the_name_that_was_asked_for(asked):
    model = Stages().eval()
    report = receptive_fields(model, SHAPE)
    assert report.find(asked).name == report[asked].row.name == asked
    assert report[asked].at(3, 3) == report["stages.1"].at(3, 3)
    assert certify(model, SHAPE)[asked].name == asked
    assert connections(model, SHAPE, layer=asked).rows[-1].names[-1] == asked
    measured = measure(model, SHAPE, shift=2, layers=asked)
    assert {moved.name for moved in measured.layers} == {asked}


@pytest.mark.parametrize(("one", "other"), [("stages", "stages.1"), ("stages.1", "stages")])
def test_a_contradiction_is_found_whatever_name_either_goes_by(one, other):
    model = Stages().eval()
    certificate = certify(periodic_copy(model, SHAPE), SHAPE)[one]
    measured = measure(model, SHAPE, shift=2, layers=other)
    assert certificate.along(2).circular.holds is False
    proven = replace(certificate, axes=tuple(map(proved, certificate.axes)))
    assert len(contradictions((proven,), measured)) == len(measured.layers) == 2


def proved(axis):
    return replace(axis, circular=replace(axis.circular, holds=True, period=1))


def test_a_glob_asks_for_what_it_matches():
    rows = receptive_fields(Stages().eval(), SHAPE).select(["stages.*"])
    assert [row.name for row in rows] == ["stages.0", "stages.1"]


# -------------------------------------------------------------------- the page of fields


def fields_of(value: object, path: str = "") -> set[str]:
    """The paths of all fields: 'layers[].extent'; keys within lists of lists are those of one."""
    if isinstance(value, dict):
        below = [fields_of(item, f"{path}.{key}" if path else key) for key, item in value.items()]
        return set().union({path} - {""}, *below)
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return {path}.union(*(fields_of(item, f"{path}[]") for item in value)) - {f"{path}[]"}
    return {path}


def documented() -> dict[str, set[str]]:
    """Per heading of the page, the fields of its table."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]
    return {
        section.split("\n")[0].strip("` "): set(re.findall(r"^\| `([^`]+)` ", section, re.M))
        for section in sections
    }


def test_the_page_describes_every_field_that_is_written_and_no_other(every):
    page = documented()
    for name, written in documents(every).items():
        fields = set().union(*map(fields_of, written))
        nested = {field for field in fields if field.startswith("saved.")}
        assert {field.removeprefix("saved.") for field in nested} == page["Saved"] - {
            "schema"
        } or not nested, name
        assert page[name] == fields - nested, name
    assert set(page) == {*NAMES, "AxisCheck", "Connections"}
