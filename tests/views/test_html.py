"""Reports as HTML: the table's cells, escaped, and shown by IPython for the types that exist."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from importlib import import_module
from types import SimpleNamespace

import pytest
from rich.console import Console

from fieldwise.folding.report import FoldReport, Item
from fieldwise.views import html, notebook, table
from tests.views.reports import CROSSED, GLOBAL, OPAQUE, PLAIN, report, row

ROWS = (PLAIN, CROSSED, GLOBAL, OPAQUE)


def named(*rows, model=None):
    made = report(*rows)
    made.model = model
    return made


def cells(markup, tag="td"):
    return ["".join(cell.itertext()) for cell in ET.fromstring(markup).iter(tag)]


def test_the_cells_are_those_of_the_table_for_terminals():
    text = io.StringIO()
    console = Console(file=text, width=400)
    console.print(table.render(named(*ROWS), ROWS, model="net"))
    said = text.getvalue()
    markup = html.field_report(named(*ROWS, model="net"))
    for cell in cells(markup) + cells(markup, "th") + cells(markup, "p"):
        assert cell in said
    assert len(cells(markup)) == len(ROWS) * len(cells(markup, "th"))


def test_the_title_names_the_model_where_it_is_known():
    assert cells(html.field_report(named(PLAIN, model="net")), "b") == ["net, input 1x3x64x64"]
    (title,) = cells(html.field_report(named(PLAIN)), "b")
    assert title == "receptive fields, input 1x3x64x64"


def test_names_are_escaped():
    markup = html.field_report(named(row("<script>&", PLAIN.axes)))
    assert "&lt;script&gt;&amp;" in markup
    assert "<script>" not in markup


def test_colours_are_left_to_the_notebook_so_that_dark_mode_works():
    assert not re.search(r"color|background", html.field_report(named(*ROWS)))


def test_a_fold_report_says_what_was_folded_and_why_not():
    items = (
        Item("bn1", "batch_norm", into="conv1", direction="backward", folded=True),
        Item("bn2", "batch_norm", because="conv2 also feeds 'skip'"),
    )
    found = cells(html.fold_report(FoldReport(items)))
    assert "conv1" in found
    assert "conv2 also feeds 'skip'" in found


def test_certificates_are_a_row_per_value_and_axis_with_the_outputs_first():
    from fieldwise.capture import layers_graph
    from fieldwise.shift.proof.sweep import certify

    found = certify(layers_graph("conv3 relu conv3p1", (1, 1, 12)))
    rows = [row.itertext() for row in ET.fromstring(html.certificates(found)).iter("tr")]
    told = [list(row) for row in rows][1:]
    assert [row[0] for row in told] == ["conv3p1", "conv3", "relu"]
    assert {row[1] for row in told} == {"W"}
    assert told[0][-1] == "conv3: a valid convolution shortens the axis"
    assert cells(html.certificate(found["relu"]))[:2] == ["relu", "2"]


def test_plans_say_line_by_line_what_they_print():
    from fieldwise.tile.bands.plan import Kept, StreamPlan

    plan = StreamPlan(8, 3, (Kept("a<b", 2, 9, 64),), (), 64, 128)
    shown = ET.fromstring(html.lines(plan))
    assert shown.tag == "pre"
    assert shown.text == str(plan)


# -------------------------------------------------------------------- in IPython


class Formatter:
    """The part of IPython's formatters that is used."""

    def __init__(self):
        self.known = {}

    def for_type_by_name(self, module, name, render):
        self.known[f"{module}.{name}"] = render

    def pop(self, name, default):
        return self.known.pop(name, default)


@pytest.fixture
def ipython():
    formatters = {"text/html": Formatter()}
    return SimpleNamespace(display_formatter=SimpleNamespace(formatters=formatters))


def test_every_type_that_ipython_is_told_of_exists_under_its_name(ipython):
    notebook.load_ipython_extension(ipython)
    known = ipython.display_formatter.formatters["text/html"].known
    for path in known:
        module, name = path.rsplit(".", 1)
        assert getattr(import_module(module), name).__module__ == module
    assert {path.rsplit(".", 1)[1] for path in known} == {
        "FieldReport", "FoldReport", "Certificates", "Certificate", "TilePlan", "StreamPlan",
        "RunCertificate",
    }  # fmt: skip


def test_unloading_leaves_nothing_behind(ipython):
    notebook.load_ipython_extension(ipython)
    notebook.unload_ipython_extension(ipython)
    assert not ipython.display_formatter.formatters["text/html"].known
