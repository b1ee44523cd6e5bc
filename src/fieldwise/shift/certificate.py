"""What is proven of a value: how it answers shifts of the input, and what breaks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fieldwise.errors import UsageError
from fieldwise.graph.graph import Graph
from fieldwise.graph.names import matched, resolve
from fieldwise.reports import Report


@dataclass(frozen=True, slots=True)
class Move:
    """Which positions a shift of the input by one period moves, and how far.

    Along dimension ``dim`` the positions [start, stop) are a row-major index of ``outer`` ×
    ``size`` × ``inner``; its middle digit is rolled by ``step``, towards higher indices where
    that is positive.  For a feature map outer and inner are 1; the rows of patches in a line of
    tokens have an inner of as many tokens as a row has.
    """

    dim: int
    start: int
    stop: int
    outer: int
    size: int
    inner: int
    step: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """A node that ends the proof: its result, module and reason, and what repairs it.

    known: False where the proof ends because what the op does with positions is not known, or
           whether what comes after undoes it: it may or may not break the equivariance
    """

    node: str
    module: str
    axis: int
    why: str
    remedy: str | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class Circular:
    """The circular theorem: rolling the input by multiples of ``period`` rolls the value.

    holds:      whether it is proven
    period:     the least proven shift, in input samples; None where none is
    step:       how far the value moves then along its dimension; 0: not at all; None where
                parts differ
    conditions: under which the same network passes at other sizes
    moves:      which positions move; none where the value does not change
    undecided:  it is not proven, and nothing known breaks it: every breaker is unknown
    """

    holds: bool
    period: int | None = None
    step: int | None = None
    conditions: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class Interior:
    """The interior theorem: which positions are out of reach of the input's edges.

    range:  [start, stop) of the positions along the moving dimension, or within a row where a
            dimension holds rows of which each moves; None: there are none
    period: shifting what is seen by so many samples moves these positions by ``step``, which is
            None where they are rows that move, of positions that move as well
    """

    range: tuple[int, int] | None = None
    period: int | None = None
    step: int | None = None
    moves: tuple[Move, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether no position is out of reach."""
        return self.range is None

    @property
    def carried(self) -> tuple[int, int] | None:
        """The positions whose value, after a shift by one period, is at another interior position.

        >>> Interior((3, 17), period=32, step=1).carried
        (3, 16)
        """
        if self.range is None or self.step is None:
            return None
        start, stop = self.range
        found = (start, stop - self.step) if self.step > 0 else (start - self.step, stop)
        return found if found[0] < found[1] else None


@dataclass(frozen=True, slots=True)
class AxisCertificate:
    """Both theorems for one axis of the input; who breaks the circular one, and the interior."""

    axis: int
    size: int
    circular: Circular
    interior: Interior
    broken_by: tuple[Breaker, ...] = ()
    emptied_by: tuple[Breaker, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether the circular theorem is neither proven nor broken by anything known."""
        return self.circular.undecided


@dataclass(frozen=True, slots=True)
class Certificate(Report):
    """What is proven of one value, per axis of the input.

    name:  the one that it was asked for by; for an output, the one that the user knows
    value: its name in the graph; names: all that stand for it
    """

    name: str
    value: str
    shape: tuple[int, ...]
    axes: tuple[AxisCertificate, ...]
    names: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[AxisCertificate, ...]:
        """One per axis."""
        return self.axes

    def along(self, axis: int) -> AxisCertificate:
        """The certificate of one axis.  Raises UsageError for one that was not asked for."""
        for found in self.axes:
            if found.axis == axis:
                return found
        axes = ", ".join(str(found.axis) for found in self.axes)
        raise UsageError(f"Axis {axis} was not certified; only {axes}.")


@dataclass(frozen=True)
class Certificates(Report):
    """The certificates of every value of a graph that depends on ``input``.

    outputs: of the network's outputs, under the names that the user knows
    """

    graph: Graph
    input: str
    axes: tuple[int, ...]
    by_value: Mapping[str, Certificate]

    @property
    def outputs(self) -> tuple[Certificate, ...]:
        """One per output that depends on the input."""
        return tuple(self.by_value[value] for value in self.graph.outputs if value in self.by_value)

    @property
    def layers(self) -> tuple[Certificate, ...]:
        """One per other value that depends on the input, in execution order."""
        shown = {self.input, *self.graph.outputs}
        return tuple(one for value, one in self.by_value.items() if value not in shown)

    @property
    def rows(self) -> tuple[Certificate, ...]:
        """The outputs, then the layers."""
        return self.outputs + self.layers

    def __getitem__(self, name: str) -> Certificate:
        """The certificate of a value or module, under that name.

        Raises UsageError for an unknown one.
        """
        value = resolve(self.graph, name)
        if value not in self.by_value:
            raise UsageError(f"'{name}' does not depend on '{self.input}'.")
        return replace(self.by_value[value], name=name)

    def select(self, globs: str | Sequence[str]) -> tuple[Certificate, ...]:
        """Those whose value or module path matches a glob.  Raises UsageError if none does.

        Each has the name by which it was asked for.
        """
        return tuple(
            replace(self.by_value[value], name=name)
            for value, name in matched(self.graph, globs).items()
            if value in self.by_value
        )
