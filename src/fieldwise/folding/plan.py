"""Which op goes where: a plan is data, read off the graph; nothing is executed or changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fieldwise.folding.candidates import Candidate
from fieldwise.folding.layers import Layer
from fieldwise.folding.report import Direction
from fieldwise.graph.ir import Node

Place = Literal["after", "before", "beside"]
Ban = tuple[int, Direction]
Bans = Mapping[Ban, str]


@dataclass(frozen=True, eq=False)
class Absorption:
    """A layer takes an affine op with scale Γ and shift α into its function f.

    place:  'after' it, Γf(x) + α; 'before' it, f(Γx + α); or 'beside' it, f(x) ± ((Γ − 1)x + α),
            for an op on a branch that is added to f(x) and goes on as the identity
    labels: per channel (of its operand where before), which coefficient; BARE where none
    shift:  by what the shift is multiplied on the way to the layer; 0: only the scale is taken
    sign:   −1 beside a branch that is subtracted
    """

    layer: Layer
    place: Place
    labels: tuple[int, ...]
    shift: float = 1.0
    sign: int = 1


@dataclass(frozen=True, eq=False)
class Fold:
    """An affine op that goes, and the layers that take it."""

    candidate: Candidate
    direction: Direction
    absorptions: tuple[Absorption, ...]

    @property
    def into(self) -> str:
        """The names of the layers."""
        return ", ".join(dict.fromkeys(taken.layer.name for taken in self.absorptions))

    @property
    def does(self) -> tuple[Ban, ...]:
        """What would forbid it alone."""
        return ((self.candidate.number, self.direction),)

    @property
    def bans(self) -> tuple[Ban, ...]:
        """What forbids it, whichever way it would go next."""
        directions: tuple[Direction, ...] = ("backward", "forward", "merge")
        return tuple((self.candidate.number, direction) for direction in directions)


@dataclass(frozen=True, eq=False)
class Branch:
    """A summand that a convolution beside it could compute too: f(x) in g(x) ± f(x), or x itself.

    number: of its convolution; of the node that adds it where it is x itself
    layer:  its convolution; None where it is x itself
    value, reader: what is added, and the node that adds it
    sign:   −1 where it is subtracted from the convolution beside it
    """

    number: int
    node: Node
    layer: Layer | None
    value: str
    reader: int
    sign: int

    @property
    def name(self) -> str:
        """How reports call it."""
        return self.layer.name if self.layer is not None else self.node.results[0]


@dataclass(frozen=True, eq=False)
class Merge:
    """Branches that go into the weights of one convolution among them.

    taps:   per branch and axis, the taps of the host at which the branch's own taps stand
    origin: the value that all of them read
    sign:   −1 where the convolution that stays is subtracted
    sums:   the nodes that add them up, in execution order, and per node the operands that remain
    """

    host: Layer
    branches: tuple[Branch, ...]
    taps: tuple[tuple[tuple[int, ...], ...], ...]
    origin: str
    sign: int
    sums: Mapping[int, tuple[int, ...]]

    @property
    def into(self) -> str:
        """The name of the convolution that stays."""
        return self.host.name

    @property
    def top(self) -> int:
        """The node whose result is the sum of all."""
        return max(self.sums)

    @property
    def is_whole(self) -> bool:
        """Whether the convolution is all that is left of the sum."""
        return all(len(remaining) < 2 for remaining in self.sums.values())

    @property
    def bans(self) -> tuple[Ban, ...]:
        """What forbids it."""
        return self.does

    @property
    def does(self) -> tuple[Ban, ...]:
        """The same."""
        return tuple((branch.number, "merge") for branch in self.branches)


@dataclass(frozen=True, eq=False)
class Plan:
    """The folds and then the merges, in the order in which they are carried out; what stays."""

    folds: tuple[Fold, ...]
    stays: tuple[tuple[Candidate, str], ...]
    merges: tuple[Merge, ...] = ()
    apart: tuple[tuple[Branch, str], ...] = ()

    @property
    def changes(self) -> tuple[Fold | Merge, ...]:
        """Everything that is done."""
        return (*self.folds, *self.merges)

    @property
    def size(self) -> int:
        """The number of affine ops and branches that go."""
        return len(self.folds) + sum(len(merge.branches) for merge in self.merges)

    def ops_saved(self, rewired: Sequence[Merge]) -> int:
        """How many nodes need not run; ``rewired`` are the merges whose sums are cut short."""
        gone = {f.candidate.number for f in self.folds if not f.candidate.forward_only}
        branches = (branch for merge in self.merges for branch in merge.branches)
        gone |= {branch.number for branch in branches if branch.layer is not None}
        for merge in rewired:
            gone |= {number for number, remaining in merge.sums.items() if len(remaining) < 2}
        return len(gone)

    def __str__(self) -> str:
        went = (f"{f.candidate.name}: {f.direction} into {f.into}" for f in self.folds)
        into = (f"{b.name}: merge into {m.into}" for m in self.merges for b in m.branches)
        stay = (f"{candidate.name}: stays, {why}" for candidate, why in self.stays)
        apart = (f"{branch.name}: stays, {why}" for branch, why in self.apart)
        return "\n".join((*went, *into, *stay, *apart))
