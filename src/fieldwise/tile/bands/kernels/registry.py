"""How to run an op on rows [lo, hi) of its result: a table by canonical op name.

An executor is made once per node from its ``Site`` and is then called with the ``Rows`` of the
operands and the interval to compute.  It returns the op's results on these rows.  It raises
``Blocked`` when it is made, never when it is called, where the op cannot be run on a band.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fieldwise.axes import AxisMap, Border, Table
from fieldwise.graph.calls import bind
from fieldwise.graph.ir import Call, Node, Ref, Shape
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.kernels.constants import ConstantRows, Laws
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.errors import Blocked


@dataclass(frozen=True, slots=True)
class Link:
    """How a streamed operand reaches a result: where its axis lies, its shape, its rows.

    spread: whether it has one row, which the call broadcasts to all of the result
    """

    axis: AxisPlace
    shape: Shape
    map: AxisMap | Table
    reach: RowReach
    dtype: torch.dtype = torch.float32
    spread: bool = False

    @property
    def dim(self) -> int:
        """The dimension of the operand in which its rows lie."""
        return self.axis.dim

    @property
    def rows(self) -> int:
        """Rows of the operand."""
        return self.axis.rows(self.shape)

    def keeps(self, rows: int) -> bool:
        """Whether each of the result's ``rows`` rows is the operand's row of the same number, or
        its only one.
        """
        return self.spread or (self.map.is_identity and self.rows == rows)

    def at_hand(self, rows: Rows, number: int, lo: int, hi: int) -> Tensor:
        """What rows [lo, hi) of a result that ``keeps`` the operand's read of it."""
        return rows.inside(number, 0, 1) if self.spread else rows.inside(number, lo, hi)


def without_data(shape: Shape, dtype: torch.dtype) -> Tensor:
    """A tensor on the meta device."""
    return torch.empty(shape, dtype=dtype, device="meta")


