"""What a step of the proof is made in, what it makes, and how it reads a whole dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import lcm

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node, Ref
from fieldwise.graph.tensors import TensorLike
from fieldwise.shift.proof.layout import (
    Dim,
    Explainer,
    Layout,
    has_spectrum,
    movers_of,
    period_of,
    stays,
)
from fieldwise.shift.proof.signal import BreaksError, Fault


@dataclass(frozen=True, slots=True)
class Frame:
    """What a step of the proof is made in.

    layouts:   of the operands of the node, by operand number
    period:    at which all of them are known to move
    axis_size: of the shifted input axis
    """

    graph: Graph
    node: Node
    position: int
    layouts: Mapping[int, Layout]
    period: int
    axis_size: int
    explainer: Explainer

    @property
    def name(self) -> str:
        """The name of the result."""
        return self.node.results[self.position]

    @property
    def result(self) -> tuple[int, ...]:
        """The shape of the result."""
        return self.graph.shape(self.name)

    def layout(self, number: int) -> Layout:
        """An operand's layout; one without takes no part in the shift."""
        if number in self.layouts:
            return self.layouts[number]
        return tuple(map(stays, self.graph.shape(self.node.operands[number])))

    def shape_of(self, item: Ref | TensorLike) -> tuple[int, ...]:
        """The shape of an argument, an operand or a constant."""
        if isinstance(item, Ref):
            return self.graph.shape(self.node.operands[item.operand])
        return tuple(item.shape)


@dataclass(frozen=True, slots=True)
class Advanced:
    """What a step makes: the layout of the result, which moves under multiples of ``period``.

    The period is also that of whatever was met on the way and is summed over.
    """

    layout: Layout
    period: int

    @classmethod
    def of(cls, layout: Layout, *met: int) -> Advanced:
        """A layout, and the periods of what else was met on the way to it."""
        return cls(layout, lcm(period_of(layout), *met))


def check_read_whole(dim: Dim) -> None:
    """Check that an op that reads all positions sees the same ones after a shift.

    Raises BreaksError where a window is not whole, or the signal unbounded.
    """
    if has_spectrum(dim):
        raise BreaksError(Fault("it sums over frequencies"))
    for moving in movers_of(dim):
        if moving.turn is None:
            raise BreaksError(Fault("it reads the whole axis, and so the edges"))
        if not moving.whole:
            raise BreaksError(*(fault for _, fault in moving.faults))
