"""The table: what it shows, and what it leaves out."""

from __future__ import annotations

import io

from rich.console import Console

from fieldwise.views import table
from tests.views.reports import (
    CROSSED,
    CUT,
    GLOBAL,
    HOLED,
    JOINED,
    LONE,
    OPAQUE,
    PIECED,
    PLAIN,
    UNITS,
    report,
    row,
)


def lines(*rows, units=None):
    text = io.StringIO()
    console = Console(file=text, width=300)
    console.print(table.render(report(*rows), rows, model="net", units=units))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_the_title_names_the_model_and_its_input():
    assert lines(PLAIN)[0] == "net, input 1x3x64x64"


def test_equal_axes_are_written_once_and_columns_without_news_are_left_out():
    _, header, body = lines(PLAIN)
    assert header.split() == ["layer", "op", "shape", "extent", "stride", "start"]
    assert body.split() == ["conv1", "conv", "1x8x32x32", "3", "1", "-1"]


def test_different_axes_are_joined_and_products_are_counted():
    _, header, body = lines(CROSSED)
    assert "rectangles" in header
    assert body.split()[3:] == ["7x3", "1/2", "0", "2", "also", "block"]


def test_a_field_with_holes_shows_its_count():
    _, header, body = lines(HOLED)
    assert header.split()[3:5] == ["extent", "count"]
    assert body.split()[3:5] == ["9", "3"]


def test_a_field_cut_off_by_the_input_shows_what_is_left():
    _, header, body = lines(CUT)
    assert header.split()[3:5] == ["extent", "clipped"]
    assert body.split()[3:5] == ["97", "64"]


def test_a_full_axis_names_the_layer_that_made_it_so_beside_the_local_field():
    _, header, body = lines(GLOBAL)
    assert "local extent" in header
    assert body.split()[3:9] == ["all", "–", "–", "5", "2", "0"]
    assert body.endswith("all because of se.mean")


def test_an_upper_bound_is_marked_and_its_reason_is_a_footnote():
    *_, first, second, footnote = lines(OPAQUE, OPAQUE)
    assert "≤64" in first
    assert second.endswith("inexact [1]")
    assert footnote == "[1] grid_sample reads where data says"


def test_a_misaligned_join_and_a_field_at_this_size_only_are_named():
    assert lines(JOINED)[-1].endswith("misaligned at join; at this input size")


def test_units_show_what_they_see():
    _, header, first, second, third = lines(PLAIN, HOLED, CROSSED, units=UNITS)
    assert header.split()[-4:] == ["position", "sees", "samples", "notes"]
    assert "3,4  2..4 x 3..5" in first
    assert "nothing" in second
    assert third.split()[-5:-2] == ["–", "–", "–"]


def test_names_with_brackets_are_not_taken_for_markup():
    assert lines(row("lstm[0]", PLAIN.axes))[-1].startswith("lstm[0]")


def test_control_characters_in_names_are_written_as_escapes():
    """They would break the line, or move the terminal's cursor."""
    assert lines(row("a\nb\x1b[31m", PLAIN.axes))[-1].startswith(r"a\nb\x1b[31m ")


def test_a_row_without_spatial_axes_is_blank():
    assert lines(row("head", ()))[-1].split() == ["head", "conv", "1x8x32x32"]


def test_units_of_several_kinds_have_a_range_and_a_line_for_each_kind():
    _, header, head, first, second, footnote = lines(PIECED)
    assert header.split()[3:] == ["extent", "clipped", "stride", "start", "notes"]
    assert head.split()[3:7] == ["95..911x7", "64x–", "–x8", "–x0"]
    assert head.endswith("2 kinds of positions; at this input size")
    assert first.split() == ["positions", "0..15", "x", "0..7", "95x7", "8x1", "0"]
    assert second.split()[4:] == ["≤911x7", "32x1", "-440x0", "inexact", "[1]"]
    assert footnote == "[1] a bound"


def test_a_line_of_one_kind_does_not_speak_of_the_unit_that_was_asked_for():
    *_, head, first, _, _ = lines(PIECED, PLAIN, units=UNITS)[:-1]
    assert head.split()[7:10] == ["–", "–", "–"]
    assert first.split()[-1] == "0"


def test_a_row_of_one_unit_names_it():
    assert lines(LONE)[2].endswith("of position 4,5 alone; at this input size")
