"""A page is one file that loads nothing, runs its own script alone, and shows names as text."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256

import numpy as np
import pytest

from fieldwise import receptive_fields
from fieldwise.capture.layers import layers_graph
from fieldwise.errors import UsageError
from fieldwise.see import view

HOSTILE = "</script><img src=x onerror=alert(1)>&\u2028'\"<!--"


@pytest.fixture(scope="module")
def report():
    return receptive_fields(layers_graph("conv3/2 conv3"))


def test_data_and_title_cannot_end_their_elements(report):
    page = view(report, names=[HOSTILE])
    html = page.html
    assert "<img" not in html
    assert html.count("<script") == html.count("</script>") == 2
    assert "<!--" not in html
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html)[1]
    assert json.loads(data)["networks"][0]["name"] == HOSTILE


def test_the_policy_allows_the_script_and_the_style_of_the_page_and_nothing_else(report):
    html = view(report).html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    allowed = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed["script-src"] == digest(script)
    assert allowed["style-src"] == digest(style)
    assert "connect-src" not in allowed


def digest(text):
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_the_file_names_no_address_to_load(report):
    html = view(report).html
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", html))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name space, which is never asked for
    assert not re.search(r"<(link|iframe|object|embed)\b", html)
    assert "eval(" not in html


def test_equal_reports_make_equal_pages(report):
    again = receptive_fields(layers_graph("conv3/2 conv3"))
    assert view(report).html == view(again).html


def test_a_page_is_saved_where_its_folder_is(tmp_path, report):
    path = view(report).save(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(UsageError, match=r"ends in '.svg'; a page is written as .html"):
        view(report).save(tmp_path / "page.svg")
    with pytest.raises(UsageError, match="There is no folder"):
        view(report).save(tmp_path / "none" / "page.html")


def test_a_report_shows_itself_as_a_page_and_a_notebook_frames_it(report):
    page = report.view(name="two layers")
    assert page.title == "two layers"
    frame = page._repr_html_()
    assert frame.startswith('<iframe title="two layers" sandbox="allow-scripts allow-downloads"')
    assert "<script" not in frame


def test_an_image_is_told_by_its_first_bytes(tmp_path, report):
    picture = tmp_path / "photo.jpg"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n0000")
    assert view(report, image=picture).data["image"]["src"].startswith("data:image/png;base64,")
    picture.write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(UsageError, match="no image that browsers show"):
        view(report, image=picture)
    with pytest.raises(UsageError, match="Cannot read the image"):
        view(report, image=tmp_path / "none.png")


def test_an_image_that_browsers_do_not_show_becomes_a_png_whose_name_says_how(tmp_path, report):
    pytest.importorskip("PIL")
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(3, 4))
    found = view(report, image=tmp_path / "a.npy").data["image"]
    assert found["src"].startswith("data:image/png;base64,")
    assert found["name"].startswith("a.npy (0.11 to 10.978 as black to white")
