"""The page in a real browser: pointed at, typed into, walked by keys, in both themes."""

from __future__ import annotations

import json
import random
from base64 import b64decode
from pathlib import Path

import pytest
from torch import nn

from fieldwise import receptive_fields
from fieldwise.see import notes_of, view
from tests.see.asking import Questions, check_answers

HERE = Path(__file__).parent
ANSWERED = (HERE / "answered.mjs").read_text().removeprefix("export ")


def check(name):
    """A function of ``checks.js``, called on the page."""
    return f"() => {{ {(HERE / 'checks.js').read_text()} return {name}(); }}"


def wait_for(tab, state):
    """Until the address says so, which follows the page after a moment."""
    for _ in range(100):
        if state in tab.evaluate("location.hash"):
            return
        tab.wait_for_timeout(30)
    assert state in tab.evaluate("location.hash")


def small():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 2, 3, padding=1),
    ).eval()


@pytest.fixture(scope="module")
def report():
    return receptive_fields(small(), (1, 3, 32, 40))


@pytest.fixture(scope="module")
def page(report):
    return view(report, names=["small"], notes=[notes_of(report)])


@pytest.fixture(scope="module")
def two(report):
    other = receptive_fields(small()[:3], (1, 3, 32, 40))
    return view(report, other, names=["small", "smaller"])


VIEWS = ["layers", "sees", "who", "tiles", "streams", "shift"]


def test_the_numbers_on_the_screen_are_those_of_the_report(opened, page, report):
    tab = opened(page, "view=sees&layer=4&unit=5,7")
    known = report["4"].at(5, 7)
    terms = tab.locator(".card .terms").inner_text()
    assert f"{known.lo[0]} – {known.hi[0]}".replace("-", "−") in terms
    assert f"{known.count}, " in terms
    assert tab.locator(".card").get_by_text("Exact.").is_visible()


def test_the_browser_computes_what_the_report_says(opened, page, report):
    tab = opened(page)
    questions = Questions.drawn(report, random.Random(3), units=30, who=3)
    ask = (
        f"(asked) => {{ {ANSWERED}"
        "return answered(fieldwise.networks[0], fieldwise.numbersOf, asked); }"
    )
    assert check_answers(report, questions, tab.evaluate(ask, questions.plain())) > 30


def test_pointing_arrow_keys_and_typing_move_the_position(opened, page):
    tab = opened(page, "view=sees&layer=4")
    grid = tab.get_by_role("application")
    box = grid.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 3.5 / 40, box["y"] + box["height"] * 2.5 / 32)
    wait_for(tab, "unit=2,3")
    grid.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    wait_for(tab, "unit=3,4")
    tab.get_by_label("column").fill("9")
    wait_for(tab, "unit=3,9")
    assert tab.locator(".side .card h2").inner_text() == "Position 3, 9"


def test_one_channel_is_asked_for(opened, report):
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.PixelShuffle(2), nn.ReLU())
    apart = receptive_fields(model, (1, 4, 6, 6))
    tab = opened(view(apart), "view=sees&layer=0&unit=2,2&channel=3")
    assert tab.get_by_label("channel").input_value() == "3"
    said = tab.locator(".card .terms").inner_text()
    assert "Channels of the input\n2 – 3" in said
    tab.get_by_label("channel").fill("")
    assert "Channels of the input\n0 – 3" in tab.locator(".card .terms").inner_text()


def test_the_address_holds_the_state(opened, page):
    tab = opened(page, "view=sees&layer=2&unit=0,0&between=0&theme=dark")
    assert tab.locator("#layer").input_value() == "2"
    assert tab.locator("html").get_attribute("data-theme") == "dark"
    tab.get_by_role("link", name="Layers").click()
    assert "view=layers" in tab.evaluate("location.hash")
    tab.go_back()
    assert tab.locator("#layer").input_value() == "2"


def test_a_layer_is_found_by_its_name_and_chosen(opened, page):
    tab = opened(page, "view=layers")
    tab.get_by_role("searchbox").fill("upsample")
    assert tab.locator(".tree tbody tr").count() == 1
    tab.locator(".tree tbody tr").click()
    wait_for(tab, "layer=3")
    assert tab.locator(".card h2").inner_text() == "3"


def test_the_chart_selects_by_click_and_by_keys(opened, page):
    tab = opened(page, "view=layers&layer=0")
    chart = tab.get_by_role("application")
    chart.focus()
    tab.keyboard.press("ArrowRight")
    wait_for(tab, "layer=1")


def test_the_slider_shows_every_layer_between(opened, page, report):
    tab = opened(page, "view=sees&layer=4&unit=5,7")
    slider = tab.get_by_role("slider")
    slider.focus()
    tab.keyboard.press("Home")
    seen = set()
    for _ in range(len(report.values)):
        seen.add(slider.get_attribute("aria-valuetext"))
        tab.keyboard.press("ArrowRight")
    assert seen == set(report.values)


@pytest.mark.parametrize("name", VIEWS)
def test_nothing_is_wider_than_the_screen(opened, page, name):
    tab = opened(page, f"view={name}")
    for width in (375, 768, 3840):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", VIEWS)
def test_text_stands_out_from_its_ground(opened, page, name, scheme):
    """By the Web Content Accessibility Guidelines, 4.5 to 1 for text of this size."""
    tab = opened(page, f"view={name}", color_scheme=scheme)
    assert tab.evaluate(check("contrasts")) == []


@pytest.mark.parametrize("name", VIEWS)
def test_what_can_be_used_has_a_name(opened, page, name):
    tab = opened(page, f"view={name}")
    nameless = tab.evaluate(check("nameless"))
    assert nameless == []
    assert tab.locator("h1").count() == 1


