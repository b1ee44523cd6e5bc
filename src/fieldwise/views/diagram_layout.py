"""Where everything of a connection diagram stands, in inches: pure geometry, no drawing.

Networks stand side by side at one scale, their inputs on one line at the bottom.  Element ids say
what a mark means, all numbers counted from 0, row 0 being the input::

    unit-MODEL-ROW-INDEX                   a unit
    padding-MODEL-ROW-INDEX                padding, a hollow dot
    edge-MODEL-ROW-OUT-BELOW-INDEX         unit OUT of ROW reads unit INDEX of row BELOW,
                                           and the chosen position depends on it
    faint-MODEL-ROW-OUT-BELOW-INDEX        the same, and the chosen unit does not
    zero-MODEL-ROW-OUT-BELOW-INDEX         it reads padding that depends on nothing

A read that a circular or reflecting padding sends back inside ends at the hollow dot that stands
for the unit; its id has '-atPOSITION' appended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from fieldwise.errors import UsageError
from fieldwise.field.unit_connections import Connections, Edge, UnitRow
from fieldwise.views.diagram_panel import BEND, FOOT, SYMBOLS, Panel, symbols_of, text_width

WIDTH = 8.0
MODELS = 4

Mark = Literal["seen", "plain", "padding", "used padding"]
LineStyle = Literal["seen", "faint", "zero", "bracket"]
Anchor = Literal["left", "center", "right"]


@dataclass(frozen=True, slots=True)
class Dot:
    """A unit or a piece of padding."""

    name: str
    x: float
    y: float
    radius: float
    mark: Mark


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line between two points, bent to the right by ``bend`` inches."""

    name: str
    start: tuple[float, float]
    end: tuple[float, float]
    line: LineStyle
    bend: float = 0.0


@dataclass(frozen=True, slots=True)
class Label:
    """A piece of text, centred vertically at y; ``size`` in points."""

    x: float
    y: float
    text: str
    size: float = 9.0
    place: Anchor = "center"
    strong: bool = False