@dataclass(frozen=True, slots=True)
class Site:
    """A node as executors see it.

    result: which of the node's results is asked for; ``shape`` is its shape
    axis:   where the streamed axis lies in the result
    links:  per operand of the node, None where it is not streamed (it is a constant of the call)
    shapes: of all results of the node
    laws:   where the total length is not known, how constants go on; else None
    """

    node: Node
    call: Call
    result: int
    shape: Shape
    axis: AxisPlace
    links: tuple[Link | None, ...]
    shapes: tuple[Shape, ...] = ()
    laws: Laws | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The arguments of the call by name: a ``Ref`` is streamed, another operand is a tensor."""
        return bind(self.call)

    @property
    def dim(self) -> int:
        """The dimension of the result in which its rows lie."""
        return self.axis.dim

    @property
    def rows(self) -> int:
        """Rows of the result."""
        return self.axis.rows(self.shape)

    @property
    def is_folded(self) -> bool:
        """Whether in some tensor rows share a dimension with what stands before them."""
        return any(axis.lead > 1 for axis in (self.axis, *(k.axis for _, k in self.streamed)))

    @property
    def streamed(self) -> list[tuple[int, Link]]:
        """The streamed operands, by number."""
        return [(number, link) for number, link in enumerate(self.links) if link is not None]

    @property
    def endless(self) -> bool:
        """Whether the total length is not known; then ``rows`` means nothing."""
        return any(link.reach.size is None for _, link in self.streamed)

    def only(self, name: str) -> tuple[int, Link]:
        """The operand that argument ``name`` is, where it is the only streamed one.

        Raises Blocked otherwise.
        """
        given = self.given.get(name)
        if not isinstance(given, Ref) or [n for n, _ in self.streamed] != [given.operand]:
            raise Blocked(f"another argument than '{name}' depends on the input")
        return self.streamed[0]

    def single(self) -> tuple[int, Link]:
        """The only streamed operand.  Raises Blocked where there are several."""
        if len(self.streamed) != 1:
            raise Blocked("several of its arguments depend on the input")
        return self.streamed[0]

    def operands(self, rows: Rows, lo: int, hi: int) -> list[Tensor | None]:
        """The same rows of every streamed operand, None for the others."""
        return [
            None if link is None else link.at_hand(rows, number, lo, hi)
            for number, link in enumerate(self.links)
        ]

    def with_rows(self, rows: int) -> list[Tensor | None]:
        """The streamed operands without data, with so many rows; None for the others."""
        return [
            None
            if link is None
            else without_data(link.axis.sized(link.shape, 1 if link.spread else rows), link.dtype)
            for link in self.links
        ]

    def band(self, rows: int) -> Shape:
        """The shape of the result with this many rows."""
        return self.axis.sized(self.shape, rows)


Carried = dict[str, Any]
"""What a node keeps from one band to the next: tensors, or lists of them."""


class Rows(Protocol):
    """The rows of a node's operands, by operand number, and what the node carries along."""

    @property
    def state(self) -> Carried:
        """What the node keeps from one band to the next."""

    def inside(self, operand: int, start: int, stop: int) -> Tensor:
        """Rows that exist, 0 ≤ start ≤ stop ≤ size."""

    @property
    def constant(self) -> ConstantRows:
        """Reads positions of constants."""

    @property
    def room(self) -> Tensor | None:
        """Where the only result may be written, to be returned; None: nowhere yet."""

    @property
    def recorded(self) -> bool:
        """Whether the ops that are run are recorded, so that all who read a record know them."""

    def convolved(self, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The rows and the weight of a convolution, as it is quickest."""

    def padded(
        self, operand: int, start: int, stop: int, border: Border, fill: float = 0.0
    ) -> Tensor:
        """Rows [start, stop), those outside read as the border says (``fill`` for DROP)."""

    def seams(self, operand: int, start: int, stop: int) -> Sequence[int]:
        """Rows in between with which another piece of memory begins."""


KernelRun = Callable[[Rows, int, int], Sequence[Tensor]]


def _always(_lo: int, _hi: int) -> bool:
    return True


def _nothing(read: int, apart: int, made: int) -> int:  # noqa: ARG001
    return 0


@dataclass(frozen=True, slots=True)
class Executor:
    """How to run a node, and what it asks of the schedule.

    reaches: replaces the reach of some operands (by number) where the op needs more rows
    ordered: every row must be computed, from the first on (the op carries a state along)
    whole:   all results of the node are computed at once; else only the one of the site
    pieces:  operands may lie in several pieces: it goes from seam to seam (see ``by_pieces``), and
             writes its rows where they are kept; those of others are copied there
    copies:  whether, for rows [lo, hi), rows of operands that reach beyond an end are copied
    carried_bytes: of the state that it hands on to the next band
    beside:  what torch's kernel holds beside rows of so many bytes that it reads, of which so many
             are a part of a chunk, and that it makes
    """

    run: KernelRun
    reaches: tuple[tuple[int, RowReach], ...] = ()
    ordered: bool = False
    whole: bool = False
    pieces: bool = False
    copies: Callable[[int, int], bool] = _always
    carried_bytes: int = 0
    beside: Callable[[int, int, int], int] = _nothing


ENDLESS = 1 << 60

FOLDED = ("reshape", "expand", "col2im")
"""Ops whose makers know rows that share a dimension with what stands before them."""

Maker = Callable[[Site], Executor]
_MAKERS: dict[str, Maker] = {}


def executor(*ops: str) -> Callable[[Maker], Maker]:
    """Register the maker of executors of these canonical ops.

    Raises ValueError where an op already has one.
    """

    def register(maker: Maker) -> Maker:
        for op in ops:
            if op in _MAKERS:
                raise ValueError(f"The op {op} already has the executor {_MAKERS[op].__name__}.")
            _MAKERS[op] = maker
        return maker

    return register


def find_maker(op: str) -> Maker | None:
    """The maker of an op's executors, or None."""
    return _MAKERS.get(op)
