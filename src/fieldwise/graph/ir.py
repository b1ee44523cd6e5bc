"""What a graph is made of: values, nodes, and how each node reads its operands.

A *read* says which indices of an operand one index of a result depends on.  Each operand
dimension is read in one of four ways: ``Along`` a result dimension through an index map,
``Fixed`` at constant indices, ``Whole``, or ``Unknown`` (everything, conservatively, with the
reason).  A ``Separable`` step gives one such coordinate per operand dimension, so what one
result index reads is a product of index sets.  A ``Reshape`` step keeps the row-major order and
regroups the dimensions.  A read is a short path of such steps from the operand to the result;
most have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import prod
from typing import Any

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.axes.region import Shape as Shape
from fieldwise.graph.kinds import ELEMENTWISE, UNKNOWN_KIND, Kind


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that derives from the input: its name in the graph, its shape and dtype."""

    name: str
    shape: Shape
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Along:
    """The operand dimension follows result dimension ``dim`` through ``map``.

    Indices that fall outside the operand are treated as ``border`` says.
    """

    dim: int
    map: AxisMap | Table = IDENTITY
    border: Border = Border.DROP

    def keeps(self, before: int, after: int) -> bool:
        """Whether index i is index i, in an operand and in a result of these sizes there."""
        return before == after and self.map.is_identity


@dataclass(frozen=True, slots=True)
class Fixed:
    """These indices of the operand dimension are read, whichever result index is asked for."""

    indices: IndexSet


@dataclass(frozen=True, slots=True)
class Whole:
    """Every index of the operand dimension is read."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It is not known which indices are read: all of them, marked as inexact for this reason."""

    why: str


Coord = Along | Fixed | Whole | Unknown
WHOLE = Whole()


