"""Sets, maps, reads and closed forms as lists of integers, each written once.

The page's arithmetic (``page/sets.js``, ``maps.js``, ``pull.js``) reads what is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from fieldwise.axes import AnySet, AxisMap, Border, IndexSet, Table, Tailed, Within
from fieldwise.axes.lattice import Lattice
from fieldwise.field.products import DigitLayout, Product
from fieldwise.graph.ir import Along, Coord, Fixed, Read, Separable, Step, Unknown

Plain = object
"""Integers, text and None, in lists and dicts: what JSON holds."""

TABLE_NUMBERS = 120_000
"""So many numbers of tables without a regular form are in a page; further tables are left out."""


@dataclass
class Interned:
    """Entries by number: an equal one is written once.

    >>> rows = Interned()
    >>> rows.number("a", lambda: [1]), rows.number("b", lambda: [2]), rows.number("a", lambda: [3])
    (0, 1, 0)
    >>> rows.entries
    [[1], [2]]
    """

    entries: list[Plain] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)

    def number(self, key: Hashable, make: Callable[[], Plain]) -> int:
        """The number of the entry of this key, which ``make`` makes where there is none."""
        if key not in self._numbers:
            entry = make()
            self._numbers[key] = len(self.entries)
            self.entries.append(entry)
        return self._numbers[key]


class Encoder:
    """What reads and closed forms are made of, collected while they are written.

    >>> encoder = Encoder()
    >>> encoder.map(AxisMap.window(3, stride=2, padding=1)), encoder.tables()
    (0, {'sets': [[-1, 2]], 'maps': [[2, [0]]], 'paths': [], 'forms': []})
    """

    def __init__(self, *, table_numbers: int = TABLE_NUMBERS) -> None:
        self._sets, self._maps, self._paths, self._forms = (Interned() for _ in range(4))
        self._left = table_numbers

    def tables(self) -> dict[str, Plain]:
        """All that was written, by kind."""
        return {
            "sets": self._sets.entries,
            "maps": self._maps.entries,
            "paths": self._paths.entries,
            "forms": self._forms.entries,
        }

    # -------------------------------------------------------------------- sets and maps

    def set(self, indices: AnySet) -> int:
        """The runs [start, stop, start, stop, …]; of a set without an end also its tails."""
        return self._sets.number(indices, lambda: _set(indices))

    def map(self, index: AxisMap[AnySet] | Table) -> int | None:
        """[advance, [offsets, …]], or a table; None for one that is left out."""
        if isinstance(index, Within):
            law, outputs, size = self.map(index.law), index.outputs, index.size
            key = ("within", index.law, outputs, size)
            return self._maps.number(key, lambda: {"law": law, "outputs": outputs, "size": size})
        rows = index.rows if isinstance(index, Table) else index.offsets
        if len(rows) > _FEW and not self._fits(rows):
            return None
        if isinstance(index, Table):
            return self._maps.number(index, lambda: {"rows": [self.set(row) for row in rows]})
        return self._maps.number(index, lambda: [index.advance, [self.set(row) for row in rows]])

    def _fits(self, rows: Sequence[AnySet]) -> bool:
        cost = len(rows) + sum(2 * sum(1 for _ in row.runs()) for row in set(rows)
                               if isinstance(row, IndexSet))  # fmt: skip
        if cost > self._left:
            return False
        self._left -= cost
        return True

    # -------------------------------------------------------------------- reads

    def path(self, read: Read) -> int:
        """The steps of a read, from the operand to the result, and the shapes between them."""
        return self._paths.number(
            (read.steps, read.shapes),
            lambda: [[self._step(step) for step in read.steps], list(map(list, read.shapes))],
        )

    def _step(self, step: Step) -> Plain:
        if not isinstance(step, Separable):
            return 0
        where = [[dim, self.set(indices)] for dim, indices in step.where]
        return [[self._coord(coord) for coord in step.coords], where]

    def _coord(self, coord: Coord) -> Plain:
        if isinstance(coord, Along):
            number = self.map(coord.map)
            if number is None:
                return (
                    {"why": f"a table of {len(coord.map)} rows is not in this page"}
                    if isinstance(coord.map, Table)
                    else {"why": "a map of many phases is not in this page"}
                )
            return [coord.dim, number, _BORDERS.index(coord.border)]
        if isinstance(coord, Fixed):
            return {"fixed": self.set(coord.indices)}
        return {"why": coord.why} if isinstance(coord, Unknown) else 0

    # -------------------------------------------------------------------- closed forms

    def form(self, layout: DigitLayout, products: Sequence[Product]) -> int | None:
        """The field of whole units: the sizes of their digits, and the products."""
        key = (tuple(tuple(size for size, _ in digits) for digits in layout), tuple(products))
        found = [self._product(product) for product in products]
        if None in found:
            return None
        return self._forms.number(key, lambda: {"digits": list(map(list, key[0])), "of": found})

    def _product(self, product: Product) -> Plain | None:
        tracks = []
        for track in product.tracks:
            number = self.map(track.map)
            if number is None:
                return None
            tracks.append([list(map(list, track.digits)), number])
        where = [[dim, self.set(indices)] for dim, indices in product.where]
        return [tracks, where, product.why]


def _set(indices: AnySet) -> Plain:
    if isinstance(indices, Tailed):
        return {
            "left": _lattice(indices.left),
            "low": indices.low,
            "window": _set(indices.window),
            "high": indices.high,
            "right": _lattice(indices.right),
        }
    return [end for run in indices.runs() for end in run]


def _lattice(tail: Lattice) -> Plain:
    return [tail.modulus, list(tail.residues)]


_BORDERS = (Border.DROP, Border.WRAP, Border.REFLECT, Border.SYMMETRIC, Border.CLAMP)
"""In the order of the numbers by which ``page/maps.js`` knows them."""
_FEW = 64
"""A map of no more phases counts as regular."""
