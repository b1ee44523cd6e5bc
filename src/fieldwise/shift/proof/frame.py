"""What a step of the proof is made in, and how it reads a whole dimension."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.shift.proof.layout import Dim, Layout, Voice, has_spectrum, movers_of, stays
from fieldwise.shift.proof.signal import BreaksError, Fault


@dataclass(frozen=True, slots=True)
class Frame:
    """What a step of the proof is made in.

    layouts:   of the operands of the node, by operand number
    period:    at which all of them are known to move
    axis_size: of the shifted input axis
    met:       periods of what is met on the way, and perhaps summed over
    names:     of the signals met so far in the sweep (see ``signal_names``)
    """

    graph: Graph
    node: Node
    position: int
    layouts: Mapping[int, Layout]
    period: int
    axis_size: int
    voice: Voice
    met: list[int] = field(default_factory=list)
    names: dict[Hashable, int] = field(default_factory=dict)

    @property
    def result(self) -> tuple[int, ...]:
        """The shape of the result."""
        return self.graph.shape(self.node.results[self.position])

    def layout(self, number: int) -> Layout:
        """An operand's layout; one without takes no part in the shift."""
        if number in self.layouts:
            return self.layouts[number]
        return tuple(map(stays, self.graph.shape(self.node.operands[number])))


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
