"""Connection diagrams: what the SVG draws is what brute force finds, and it can be read."""

from __future__ import annotations

import io
import itertools
import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from fieldwise.capture.layers import layers_graph
from fieldwise.errors import UsageError
from fieldwise.field.unit_connections import connections
from fieldwise.views.diagram import connection_diagram
from fieldwise.views.diagram_layout import arrange

pytest.importorskip("matplotlib")

EXERCISE = ("conv3 conv1", "conv3 conv3", "conv3/2 conv3")
PICTURES = (
    EXERCISE,
    ("conv3p1 relu conv3/2p1 maxpool2 conv3p1",),
    ("conv3/2p1 tconv3/2p1o1 conv3d2",),
    ("conv5p2 globalpool conv1",),
    ("conv7/4p3 maxpool3/2p1 conv3p1 conv3p1 conv3/2p1",),
    ("relu",),
    ("conv3d9", "up2 bilinear2"),
)


def networks(*texts, **options):
    return [connections(layers_graph(text), **options) for text in texts]


def drawn(figure):
    """The ids of the SVG's elements."""
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return [element.get("id", "") for element in ET.fromstring(text.getvalue()).iter()]


def numbers(ids, kind):
    return {tuple(map(int, name.split("-")[1:])) for name in ids if name.startswith(f"{kind}-")}


# -------------------------------------------------------------------- brute force


def taps(layer, out):
    """Every position that one output of 'conv K / S d D p P' reads, in a loop."""
    kernel, stride, dilation, padding = (
        int(found.group(1)) if (found := re.search(rf"{mark}(\d+)", layer)) else default
        for mark, default in (("conv", 1), ("/", 1), ("d", 1), ("p", 0))
    )
    return [out * stride - padding + tap * dilation for tap in range(kernel)]


def length(layer, size):
    """How many outputs fit, by trying."""
    padding = int(found.group(1)) if (found := re.search(r"p(\d+)", layer)) else 0
    fits = (out for out in itertools.count() if taps(layer, out)[-1] >= size + padding)
    return next(fits)


def brute_force(text, size, unit):
    """(edges that the unit depends on, all others, those into padding of units it depends on)."""
    layers = text.split()
    sizes = [size]
    for layer in layers:
        sizes.append(length(layer, sizes[-1]))
    cone, seen, faint, zero = {unit}, set(), set(), set()
    for row in range(len(layers), 0, -1):
        below = set()
        for out in range(sizes[row]):
            for position in taps(layers[row - 1], out):
                inside = 0 <= position < sizes[row - 1]
                edge = (0, row, out, row - 1, position)
                kind = faint if out not in cone else seen if inside else zero
                kind.add(edge)
                if out in cone and inside:
                    below.add(position)
        cone = below
    return seen, faint, zero, cone


