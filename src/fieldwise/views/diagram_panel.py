"""One network of a connection diagram before it has its place: what is shown, and how large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from fieldwise.errors import UsageError
from fieldwise.field.unit_connections import Connections, UnitRow

ROWS = 24
EDGES = 5000
BEND = 0.12
FOOT = 0.35
"""Room for the key at the bottom."""

SYMBOLS = 8.0
"""The size of what stands below a row's name, in points."""

_NARROW = 0.75
"""Signs, blanks and subscripts are narrower than letters."""

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_HEAD = 0.75
_UNDER_INPUT = 0.53
_CAPTION = 0.17
_WHOLE = 32
_LONGEST = 26


def text_width(text: str, size: float = 9.0) -> float:
    """About how wide a line of text is, in inches; rather too much than too little."""
    return len(text) * size * 0.64 / 72


@dataclass(frozen=True, slots=True)
class Panel:
    """A network with its title, the range of the input's line that is shown, and its texts.

    low, high: in input coordinates: everything, or what lies near the units and the padding that
               the chosen unit depends on
    names:     one per row
    symbols:   what stands below each name; () for nothing
    caption:   what stands under the bracket, the receptive field first
    bend:      how far connections that skip rows stand out at the right, in inches
    """

    number: int
    network: Connections
    title: str
    low: Fraction
    high: Fraction
    names: tuple[str, ...]
    caption: tuple[str, ...]
    bend: float
    symbols: tuple[str, ...]

    @classmethod
    def of(
        cls, number: int, network: Connections, title: str, symbols: Sequence[str] = ()
    ) -> Panel:
        """The panel of a network.  Raises UsageError for more rows or edges than can be read."""
        _refuse_crowds(network, title)
        low, high = _window(network)
        spans = (
            number - edge.below for number, row in enumerate(network.rows) for edge in row.edges
        )
        furthest = max(spans, default=1)
        return cls(
            number=number,
            network=network,
            title=title,
            low=low,
            high=high,
            names=tuple(named(row.names) for row in network.rows),
            caption=_caption(network, low, high),
            bend=BEND * furthest if furthest > 1 else 0.0,
            symbols=tuple(symbols),
        )

    @property
    def subtitle(self) -> str:
        """Which unit was chosen."""
        return f"position {self.network.unit} of {named(self.network.rows[-1].names[-1:])}"

    @property
    def gutter(self) -> float:
        """The room for the names of the rows, in inches."""
        symbols = (text_width(text, SYMBOLS * _NARROW) for text in self.symbols)
        return max((*map(text_width, self.names), *symbols)) + 0.25

    @property
    def samples(self) -> float:
        """How many input samples wide it is."""
        return float(self.high - self.low) + 1

    def width(self, scale: float) -> float:
        """Its width in inches at so many inches per sample."""
        texts = max(text_width(line) for line in (*self.caption, self.subtitle))
        drawing = self.gutter + self.samples * scale + self.bend
        return max(drawing, texts, text_width(self.title, 10)) + 0.1

    @property
    def row_height(self) -> float:
        """From one row to the next, in inches."""
        return 0.72 if len(self.network.rows) < 9 else 0.5

    @property
    def below_input(self) -> float:
        """The room that the indices, the bracket and its caption need, in inches."""
        return _UNDER_INPUT + _CAPTION * len(self.caption)

    @property
    def above_input(self) -> float:
        """The room that the rows and the titles need, in inches."""
        return (len(self.network.rows) - 1) * self.row_height + _HEAD

    def shows(self, row: UnitRow, index: int) -> bool:
        """Whether this unit, or the padding at this index, is in the range that is shown."""
        return self.low <= row.position(index) <= self.high


def symbols_of(network: Connections, *, blank: bool) -> tuple[str, ...]:
    """Per row its kernel, in samples of the row below, and its stride; room for them if blank."""
    found = [""]
    for number, (below, row) in enumerate(pairwise(network.rows), 1):
        reads = Counter(edge.out for edge in row.edges if edge.below == number - 1)
        kernel, stride = max(reads.values(), default=0), row.stride / below.stride
        index = str(number).translate(_SUBSCRIPTS)
        sizes = ("__", "__") if blank else (str(kernel), str(stride))
        found.append(f"k{index} = {sizes[0]}, s{index} = {sizes[1]}")
    return tuple(found)


def named(names: Sequence[str]) -> str:
    """The values of a row in one short label.

    >>> named(["conv3", "relu"]), named(["layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu"])
    ('conv3, relu', 'layer1.0.conv1 +2')
    """
    whole = ", ".join(names)
    if len(whole) <= _LONGEST:
        return whole
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    first, room = names[0], _LONGEST - len(more)
    return (first if len(first) <= room else f"…{first[-room + 1 :]}") + more


def _refuse_crowds(network: Connections, title: str) -> None:
    rows, edges = network.rows, sum(len(row.edges) for row in network.rows)
    what = f"The diagram of {title!r} up to '{rows[-1].names[-1]}' has"
    if len(rows) > ROWS:
        raise UsageError(
            f"{what} {len(rows)} rows, more than the {ROWS} that can be read; name an earlier "
            "layer."
        )
    if edges > EDGES:
        raise UsageError(
            f"{what} {edges} connections, more than the {EDGES} that can be read; name an earlier "
            "layer or give a smaller input."
        )


def _window(network: Connections) -> tuple[Fraction, Fraction]:
    rows = network.rows
    everything = [row.position(index) for row in rows for index in (0, row.size - 1)]
    everything += _read(rows, only_seen=False)
    low, high = min(everything), max(everything)
    if high - low <= _WHOLE:
        return low, high
    cone = [
        row.position(end) for row in rows if row.seen for end in (row.seen.first, row.seen.last)
    ]
    cone += _read(rows, only_seen=True)
    coarsest = max(abs(row.stride) for row in rows if row.size > 1)
    room = min(max(coarsest, Fraction(3)), Fraction(8))
    return max(low, min(cone) - room), min(high, max(cone) + room)


def _read(rows: Sequence[UnitRow], *, only_seen: bool) -> Iterator[Fraction]:
    """Where the rows are read, padding included."""
    for row in rows:
        for edge in row.edges:
            if edge.seen or not only_seen:
                yield rows[edge.below].position(edge.position)


def _caption(network: Connections, low: Fraction, high: Fraction) -> tuple[str, ...]:
    found, whole, row = network.field, network.unbounded, network.rows[0]
    extent = "the whole input" if network.full else str(whole.extent)
    lines = [f"receptive field {'' if network.exact else '≤ '}{extent}"]
    if not whole.is_contiguous:
        lines.append(f"{whole.count} of them read")
    if found.count != whole.count:
        lines.append(f"{found.count} inside this input")
    shown = [index for index in range(row.size) if low <= row.position(index) <= high]
    if len(shown) < row.size:
        lines.append(f"shown: {shown[0]} to {shown[-1]} of {row.size} samples")
    return tuple(lines)