@dataclass(frozen=True, slots=True)
class Separable:
    """One coordinate per operand dimension, and the result indices that read at all.

    ``where`` restricts result dimensions: (dim, indices) pairs; a result index outside reads
    nothing through this step (the operands of a concatenation, an assigned slice).
    """

    coords: tuple[Coord, ...]
    where: tuple[tuple[int, IndexSet], ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether index i reads index i, in every dimension, where it reads at all."""
        return all(
            isinstance(coord, Along) and coord.dim == dim and coord.map.is_identity
            for dim, coord in enumerate(self.coords)
        )


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in the same row-major order, in other dimensions."""


Step = Separable | Reshape
Hop = tuple[Step, Shape, Shape]
"""A step of a read, and the shapes before it and after it: towards the operand, and the result."""


@dataclass(frozen=True, slots=True)
class Read:
    """How one result reads operand number ``operand``: steps from the operand to the result.

    ``shapes`` are the shapes between the steps, one fewer than there are steps.  ``kind`` says how
    the result is made of what is read; reads are equal where they read the same.
    """

    operand: int
    steps: tuple[Step, ...]
    shapes: tuple[Shape, ...] = ()
    kind: Kind = field(default=UNKNOWN_KIND, compare=False, repr=False)

    def forward(self, operand: Shape, result: Shape) -> Sequence[Hop]:
        """The way from an operand to a result of these shapes, step by step.

        >>> [(before, after) for _, before, after in reshape(0).forward((2, 3), (6,))]
        [((2, 3), (6,))]
        """
        if not self.shapes:
            return ((self.steps[0], operand, result),)
        before, after = (operand, *self.shapes), (*self.shapes, result)
        return tuple(zip(self.steps, before, after, strict=True))

    def backward(self, operand: Shape, result: Shape) -> Iterator[Hop]:
        """The same from the result to the operand."""
        return reversed(self.forward(operand, result))

    @property
    def single(self) -> Separable | None:
        """Its only step, where that is one and no reshape."""
        step = self.steps[0]
        return step if len(self.steps) == 1 and isinstance(step, Separable) else None

    def coords(self) -> Iterator[Coord]:
        """The coordinates of all its steps."""
        return (c for step in self.steps if isinstance(step, Separable) for c in step.coords)


Args = tuple[Any, ...]
"""What a call is given by position: anything that an op takes."""
Kwargs = Mapping[str, Any]
"""What a call is given by name."""


@dataclass(frozen=True, slots=True)
class Call:
    """The call that a node came from, for the runtimes that execute it again.

    ``args`` and ``kwargs`` hold ``Ref`` objects where an operand stood.
    """

    target: Any
    args: Args = ()
    kwargs: Kwargs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for operand number ``operand`` inside a ``Call``."""

    operand: int


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    op:         canonical name ('conv', 'max_pool', 'add', …)
    operands:   names of the values it depends on (constants are not operands)
    results:    names of the values it makes
    reads:      per result, how it reads the operands
    module:     path of the innermost module that ran it ('layer4.2.conv3'), '' at the root
    call:       which run of that module this was, from 1
    parameters: names of the parameters and buffers it read
    operator:   of a model from a file, the operator that the file calls it ('Conv'); else ''
    """

    op: str
    operands: tuple[str, ...]
    results: tuple[str, ...]
    reads: tuple[tuple[Read, ...], ...]
    module: str = ""
    call: int = 1
    parameters: tuple[str, ...] = ()
    source: Call | None = field(default=None, compare=False, repr=False)
    operator: str = ""

    @property
    def called(self) -> str:
        """What a sentence calls the op: as the file does that it is from, else by its name here."""
        return self.operator or self.op

    def coords(self) -> Iterator[Coord]:
        """The coordinates of all its reads."""
        return (coord for reads in self.reads for read in reads for coord in read.coords())

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of all its reads."""
        return frozenset(read.kind for reads in self.reads for read in reads)


# -------------------------------------------------------------------- making reads


def separable(
    operand: int,
    *coords: Coord,
    where: tuple[tuple[int, IndexSet], ...] = (),
    kind: Kind = UNKNOWN_KIND,
) -> Read:
    """A read of one separable step.

    >>> separable(0, Along(0), WHOLE).steps[0].coords[1]
    Whole()
    """
    return Read(operand, (Separable(coords, where),), (), kind)


@cache
def straight(rank: int) -> tuple[Along, ...]:
    """The coordinates of the identity: every dimension follows the result's of its number."""
    return tuple(Along(dim) for dim in range(rank))


@cache
def identity(operand: int, rank: int) -> Read:
    """Result index i reads operand index i, in every dimension."""
    return separable(operand, *straight(rank))


@lru_cache(maxsize=4096)
def broadcast(operand: int, operand_shape: Shape, result_shape: Shape) -> Read:
    """NumPy broadcasting: dimensions are aligned at the end, size 1 is read at index 0."""
    lead = len(result_shape) - len(operand_shape)
    return separable(
        operand,
        *(
            AT_ZERO if size == 1 and result_shape[lead + dim] != 1 else Along(lead + dim)
            for dim, size in enumerate(operand_shape)
        ),
    )


@lru_cache(maxsize=4096)
def element_wise(
    operand: int, operand_shape: Shape, result_shape: Shape, kind: Kind = ELEMENTWISE
) -> Read:
    """What an element-wise op reads of an operand: it is broadcast."""
    read = broadcast(operand, operand_shape, result_shape)
    return Read(operand, read.steps, read.shapes, kind)


def reshape(operand: int) -> Read:
    """The row-major reshape of a whole operand."""
    return Read(operand, (Reshape(),))


def unknown(operand: int, rank: int, why: str) -> Read:
    """Everything of the operand, marked as inexact; a scalar is taken for a line of one."""
    if not rank:
        return Read(operand, (Reshape(), Separable((Unknown(why),))), ((1,),))
    return separable(operand, *(Unknown(why) for _ in range(rank)))


def numel(shape: Shape) -> int:
    """The number of elements of a shape."""
    return prod(shape)


AT_ZERO = Fixed(IndexSet(0, 1))