@pytest.mark.parametrize("size", [14, 21])
@pytest.mark.parametrize("at", ["first", "middle", "last"])
@pytest.mark.parametrize(
    "text", [*EXERCISE, "conv3p1 conv3p1", "conv4/3p2 conv2d3p1", "conv5p4 conv1 conv3/2d2p2"]
)
def test_the_drawn_edges_are_those_of_brute_force(text, at, size):
    graph = layers_graph(text, (1, 1, size))
    units = graph.shape(graph.outputs[0])[2]
    unit = {"first": 0, "middle": units // 2, "last": units - 1}[at]
    found = connections(graph, unit=unit)
    ids = drawn(connection_diagram(found))
    seen, faint, zero, cone = brute_force(text, size, unit)
    assert numbers([name for name in ids if name.startswith("edge-")], "edge") == seen
    assert {name for name in ids if name.startswith("faint-")} == {
        "faint-" + "-".join(map(str, edge)) for edge in faint
    }
    assert {name for name in ids if name.startswith("zero-")} == {
        "zero-" + "-".join(map(str, edge)) for edge in zero
    }
    assert set(found.field) == cone


def test_three_networks_side_by_side_see_3_5_and_7_samples():
    figure = connection_diagram(*networks(*EXERCISE), titles=EXERCISE)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert [line for line in said if line.startswith("receptive")] == [
        f"receptive field {extent}" for extent in (3, 5, 7)
    ]
    bottom = Counter(edge[0] for edge in numbers(drawn(figure), "edge") if edge[3] == 0)
    assert bottom == {0: 3, 1: 3 * 3, 2: 3 * 3}


def test_no_id_is_used_twice():
    assert max(Counter(filter(None, drawn(connection_diagram(*networks(*EXERCISE))))).values()) == 1


# -------------------------------------------------------------------- where things stand


def test_stride_shows_as_spacing_and_units_stand_above_their_centre():
    layout = arrange(networks("conv3/2 conv3"), ["net"])
    x = {dot.name: dot.x for dot in layout.dots}
    apart = x["unit-0-0-1"] - x["unit-0-0-0"]
    assert x["unit-0-1-1"] - x["unit-0-1-0"] == pytest.approx(2 * apart)
    assert x["unit-0-2-0"] == pytest.approx(x["unit-0-0-3"])


def test_padding_is_hollow_and_stands_outside():
    layout = arrange(networks("conv3p1", unit=0), ["net"])
    marks = {dot.name: dot.mark for dot in layout.dots}
    x = {dot.name: dot.x for dot in layout.dots}
    assert marks["padding-0-0--1"] == "used padding"
    assert [mark for name, mark in marks.items() if name.startswith("padding")] == [
        "used padding", "padding",
    ]  # fmt: skip
    assert x["padding-0-0--1"] < x["unit-0-0-0"]


@pytest.mark.parametrize(
    ("text", "marks"),
    [("conv3/2 conv3", ["seen", "plain"]), ("conv3p1 conv3", ["seen", "plain", "used-padding"]),
     ("globalpool", ["seen"])],
)  # fmt: skip
def test_the_key_explains_the_marks_that_are_there(text, marks):
    figure = connection_diagram(*networks(text, unit=0))
    assert [name.removeprefix("key-") for name in drawn(figure) if name.startswith("key")] == marks


def test_the_bracket_spans_the_samples_that_are_read():
    layout = arrange(networks("conv3d4", unit=2), ["net"])
    x = {dot.name: dot.x for dot in layout.dots}
    ends = [s.start[0] for s in layout.strokes if s.name.startswith("bracket")]
    assert min(ends) < x["unit-0-0-2"] < x["unit-0-0-10"] < max(ends)
    assert max(ends) - min(ends) == pytest.approx(9 * (x["unit-0-0-1"] - x["unit-0-0-0"]), rel=0.1)


def test_of_a_large_network_only_the_neighbourhood_of_the_field_is_shown_and_said():
    (found,) = networks("conv3 conv3/2 conv3")
    large = connections(layers_graph("conv3 conv3/2 conv3", (1, 1, 400)))
    layout = arrange([large], ["net"])
    assert len(layout.dots) < 100
    assert any(re.fullmatch(r"shown: \d+ to \d+ of 400 samples", x.text) for x in layout.labels)
    assert not any("shown" in label.text for label in arrange([found], ["net"]).labels)
    names = {stroke.name for stroke in layout.strokes}
    assert all(
        f"edge-0-{number}-{edge.out}-{edge.below}-{edge.index}" in names
        for number, row in enumerate(large.rows)
        for edge in row.edges
        if edge.seen
    )


@pytest.mark.parametrize("texts", PICTURES, ids=" | ".join)
def test_no_label_overlaps_another_or_leaves_the_picture(texts):
    figure = connection_diagram(*networks(*texts), titles=texts)
    assert figure.get_size_inches()[0] * figure.dpi == 800
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(figure.bbox.contains(box.x0, box.y0) for box in boxes)
    assert all(figure.bbox.contains(box.x1, box.y1) for box in boxes)
    for one, two in itertools.combinations(boxes, 2):
        assert not one.overlaps(two)


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["conv3"] * 5, "one to 4 networks side by side, not 5"),
        (["conv3 " * 30], "has 31 rows, more than the 24 that can be read"),
        (["conv99 conv99"], "connections, more than the 5000 that can be read"),
        (["conv9d40"], "too wide to be read: 'net' alone shows 327 samples"),
    ],
)
def test_what_could_not_be_read_is_refused_with_a_remedy(texts, said):
    with pytest.raises(UsageError, match=said):
        connection_diagram(*networks(*texts), titles=["net"] * len(texts))