def test_nothing_moves_once_it_is_painted(opened, page):
    tab = opened(page, "view=sees")
    shift = tab.evaluate(check("shift"))
    assert shift < 0.1


def test_who_sees_a_position_is_what_depends_on_it(opened, page, report):
    tab = opened(page, "view=who&layer=2&pixel=9,11")
    known = report.projective_field(9, 11, target="2")
    assert tab.locator(".side .panel p").first.inner_text().startswith(f"{known.count} positions")
    box = tab.get_by_role("application").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 80, box["y"] + box["height"] / 64)
    wait_for(tab, "pixel=0,0")
    assert tab.get_by_role("heading", name="If 0, 0 changed").is_visible()


def test_a_tile_is_dragged_resized_and_put_back_on_the_grid(opened, page):
    tab = opened(page, "view=tiles&layer=2&tile=8,8,16,16")
    svg = tab.get_by_role("application")
    box = svg.bounding_box()

    def at(row, column):
        return box["x"] + box["width"] * column / 40, box["y"] + box["height"] * row / 32

    for start, stop, wanted in [
        ((16, 16), (18, 20), "10,12,16,16"),
        ((26, 28), (30, 36), "10,12,20,24"),
    ]:
        tab.mouse.move(*at(*start))
        tab.mouse.down()
        tab.mouse.move(*at(*stop), steps=3)
        tab.mouse.up()
        wait_for(tab, f"tile={wanted}")
    svg.focus()
    tab.keyboard.press("Alt+ArrowRight")
    wait_for(tab, "tile=10,13")
    assert tab.get_by_role("heading", name="Off the grid").is_visible()
    tab.get_by_role("button", name="Put it on the grid").click()
    assert tab.get_by_role("heading", name="On the grid").is_visible()


def test_a_stream_is_stepped_and_banded(opened, page, report):
    tab = opened(page, "view=streams&layer=2&band=8&step=0")
    assert tab.locator(".card h2").inner_text().startswith("Step 1 of")
    tab.get_by_role("slider").focus()
    tab.keyboard.press("ArrowRight")
    wait_for(tab, "step=1")
    tab.get_by_label("band").fill("16")
    tab.get_by_label("band").press("Enter")
    wait_for(tab, "band=16")


def test_what_breaks_equivariance_is_a_pin_on_its_layer(opened, page):
    tab = opened(page, "view=shift")
    assert tab.get_by_text("zero padding.").first.is_visible()
    tab.locator(".breakers button").first.click()
    wait_for(tab, "view=layers")
    assert tab.locator(".card .alert").inner_text().startswith("Shift: zero padding.")
    assert tab.locator("tr.chosen .pin.bad").inner_text() == "shift"


def test_two_networks_stand_side_by_side(opened, two):
    tab = opened(two, "view=compare")
    assert tab.get_by_role("status").inner_text() == "2 of 6 layers differ"
    assert tab.get_by_text("only in the first").count() == 2
    deepest = tab.locator("main .panel").first.locator("tbody tr")
    assert deepest.nth(0).locator("td").first.inner_text() == "4"
    assert deepest.nth(1).locator("td").first.inner_text() == "2"
    tab.get_by_label("only what differs").uncheck()
    assert tab.locator(".compare tbody tr").count() == 6
    tab.get_by_role("link", name="What it sees").click()
    tab.get_by_label("Network").select_option("smaller")
    assert tab.locator("#layer option").count() == 4


def test_an_image_is_bright_where_it_is_seen(opened, report, tmp_path):
    image = tmp_path / "dot.png"
    image.write_bytes(b64decode(DOT))
    tab = opened(view(report, image=image), "view=sees&layer=2&unit=3,4")
    pictures = tab.locator(".picture.main image")
    assert pictures.count() == 2
    assert pictures.nth(1).evaluate("(one) => getComputedStyle(one).clipPath.startsWith('url')")
    shape = tab.locator(".picture.main clipPath path").get_attribute("d")
    assert shape == tab.locator(".picture.main path.seen").get_attribute("d") != ""


DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
"""One pixel."""


def test_a_notebook_shows_the_page_in_a_frame(browser, page, tmp_path):
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><body>{page._repr_html_()}</body>", encoding="utf-8")
    tab = browser.new_page()
    tab.goto(notebook.as_uri())
    frame = tab.frame_locator("iframe")
    frame.get_by_role("link", name="What it sees").click()
    frame.get_by_role("application").press("Home")
    assert frame.locator(".side .card h2").inner_text() == "Position 0, 0"
    tab.close()


def test_names_are_shown_as_text(opened):
    name = "</script><img src=x onerror=document.title='owned'>"
    made = view(receptive_fields(Hostile(name), (1, 1, 9)), names=[name])
    for shown in ("layers", "sees", "streams"):
        tab = opened(made, f"view={shown}")
        assert tab.locator("h1").inner_text() == name
        assert tab.locator("img").count() == 0
        assert tab.title() == name


class Hostile(nn.Module):
    """A network whose module has a name that would be markup."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.add_module(name.replace(".", "_"), nn.Conv1d(1, 1, 3))

    def forward(self, x):
        return next(self.children())(x)


def test_numbers_and_pictures_are_saved(opened, page):
    tab = opened(page, "view=sees&layer=4&unit=5,7")
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="JSON").click()
    answer = json.loads(Path(saved.value.path()).read_text())
    assert (answer["layer"], answer["unit"], answer["exact"]) == ("4", [5, 7], True)
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="SVG").click()
    text = Path(saved.value.path()).read_text()
    assert text.startswith("<svg")
    assert "class=" not in text
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="PNG").click()
    assert Path(saved.value.path()).read_bytes().startswith(b"\x89PNG")
