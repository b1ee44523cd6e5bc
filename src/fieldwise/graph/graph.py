"""The graph that every analysis reads: a network, captured once at one input size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fieldwise.graph.ir import Node, Shape, Value
from fieldwise.graph.tensors import Values
from fieldwise.graph.text import graph_lines


@dataclass(frozen=True, slots=True)
class Draw:
    """An op that gives a network noise of its own.

    module, op: the module in which it ran, and its name
    is_seeded:  whether a seed makes the numbers the same in each run, but their order is that of
                the input in memory: another one where the input is channels-last
    """

    module: str
    op: str
    is_seeded: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """A network, captured once at one input size.

    inputs, outputs: value names; ``output_names`` are the user's keys or indices for outputs
    nodes:           in execution order
    values:          by name
    scopes:          module path → per run of that module, the names of the values it returned
    structure:       the model's output with ``Ref(n)`` in the place of output n and everything else
                     as it was: constants, None, numbers; None where nothing but names is known
    spelled:         of a model from a file that names its values: by name, what else it calls each;
                     values that it does not name are steps between.  None where values are called
                     after modules
    lost:            values that the model has and the graph has not, since what they are depends on
                     the data: by name, with the reason
    draws:           whether a run of the model may draw random numbers
    drawn:           of constants that are other random numbers in another run: what drew them
    writes:          whether it may write into the model's own parameters and buffers
    zeros:           by the first result of a product, and by the number of a constant factor among
                     its operands and constants, where that is not zero: elsewhere it is zero
                     whatever is learned
    zeros_hide:      whether reads leave out what these zeros multiply (``without_masked``)
    """

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, Value]
    scopes: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    structure: object = field(default=None, compare=False, repr=False)
    spelled: Mapping[str, tuple[str, ...]] | None = field(default=None, compare=False, repr=False)
    lost: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    draws: bool = field(default=True, compare=False, repr=False)
    drawn: tuple[Draw, ...] = field(default=(), compare=False, repr=False)
    writes: bool = field(default=True, compare=False, repr=False)
    zeros: Mapping[str, Mapping[int, Values]] = field(
        default_factory=dict, compare=False, repr=False
    )
    zeros_hide: bool = field(default=False, compare=False, repr=False)

    @property
    def part(self) -> str:
        """What a sentence calls a part of the model: a node of a file, else a module."""
        return "module" if self.spelled is None else "node"

    def shape(self, name: str) -> Shape:
        """The shape of a value."""
        return self.values[name].shape

    def __str__(self) -> str:
        """One line per node (see ``graph.text``)."""
        keys = self.output_names or [""] * len(self.outputs)
        outputs = list(zip(keys, self.outputs, strict=True))
        return "\n".join(graph_lines(self.inputs, self.nodes, outputs, self.values))

    def producer(self, name: str) -> Node | None:
        """The node that makes this value; None for an input."""
        return next((node for node in self.nodes if name in node.results), None)


def to_text(graph: Graph) -> str:
    """The whole graph, readable; shapes are those at which it was captured.

    >>> from fieldwise.axes import AxisMap
    >>> from fieldwise.graph.ir import WHOLE, Along, Node, Value, identity, separable
    >>> window = Along(2, AxisMap.window(3, stride=2, padding=1))
    >>> graph = Graph(
    ...     inputs=("x",),
    ...     nodes=(
    ...         Node("conv", ("x",), ("c",), ((separable(0, Along(0), WHOLE, window),),), "conv1"),
    ...         Node("relu", ("c",), ("r",), ((identity(0, 3),),), "act"),
    ...     ),
    ...     outputs=("r",),
    ...     values={
    ...         "x": Value("x", (1, 3, 9)),
    ...         "c": Value("c", (1, 8, 5)),
    ...         "r": Value("r", (1, 8, 5)),
    ...     },
    ... )
    >>> print(to_text(graph))
    inputs  %x : 1x3x9
    %c = conv(%x) : 1x8x5  [conv1]  %x[i0, :, 2i2+{-1..1}]
    %r = relu(%c) : 1x8x5  [act]    %c[...]
    outputs %r
    """
    return str(graph)
