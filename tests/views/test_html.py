"""Reports as HTML: the table's cells, escaped."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

from rich.console import Console

from fieldwise.folding.report import FoldReport, Item
from fieldwise.views import html, table, tables
from tests.views.reports import CROSSED, GLOBAL, OPAQUE, PLAIN, report, row

ROWS = (PLAIN, CROSSED, GLOBAL, OPAQUE)


def named(*rows, model=None):
    made = report(*rows)
    made.model = model
    return made


def shown(table, result):
    return html.to_html(table(result))


def cells(markup, tag="td"):
    return ["".join(cell.itertext()) for cell in ET.fromstring(markup).iter(tag)]


def test_the_cells_are_those_of_the_table_for_terminals():
    text = io.StringIO()
    console = Console(file=text, width=400)
    console.print(table.render(named(*ROWS), ROWS, model="net"))
    said = text.getvalue()
    markup = shown(tables.field_report, named(*ROWS, model="net"))
    for cell in cells(markup) + cells(markup, "th") + cells(markup, "p"):
        assert cell in said
    assert len(cells(markup)) == len(ROWS) * len(cells(markup, "th"))


def test_the_title_names_the_model_where_it_is_known():
    assert cells(shown(tables.field_report, named(PLAIN, model="net")), "b") == [
        "net, input 1x3x64x64"
    ]
    (title,) = cells(shown(tables.field_report, named(PLAIN)), "b")
    assert title == "receptive fields, input 1x3x64x64"


def test_names_are_escaped():
    markup = shown(tables.field_report, named(row("<script>&", PLAIN.axes)))
    assert "&lt;script&gt;&amp;" in markup
    assert "<script>" not in markup


def test_colours_are_left_to_the_notebook_so_that_dark_mode_works():
    assert not re.search(r"color|background", shown(tables.field_report, named(*ROWS)))


def test_a_fold_report_says_what_was_folded_and_why_not():
    items = (
        Item("bn1", "batch_norm", into="conv1", direction="backward", folded=True),
        Item("bn2", "batch_norm", because="conv2 also feeds 'skip'"),
    )
    found = cells(shown(tables.fold_report, FoldReport(items)))
    assert "conv1" in found
    assert "conv2 also feeds 'skip'" in found


def test_certificates_are_a_row_per_value_and_axis_with_the_outputs_first():
    from fieldwise.capture import layers_graph
    from fieldwise.shift.proof.sweep import certify

    found = certify(layers_graph("conv3 relu conv3p1", (1, 1, 12)))
    rows = [row.itertext() for row in ET.fromstring(shown(tables.certificates, found)).iter("tr")]
    told = [list(row) for row in rows][1:]
    assert [row[0] for row in told] == ["conv3p1", "conv3", "relu"]
    assert {row[1] for row in told} == {"W"}
    assert told[0][-1] == "conv3: a valid convolution shortens the axis"
    assert cells(shown(tables.certificate, found["relu"]))[:2] == ["relu", "2"]


def test_plans_say_line_by_line_what_they_print():
    from fieldwise.tile.bands.plan import Kept, StreamPlan

    plan = StreamPlan(8, 3, (Kept("a<b", 2, 9, 64),), (), 64, 128)
    markup = ET.fromstring(html.lines(plan))
    assert markup.tag == "pre"
    assert markup.text == str(plan)
