"""Charts over depth, fields over photos, diagrams for print: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fieldwise import receptive_fields
from fieldwise.capture.layers import layers_graph
from fieldwise.errors import UsageError
from fieldwise.field import connections
from fieldwise.views.chart import chart_figure
from fieldwise.views.diagram import connection_diagram
from fieldwise.views.diagram_layout import DiagramStyle, arrange


def report(text, shape=(1, 1, 64, 64)):
    return receptive_fields(layers_graph(text, shape))


def test_a_chart_has_a_line_per_network_in_each_part():
    """Their numbers are those of the rows; coverage is of the clipped field."""
    one, two = report("conv3p1 conv3p1/2 conv3p1"), report("conv65p32")
    figure = one.chart(two, names=("small", "large"))
    extent, stride, coverage = figure.axes
    assert extent.lines[0].get_ydata().tolist() == [3, 5, 9]
    assert stride.lines[0].get_ydata().tolist() == [1, 2, 2]
    assert coverage.lines[1].get_ydata().tolist() == [1]
    assert coverage.lines[0].get_ydata().tolist() == pytest.approx(
        [(n / 64) ** 2 for n in (3, 5, 9)]
    )
    assert [text.get_text() for text in extent.get_legend().get_texts()] == ["small", "large"]


def test_too_many_networks_are_no_chart():
    """Eight are the most."""
    with pytest.raises(UsageError, match="one to 8 networks, not 9"):
        chart_figure(*[report("conv3")] * 9)


@pytest.mark.parametrize("names", [("one",), ("one", "two", "three")])
def test_a_chart_has_a_name_for_each_network_or_none(names):
    """Fewer or more are an error, of which network they are is not guessed."""
    with pytest.raises(UsageError, match=f"holds {len(names)} for 2 networks; give one each"):
        report("conv3").chart(report("conv5"), names=names)


def test_a_field_lies_over_a_photo(tmp_path):
    """Tinted where it is seen, dark elsewhere; a file and an array give the same."""
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[..., 0] = 200
    Image.fromarray(photo).save(tmp_path / "photo.png")
    found = report("conv33p16")
    pictures = [
        found.plot("conv33p16", (20, 20), image=image).axes[0].images[0].get_array()
        for image in (tmp_path / "photo.png", photo, photo / 255)
    ]
    np.testing.assert_allclose(pictures[0], pictures[1])
    np.testing.assert_allclose(pictures[1], pictures[2], atol=0.01)
    rows = pictures[0].shape[0]
    top = (rows - 64) // 2
    seen, unseen = pictures[0][top + 20, top + 20], pictures[0][top + 60, top + 60]
    plain = found.plot("conv33p16", (20, 20)).axes[0].images[0].get_array()
    assert seen[0] == pytest.approx(0.35 * plain[top + 20, top + 20][0] + 0.65 * 200 / 255)
    assert unseen[0] == pytest.approx(0.4 * 200 / 255 + 0.6 * 0.9)


def test_what_is_no_image_is_told():
    """An array of another kind, a file that is none, a field over one axis."""
    found = report("conv3")
    with pytest.raises(UsageError, match="This is no image"):
        found.plot(image=np.zeros((4, 4, 7)))
    with pytest.raises(UsageError, match="This is no image"):
        found.plot(image="gone.png")
    with pytest.raises(UsageError, match="over two axes, not over 1"):
        report("conv3", (1, 1, 64)).plot(image=np.zeros((4, 4, 3)))


def test_a_blank_diagram_has_dots_and_room_for_numbers_alone():
    """The same dots in the same places, no connection, nothing that gives the answer away."""
    network = connections(layers_graph("conv3/2p1 conv3", (1, 1, 24)), unit=2)
    usual = arrange([network], ["net"], DiagramStyle(symbols=True))
    blank = arrange([network], ["net"], DiagramStyle(symbols=True, blank=True))
    assert [(dot.name, dot.y) for dot in blank.dots] == [(dot.name, dot.y) for dot in usual.dots]
    assert {dot.mark for dot in blank.dots} == {"seen", "plain", "padding"}
    assert len([dot for dot in blank.dots if dot.mark == "seen"]) == 1
    assert not blank.strokes
    texts = [[label.text for label in layout.labels] for layout in (usual, blank)]
    assert "k₁ = 3, s₁ = 2" in texts[0]
    assert "k₁ = __, s₁ = __" in texts[1]
    assert not any("receptive field" in text for text in texts[1])


def test_a_diagram_is_as_wide_as_asked():
    """And nothing of it lies outside."""
    network = connections(layers_graph("conv3/2 conv3", (1, 1, 24)), unit=2)
    style = DiagramStyle(3.4, symbols=True)
    figure = connection_diagram(network, style=style)
    assert figure.get_size_inches()[0] == pytest.approx(3.4)
    layout = arrange([network], ["net"], style)
    assert all(0 <= dot.x <= 3.4 for dot in layout.dots)
    with pytest.raises(UsageError, match="too wide to be read"):
        arrange([connections(layers_graph("conv3", (1, 1, 80)))], ["net"], DiagramStyle(2.0))