@dataclass(frozen=True, slots=True)
class DiagramLayout:
    """A whole diagram, the origin at its lower left."""

    width: float
    height: float
    dots: tuple[Dot, ...]
    strokes: tuple[Stroke, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class DiagramStyle:
    """What of a diagram is shown.

    width:   in inches
    blank:   the dots alone, the chosen one dark, to draw the connections by hand
    symbols: the kernel and the stride of every row, as k₁ and s₁; room for them where it is blank
    """

    width: float = WIDTH
    blank: bool = False
    symbols: bool = False


USUAL = DiagramStyle()


def arrange(
    networks: Sequence[Connections], titles: Sequence[str], style: DiagramStyle = USUAL
) -> DiagramLayout:
    """The layout of these networks side by side, one title each.

    Raises UsageError for more than fits the width and stays readable, with what to leave out.

    >>> from fieldwise.capture.layers import layers_graph
    >>> from fieldwise.field.unit_connections import connections
    >>> layout = arrange([connections(layers_graph("conv3", (1, 1, 5)), unit=1)], ["conv3"])
    >>> [stroke.name for stroke in layout.strokes if stroke.line == "seen"]
    ['edge-0-1-1-0-1', 'edge-0-1-1-0-2', 'edge-0-1-1-0-3']
    """
    if not 1 <= len(networks) <= MODELS:
        raise UsageError(
            f"A diagram shows one to {MODELS} networks side by side, not {len(networks)}; "
            "draw the others in another."
        )
    panels = [
        Panel.of(
            number, network, title,
            symbols_of(network, blank=style.blank) if style.symbols else (),
        )
        for number, (network, title) in enumerate(zip(networks, titles, strict=True))
    ]  # fmt: skip
    scale = _scale(panels, style.width)
    floor = FOOT + max(panel.below_input for panel in panels)
    height = floor + max(panel.above_input for panel in panels)
    dots: list[Dot] = []
    strokes: list[Stroke] = []
    labels: list[Label] = []
    left = _MARGIN
    spare = style.width - 2 * _MARGIN - sum(panel.width(scale) for panel in panels)
    for panel in panels:
        left += spare / (2 * len(panels))
        drawn = _Drawing(panel, left, floor, scale, style)
        dots += drawn.dots()
        strokes += drawn.strokes()
        labels += drawn.labels()
        left += panel.width(scale) + spare / (2 * len(panels))
    return DiagramLayout(style.width, height, tuple(dots), tuple(strokes), tuple(labels))


def _scale(panels: Sequence[Panel], width: float) -> float:
    """Inches per input sample, the same for all."""
    room = width - 2 * _MARGIN
    scale = _LARGEST
    while scale > _SMALLEST and sum(panel.width(scale) for panel in panels) > room:
        scale *= 0.97
    if sum(panel.width(scale) for panel in panels) > room:
        widest = max(panels, key=lambda panel: panel.samples)
        raise UsageError(
            f"The diagram is too wide to be read: {widest.title!r} alone shows "
            f"{round(widest.samples)} samples; name an earlier layer, give a smaller input or draw "
            "fewer networks."
        )
    return scale


@dataclass(frozen=True, slots=True)
class _Drawing:
    """One network in its place: everything in inches."""

    panel: Panel
    left: float
    floor: float
    scale: float
    style: DiagramStyle = USUAL

    def x(self, row: UnitRow, index: int) -> float:
        samples = float(row.position(index) - self.panel.low) + 0.5
        return self.left + self.panel.gutter + samples * self.scale

    def y(self, row: int) -> float:
        return self.floor + row * self.panel.row_height

    def radius(self, row: UnitRow) -> float:
        return min(0.085, 0.36 * self.scale * float(abs(row.stride)))

    @property
    def rows(self) -> tuple[UnitRow, ...]:
        return self.panel.network.rows

    # ---------------------------------------------------------------- marks

    def dots(self) -> Iterator[Dot]:
        for number, row in enumerate(self.rows):
            radius, y = self.radius(row), self.y(number)
            for index in range(row.size):
                if self.panel.shows(row, index):
                    name = f"unit-{self.panel.number}-{number}-{index}"
                    chosen = number == len(self.rows) - 1 and index == self.panel.network.unit
                    seen = chosen or (index in row.seen and not self.style.blank)
                    mark: Mark = "seen" if seen else "plain"
                    yield Dot(name, self.x(row, index), y, radius, mark)
            padding: dict[int, bool] = {}
            for edge in self._edges_to(number):
                if not 0 <= edge.position < row.size and self.panel.shows(row, edge.position):
                    padding[edge.position] = padding.get(edge.position, False) or edge.seen
            for position, used in padding.items():
                name = f"padding-{self.panel.number}-{number}-{position}"
                mark = "used padding" if used and not self.style.blank else "padding"
                yield Dot(name, self.x(row, position), y, radius, mark)

    def _edges_to(self, number: int) -> Iterator[Edge]:
        for row in self.rows:
            yield from (edge for edge in row.edges if edge.below == number)

    # ---------------------------------------------------------------- lines

    def strokes(self) -> Iterator[Stroke]:
        if self.style.blank:
            return
        for number, row in enumerate(self.rows):
            for edge in row.edges:
                below = self.rows[edge.below]
                if self.panel.shows(row, edge.out) and self.panel.shows(below, edge.position):
                    start = (self.x(row, edge.out), self.y(number))
                    end = (self.x(below, edge.position), self.y(edge.below))
                    bend = 0.0 if edge.below == number - 1 else BEND * (number - edge.below)
                    yield Stroke(self._name(number, edge), start, end, _line(edge), bend)
        yield from self._bracket()

    def _name(self, number: int, edge: Edge) -> str:
        kind = {"seen": "edge", "faint": "faint", "zero": "zero"}[_line(edge)]
        index = edge.position if edge.index is None else edge.index
        name = f"{kind}-{self.panel.number}-{number}-{edge.out}-{edge.below}-{index}"
        return name if index == edge.position else f"{name}-at{edge.position}"

    def _bracket(self) -> Iterator[Stroke]:
        ends = self._bracket_ends()
        if ends is None:
            return
        (left, right), y = ends, self.floor - 0.38
        corners = [(left, y + 0.07), (left, y), (right, y), (right, y + 0.07)]
        for number, (start, end) in enumerate(pairwise(corners)):
            yield Stroke(f"bracket-{self.panel.number}-{number}", start, end, "bracket")

    def _bracket_ends(self) -> tuple[float, float] | None:
        """Around what is read of the input, hollow dots that stand for a unit included."""
        row = self.rows[0]
        read = [edge.position for edge in self._edges_to(0) if _line(edge) == "seen"]
        if not read and not row.seen:
            return None
        read = read or [row.seen.first, row.seen.last]
        reach = max(self.radius(row), 0.4 * self.scale)
        return self.x(row, min(read)) - reach, self.x(row, max(read)) + reach

    # ---------------------------------------------------------------- text

    def labels(self) -> Iterator[Label]:
        panel = self.panel
        middle = self.left + panel.width(self.scale) / 2
        top = self.y(len(self.rows) - 1)
        yield Label(middle, top + 0.55, panel.title, 10.0, strong=True)
        yield Label(middle, top + 0.36, panel.subtitle)
        edge = self.left + panel.gutter - 0.15
        for number, name in enumerate(panel.names):
            yield Label(edge, self.y(number), name, place="right")
        for number, text in enumerate(panel.symbols):
            yield Label(edge, self.y(number) - 0.17, text, SYMBOLS, "right")
        yield from self._numbers()
        if not self.style.blank:
            yield from self._captions()

    def _numbers(self) -> Iterator[Label]:
        """The indices of the input's samples, as many as fit; of padding those it stands for."""
        row = self.rows[0]
        number = {index: index for index in range(row.size)}
        for edge in self._edges_to(0):
            if edge.index is not None:
                number[edge.position] = edge.index
        shown = [position for position in number if self.panel.shows(row, position)]
        widest = max(text_width(str(number[position]), 7.5) for position in shown) + 0.03
        every = next(step for step in _STEPS if step * self.scale >= widest)
        for position in shown:
            if position % every == 0:
                text = str(number[position])
                yield Label(self.x(row, position), self.floor - 0.21, text, 7.5)

    def _captions(self) -> Iterator[Label]:
        ends = self._bracket_ends()
        low, high = self.left, self.left + self.panel.width(self.scale)
        centre = sum(ends) / 2 if ends else (low + high) / 2
        for number, line in enumerate(self.panel.caption):
            half = text_width(line) / 2
            x = min(max(centre, low + half), high - half)
            yield Label(x, self.floor - 0.53 - 0.17 * number, line, strong=number == 0)


def _line(edge: Edge) -> LineStyle:
    if not edge.seen:
        return "faint"
    return "zero" if edge.index is None else "seen"


_MARGIN = 0.12
_LARGEST, _SMALLEST = 0.4, 0.04
_STEPS = (1, 2, 5, 10, 20, 50, 100)
