"""A captured graph as a program of ops on bands of rows, or the list of what is in the way."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.collecting import uncollected
from fieldwise.errors import Reason, UsageError
from fieldwise.graph.calls import arguments, changed, constants_of, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Read, Ref, Reshape, Shape
from fieldwise.graph.live import live_values
from fieldwise.tile.bands.early import (
    FIRST,
    Stretch,
    is_early,
    is_of_few,
    picked_row,
    picking,
    run_at_once,
    seated,
    seats,
    stretch_of,
)
from fieldwise.tile.bands.follow import AxisPlace, by_operand, follow_all
from fieldwise.tile.bands.kernels import (
    FOLDED,
    Executor,
    Link,
    Rows,
    Site,
    find_maker,
    replayed,
)
from fieldwise.tile.bands.kernels.constants import Laws, laws_among
from fieldwise.tile.bands.kernels.layout import reshaped
from fieldwise.tile.bands.known import Known, stand_in
from fieldwise.tile.bands.program import Op, Program, Streamed
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.bands.schedule import Dependence, Wiring
from fieldwise.tile.bands.statistics import statistic_of
from fieldwise.tile.bands.weighing import (
    RELATES,
    PairNode,
    Weighing,
    WeightedSum,
    gone_on,
    is_product,
    paired,
    summed,
)
from fieldwise.tile.errors import ANOTHER_AXIS, Blocked, StreamError, drawn_reasons, fault, reason
from fieldwise.written import counted


def compile_program(
    graph: Graph,
    axis: int,
    *,
    endless: bool = False,
    laws: Laws | None = None,
    known: Known | None = None,
    targets: Sequence[str] | None = None,
    made: Made | None = None,
) -> Program:
    """The program that computes a graph band by band along ``axis`` of its inputs.

    endless: the total length is not known: no right end, nothing that depends on it
    laws:    how constants that are as long as the axis go on (see ``positions``)
    known:   what earlier passes have found and kept; outputs that follow from what is known alone
             are in ``Program.fixed``
    targets: values to compute in place of the outputs
    made:    what programs of the same graph have made of its nodes, to be used again

    Raises UsageError for an axis that an input lacks, and StreamError, which names every op in
    the way.
    """
    if targets is not None:
        names = tuple(targets)
        graph = replace(graph, outputs=names, output_names=names, structure=None)
    laws = laws or {} if endless else None
    program = _compiled(graph, axis, laws, known, made).finish()
    return program if endless else replace(program, goes_on=partial(_goes_on, graph, axis, known))


def _goes_on(graph: Graph, axis: int, known: Known | None) -> bool:
    """Whether a program could be without an end."""
    try:
        compile_program(graph, axis, endless=True, known=known)
    except StreamError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A node in the way of a program, and why.

    streamed: its operands that are streamed, and where the axis lies in them
    known:    its other operands: constants, and what earlier passes found
    whole:    those of the streamed ones that would have to be there whole for the others to be
              streamed; empty where that does not help
    """

    node: Node
    why: str
    streamed: Mapping[str, AxisPlace]
    known: Mapping[str, Tensor]
    whole: tuple[str, ...] = ()

    @property
    def axis(self) -> AxisPlace:
        """Where the axis lies in the first operand that is streamed."""
        return next(iter(self.streamed.values()))


def blocking(graph: Graph, axis: int, known: Known, made: Made | None) -> list[Obstacle]:
    """The nodes in the way of a program."""
    return _compiled(graph, axis, None, known, made).blocked


@uncollected()
def _compiled(
    graph: Graph, axis: int, laws: Laws | None, known: Known | None, made: Made | None
) -> _Compiler:
    rest = graph if known is None or known.is_nothing else known.rest(graph)
    live = live_values(rest)
    compiler = _Compiler(graph, axis, laws, known, {} if made is None else made, live)
    known = known or Known()
    for name in rest.inputs:
        if name in known.values and name not in known.kept:
            compiler.fixed[name] = known.values[name]
        else:
            compiler.add_input(name, known.kept.get(name, axis))
    for node in rest.nodes:
        if any(result in live for result in node.results):
            compiler.add(node)
    return compiler


Made = dict[
    tuple[int, tuple[int, ...], tuple[AxisPlace, ...], tuple[bool | None, ...]],
    list[tuple[int, Site, Executor]],
]
"""By id of the node, its results, where the axis lies in each operand and which of them are one row
(see ``_Compiler.alone``): how it is run."""


@dataclass(slots=True)
class _Compiler:
    """The program as it grows.

    alone: values of one row that is made of few (see ``early``), and whether of rows near the start
    stretches: per value, of which part of the axis it is made
    """

    graph: Graph
    axis: int
    laws: Laws | None
    known: Known | None
    made: Made
    live: Container[str]
    values: list[Streamed] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    fixed: dict[str, Tensor] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    ops: list[Op] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    dependences: list[Dependence] = field(default_factory=list)
    blocked: list[Obstacle] = field(default_factory=list)
    supposed: set[str] = field(default_factory=set)
    weighings: dict[str, Weighing] = field(default_factory=dict)
    alone: dict[str, bool] = field(default_factory=dict)
    stretches: list[Stretch] = field(default_factory=list)
    summable: bool = True

    @property
    def endless(self) -> bool:
        """Whether the total length is not known; then there are laws."""
        return self.laws is not None

    def add_input(self, name: str, axis: int | AxisPlace) -> None:
        if isinstance(axis, AxisPlace):
            self.inputs.append(self._value(name, axis))
            if self._has_one_row(name):
                self.alone[name] = True
            return
        shape = self.graph.shape(name)
        if not -len(shape) <= axis < len(shape):
            raise UsageError(
                f"The input '{name}' has {counted(len(shape), 'dimension')} and none numbered "
                f"{axis}; choose an axis from {-len(shape)} to {len(shape) - 1}."
            )
        self.inputs.append(self._value(name, AxisPlace(axis % len(shape))))

    def add(self, node: Node) -> None:
        """Make a node an op, compute it now if nothing streamed reaches it, or note why not."""
        if any(name in self.lost for name in node.operands):
            self.lost.update(node.results)
            return
        if self.known is not None:
            found = {n: self.known.values[n] for n in node.results if n in self.known.values}
            self.fixed.update((name, value) for name, value in found.items() if name in self.live)
            if found and all(n in found or n not in self.live for n in node.results):
                return
        if all(name in self.fixed for name in node.operands):
            if self.supposed.intersection(node.operands) or (self.known and self.known.plan):
                self._suppose_known(node.results)
            else:
                self._compute(node)
            return
        try:
            self._add(node)
        except Blocked as why:
            self._add_otherwise(node, why)
        except Exception as error:  # noqa: BLE001  (told as what it is: a fault of ours)
            self._note(node, fault(error), helps=False)

    def _add_otherwise(self, node: Node, why: Blocked) -> None:
        """Make a node an op that cannot be run on bands as others are, or note why not."""
        if self._add_at_once(node):
            return
        if isinstance(why, RelatesError):
            if not self._add_beside_whole(node):
                self._pair(node)
            return
        pool = self._summed_before(node)
        if pool is not None:
            self._add_behind(pool, node)
        elif why.even_whole or not self._add_beside_whole(node):
            self._note(node, str(why), helps=not why.even_whole)

    def _add(self, node: Node) -> None:
        wanted = [n for n, name in enumerate(node.results) if name in self.live]
        if any(name in self.weighings for name in node.operands):
            self._add_weighed(node)
        elif self.known is not None and node.results[0] in self.known.affine:
            self._add_affine(node, *self.known.affine[node.results[0]], wanted)
        else:
            self._add_streamed(node, wanted)

    def _summed_before(self, node: Node) -> Node | None:
        """What can be summed up instead, where a node needs one row that is made of all: a pool
        as long as the axis.
        """
        names, seen = [name for name in node.operands if self._has_one_row(name)], set[str]()
        while names:
            name = names.pop()
            if name in seen:
                continue
            seen.add(name)
            maker = next((one for one in self.graph.nodes if name in one.results), None)
            streamed = [one for one in maker.operands if one in self.numbers] if maker else []
            if maker and streamed:
                axis = self.values[self.numbers[streamed[0]]].axis
                if statistic_of(self.graph, maker, axis) is not None:
                    return maker
            names += filter(self._has_one_row, streamed)
        return None

    def _has_one_row(self, name: str) -> bool:
        kind = self.values[self.numbers[name]] if name in self.numbers else None
        return kind is not None and not self.endless and kind.shape[kind.dim] == 1

    def _add_behind(self, pool: Node, node: Node) -> None:
        """Note a pool instead of a node that needs its one row, and go on behind either."""
        if all(one.node is not pool for one in self.blocked):
            self._note(pool, "every result reads the whole streamed axis")
        if self.known is None:
            self._suppose_known([name for name in node.operands if self._has_one_row(name)])
            self.add(node)
        else:
            self.lost.update(node.results)

    def _wanted_whole(self, node: Node) -> tuple[str, ...]:
        """The operands of fewest bytes that have to be there whole for a node to be run."""
        wanted = [n for n, name in enumerate(node.results) if name in self.live]
        streamed = dict.fromkeys(name for name in node.operands if name in self.numbers)
        for left in sorted(streamed, key=lambda name: -self._nbytes(name)):
            others = [name for name in streamed if name != left]
            with (
                suppress(Blocked),
                self._fixing({name: stand_in(self.graph.values[name]) for name in others}),
            ):
                self._made_of(node, wanted)
                return tuple(others)
        return tuple(streamed)

    def _add_beside_whole(self, node: Node) -> bool:
        """Make a node an op if the operands that it needs whole are, and others are streamed."""
        if self.known is None or not any(name in self.known.values for name in node.operands):
            return False
        names = self._wanted_whole(node)
        if not all(name in self.known.values for name in names):
            return False
        with self._fixing({name: self.known.values[name] for name in names}):
            if all(name in self.fixed for name in node.operands):
                return False
            self._add(node)
        return True

    @contextmanager
    def _fixing(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Take values for whole that are streamed elsewhere."""
        self.fixed.update(values)
        try:
            yield
        finally:
            for name in values:
                del self.fixed[name]

    def _nbytes(self, name: str) -> int:
        kind = self.values[self.numbers[name]]
        return kind.row_bytes * kind.shape[kind.dim]

    def _note(self, node: Node, why: str, *, helps: bool = True) -> None:
        """Note what is in the way, and go on behind it.

        helps: whether it may help to have operands whole
        """
        whole = self._wanted_whole(node) if helps and self.known is not None else ()
        streamed = {
            name: self.values[self.numbers[name]].axis
            for name in node.operands
            if name in self.numbers
        }
        known = {name: self.fixed[name] for name in node.operands if name in self.fixed}
        self.blocked.append(Obstacle(node, why, streamed, known, whole))
        if self.known is None:
            self._suppose(node, self.blocked[-1].axis)
        else:
            self.lost.update(node.results)

    def finish(self) -> Program:
        """The program.  Raises StreamError where something is in the way."""
        for value in self.graph.outputs:
            if value in self.weighings:
                self._give_up(self.weighings[value], "an output holds what is made of them")
        pairs = list(zip(self.graph.output_names, self.graph.outputs, strict=True))
        fixed = tuple(
            (place, name, self.fixed[value])
            for place, (name, value) in enumerate(pairs)
            if value in self.fixed
        )
        drawn = drawn_reasons(self.graph)
        refusals = [*(reason(one.node, one.why) for one in self.blocked), *drawn]
        if len(fixed) == len(pairs) and self.known is None and not refusals:
            refusals = [Reason("", "output", f"'{name}' is a constant") for _, name, _ in fixed]
        if refusals:
            raise StreamError(
                "The model cannot be streamed along this axis",
                refusals,
                ANOTHER_AXIS,
                passable=bool(self.blocked and self.summable and not drawn),
            )
        pairs = [(name, value) for name, value in pairs if value not in self.fixed]
        outputs = tuple(self.numbers[value] for _, value in pairs)
        distinct = tuple(dict.fromkeys(outputs))
        rows = tuple(value.rows for value in self.values)
        wiring = Wiring(rows, tuple(self.inputs), distinct, tuple(self.dependences))
        names = tuple(name for name, _ in pairs)
        pieced = self._pieced()
        return Program(
            tuple(self.values), tuple(self.ops), wiring, names, outputs, fixed,
            self.graph.structure, self._scale(), self.laws or {}, pieced, self._apart(pieced),
        )  # fmt: skip

    def _pieced(self) -> frozenset[int]:
        """See Program."""

        def goes_by_pieces(op: Op) -> bool:
            values = (*op.operands.values(), *(value for _, value in op.results))
            plain = len(op.results) == 1 and not op.seats
            return op.executor.pieces and plain and all(self.values[v].lead == 1 for v in values)

        return frozenset(number for number, op in enumerate(self.ops) if goes_by_pieces(op))

    def _apart(self, pieced: Container[int]) -> frozenset[int]:
        """See Program."""
        read, joined = set[int](), set[int]()
        for number, op in enumerate(self.ops):
            (read if number in pieced else joined).update(op.operands.values())
        return frozenset(read - joined)

    def _scale(self) -> Fraction:
        """See Program: 1 where all that is read is the model's own input."""
        if self.known is None or not self.known.kept or not self.inputs:
            return Fraction(1)
        own = max(self.graph.shape(name)[self.axis] for name in self.graph.inputs)
        return Fraction(max(self.values[value].rows or 0 for value in self.inputs), own or 1)

    # ---------------------------------------------------------------- one node

    def _value(self, name: str, axis: AxisPlace) -> int:
        self.numbers[name] = len(self.values)
        self.stretches.append((0.0, 1.0))
        self.values.append(Streamed.of(name, self.graph.values[name], axis, endless=self.endless))
        return self.numbers[name]

    def _compute(self, node: Node) -> None:
        fixed = {n: self.fixed[name] for n, name in enumerate(node.operands)}
        try:
            assert node.source is not None
            with as_recorded():
                found = replay(node.source, fixed)
            self.fixed.update(zip(node.results, found, strict=True))
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            refusals = [reason(node, fault(error))]
            raise StreamError("The model was not streamed", refusals, _WHOLE) from error

    def _suppose(self, node: Node, axis: AxisPlace) -> None:
        """Go on behind a node that is in the way, to name those behind it that would be too.

        What can be summed up is supposed to be known; what else keeps the rows, to be streamed.
        """
        one = statistic_of(self.graph, node, axis)
        self.summable = self.summable and one is not None
        if one is not None and not one.normalises:
            self._suppose_known(node.results)
            return
        size = self.graph.shape(self._first_streamed(node))[axis.dim]
        for name in node.results:
            found = self.graph.shape(name)
            if len(found) > axis.dim and found[axis.dim] == size:
                self._value(name, axis)
            else:
                self.lost.add(name)

    def _suppose_known(self, names: Sequence[str]) -> None:
        for name in names:
            self.fixed[name] = stand_in(self.graph.values[name])
        self.supposed.update(names)

    def _first_streamed(self, node: Node) -> str:
        return next(name for name in node.operands if name in self.numbers)

    def _add_affine(self, node: Node, scale: Tensor, shift: Tensor, wanted: Sequence[int]) -> None:
        """A norm whose statistics are known, one pair per channel of the whole."""
        if any(node.results[n] not in self.fixed for n in wanted if n):
            raise Blocked("a result beside what is normalised is not summed up")
        source = self.numbers[self._first_streamed(node)]
        kind = self.values[source]
        size = kind.shape[kind.dim]
        reach = RowReach.of(IDENTITY, Border.DROP, size=size, count=size)

        def cut(constant: Tensor, lo: int, hi: int) -> Tensor:
            return (
                constant
                if constant.shape[kind.dim] == 1
                else constant.narrow(kind.dim, lo, hi - lo)
            )

        def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
            x = rows.inside(0, lo, hi)
            return (torch.addcmul(cut(shift, lo, hi), x, cut(scale, lo, hi)).to(x.dtype),)

        value = self._value(node.results[0], kind.axis)
        self.ops.append(Op(node, Executor(run), {0: source}, ((0, value),)))
        self.dependences.append(Dependence((value,), ((source, reach),)))

    # ---------------------------------------------------------------- rows near the start

    def _add_at_once(self, node: Node) -> bool:
        """Make a node an op that runs once, on rows near the start that are all of its operands."""
        streamed = {n: name for n, name in enumerate(node.operands) if name not in self.fixed}
        if self.endless or any(name not in self.numbers for name in streamed.values()):
            return False
        wanted = [n for n, name in enumerate(node.results) if name in self.live]
        shapes = [self.graph.shape(name) for name in node.results]
        outputs = {*self.graph.outputs}.intersection(node.results)
        if outputs or not all(seats(shapes[n]) for n in wanted):
            return False
        first = self.values[self.numbers[next(iter(streamed.values()))]]
        picks = [(n, row) for n in wanted if (row := picked_row(node, first.axis, n)) is not None]
        with suppress(Blocked):
            if wanted and len(picks) == len(wanted):
                for n, row in picks:
                    reach = RowReach.of_one(row, first.shape[first.dim])
                    self._add_once(node, [n], reach, partial(picking, row=row))
            elif all(name in self.alone for name in streamed.values()):
                self._add_once(node, wanted, RowReach.of_one(0, 1), run_at_once)
            else:
                return False
            return True
        return False

    def _add_once(
        self,
        node: Node,
        results: Sequence[int],
        reach: RowReach,
        made: Callable[[Site], Executor],
    ) -> None:
        """Make an op that runs once: these results of a node, from rows of each operand."""
        operands = [
            None if name in self.fixed else self.values[self.numbers[name]]
            for name in node.operands
        ]
        links = tuple(
            None
            if kind is None
            else Link(kind.axis, self.graph.shape(name), FIRST, reach, kind.dtype)
            for name, kind in zip(node.operands, operands, strict=True)
        )
        shapes = tuple(self.graph.shape(name) for name in node.results)
        first = next(kind.axis for kind in operands if kind is not None)
        axes = [(n, first if first in seats(shapes[n]) else seats(shapes[n])[0]) for n in results]
        [number, axis], *_ = axes
        site = Site(node, self._call(node), number, shapes[number], axis, links, shapes)
        self._add_op(node, site, made(site), axes)

    # ---------------------------------------------------------------- pairs of rows

    def _pair(self, node: Node) -> None:
        """Begin with a product of rows with rows; a sum that a mask limits may end it."""
        try:
            self.weighings[node.results[0]] = paired(self._place(node))
        except Blocked:
            self._note(node, RELATES)

    def _add_weighed(self, node: Node) -> None:
        """Go on with what is made of pairs, or sum it over one of the two."""
        place = self._place(node)
        try:
            if is_product(node):
                self._add_sum(summed(place))
            else:
                self.weighings[node.results[0]] = gone_on(place)
        except Blocked as why:
            for found in place.weighings.values():
                self._give_up(found, str(why))
            if place.axes and self.known is None:
                self._suppose(node, next(iter(place.axes.values())))
            else:
                self.lost.update(node.results)

    def _give_up(self, found: Weighing, why: str) -> None:
        """Note why what is made of pairs is not summed up; all of it is lost."""
        same = [name for name, one in self.weighings.items() if one.first is found.first]
        if same:
            self._note(found.first, f"{RELATES}, and {why}")
        for name in same:
            del self.weighings[name]
        self.lost.update(same)

    def _place(self, node: Node) -> PairNode:
        streamed = (name for name in node.operands if name in self.numbers)
        axes = {name: self.values[self.numbers[name]].axis for name in streamed}
        pairs = {n: self.weighings[n] for n in node.operands if n in self.weighings}
        return PairNode(self.graph, node, self._call(node), axes, pairs, self.laws)

    def _add_sum(self, found: WeightedSum) -> None:
        found = found.opened() if self.endless else found
        node = found.final.node
        sources = [self.numbers[one.name] for one in found.outside]
        value = self._value(node.results[0], found.axis)
        nodes = tuple(step.node for step in found.weighing.steps)
        operands = dict(enumerate(sources))
        self.ops.append(Op(node, Executor(found.run), operands, ((0, value),), earlier=nodes))
        reads = tuple(zip(sources, found.reaches(), strict=True))
        self.dependences.append(Dependence((value,), reads, tail=self._tail(*nodes, node)))

    def _call(self, node: Node) -> Call:
        """The call of a node, with what is known of its operands."""
        assert node.source is not None
        fixed = {n: self.fixed[name] for n, name in enumerate(node.operands) if name in self.fixed}
        return changed(node.source, Ref, lambda ref: fixed.get(ref.operand, ref))

    def _add_streamed(self, node: Node, wanted: Sequence[int]) -> None:
        made = self._made_of(node, wanted)
        together = [entry for entry in made if entry[2].whole]
        apart = [[entry] for entry in made if not entry[2].whole]
        for group in ([together] if together else []) + apart:
            _, site, executor = group[0]
            self._add_op(node, site, executor, [(result, site.axis) for result, site, _ in group])

    def _made_of(self, node: Node, wanted: Sequence[int]) -> list[tuple[int, Site, Executor]]:
        """How each result is run; made once for all programs where every operand is streamed."""
        if any(name in self.fixed for name in node.operands):
            return self._newly_made(node, wanted)
        axes = tuple(self.values[self.numbers[name]].axis for name in node.operands)
        alone = tuple(self.alone.get(name) for name in node.operands)
        key = (id(node), tuple(wanted), axes, alone)
        if key not in self.made:
            self.made[key] = self._newly_made(node, wanted)
        return self.made[key]

    def _newly_made(self, node: Node, wanted: Sequence[int]) -> list[tuple[int, Site, Executor]]:
        call = self._call(node)
        return [(result, *self._made(node, call, result)) for result in wanted]

    def _made(self, node: Node, call: Call, result: int) -> tuple[Site, Executor]:
        if any(tensor.is_meta for tensor in constants_of(call)):
            raise Blocked(
                "a constant of it was made on the meta device, and has no values", even_whole=True
            )
        shape = self.graph.shape(node.results[result])
        links: dict[int, Link] = {}
        axis: AxisPlace | None = None
        reads = by_operand(node.reads[result])
        numbers = [n for n, name in enumerate(node.operands) if name not in self.fixed]
        for number in sorted(numbers, key=lambda n: node.operands[n] in self.alone):
            links[number], found = self._link(node, shape, number, reads.get(number, []), axis)
            if axis not in (None, found):
                raise RelatesError(RELATES)
            axis = found
        assert axis is not None
        shapes = tuple(map(self.graph.shape, node.results))
        given = tuple(links.get(number) for number in range(len(node.operands)))
        site = Site(node, call, result, shape, axis, given, shapes, self.laws)
        return site, _executor(site)

    def _link(
        self,
        node: Node,
        shape: Shape,
        number: int,
        reads: Sequence[Read],
        target: AxisPlace | None,
    ) -> tuple[Link, AxisPlace]:
        """How an operand reaches a result, and where that carries the axis on.

        target: where it does for the operands before; None for the first
        """
        name = node.operands[number]
        operand, full = self.values[self.numbers[name]], self.graph.shape(name)
        axis = operand.axis
        if name in self.alone:
            axis, found = seated(reads, axis, full, shape, target)
            if found.map is FIRST and target and not self.alone[name]:
                raise Blocked("it needs a row that is made of late ones")
            if found.map is FIRST:
                reach = RowReach.of_one(0, 1, count=found.axis.rows(shape))
                return Link(axis, full, FIRST, reach, operand.dtype, spread=True), found.axis
        else:
            found = follow_all(reads, axis, full, shape)
        rows, size = found.axis.rows(shape), axis.rows(full)
        cuts = node.op not in _UNCUT or bool(arguments(node).get("transposed"))
        reach = RowReach.of(found.map, found.border, size=size, count=rows, cuts=cuts)
        if self.endless:
            scans = any(read.kind.scans for read in reads)
            reach = replace(reach, size=None, count=None) if scans else reach.opened()
        return Link(axis, full, found.map, reach, operand.dtype), found.axis

    def _add_op(
        self, node: Node, site: Site, executor: Executor, results: Sequence[tuple[int, AxisPlace]]
    ) -> None:
        places = tuple((n, self._value(node.results[n], axis)) for n, axis in results)
        operands = {
            number: self.numbers[name]
            for number, name in enumerate(node.operands)
            if site.links[number] is not None
        }
        reaches = dict(executor.reaches)
        reads = tuple(
            (operands[number], reaches.get(number, link.reach))
            for number, link in enumerate(site.links)
            if link is not None
        )
        seats = {
            n: seat for n, link in site.streamed if (seat := self._seat(node.operands[n], link))
        }
        op = Op(node, executor, operands, places, seats=seats)
        self.ops.append(op)
        values = tuple(value for _, value in places)
        self.dependences.append(Dependence(values, reads, executor.ordered, self._tail(node)))
        if not self.endless:
            self._note_stretch(values, reads)

    def _tail(self, *nodes: Node) -> int:
        """So many rows at the end of a result may be others where the end is elsewhere."""
        return max((law.tail for law in laws_among(nodes, self.laws)), default=0)

    def _seat(self, name: str, link: Link) -> Streamed | None:
        """An operand with its row where a link has it; None where it was made so."""
        if self.values[self.numbers[name]].axis == link.axis:
            return None
        return Streamed.of(name, self.graph.values[name], link.axis, endless=False)

    def _note_stretch(self, values: Sequence[int], reads: Sequence[tuple[int, RowReach]]) -> None:
        """Note what values are made of; one row that is alone stands for its last row."""
        stretch = stretch_of([(self.stretches[value], reach) for value, reach in reads])
        for value in values:
            self.stretches[value] = stretch
            name = self.values[value].name
            if self._has_one_row(name) and is_of_few(stretch):
                self.alone[name] = is_early(stretch)
                row = 1 / max(self.values[one].rows or 1 for one in self.inputs)
                self.stretches[value] = (max(stretch[1] - row, stretch[0]), stretch[1])


class RelatesError(Blocked):
    """Raised where the rows of a result's operands lie along different dimensions of it."""


def _executor(site: Site) -> Executor:
    """The kernel of a site's op, else its call made again.  Raises Blocked where neither goes."""
    (*_, read) = site.node.reads[site.result] or (None,)
    if read is not None and read.steps == (Reshape(),) and site.node.op == "reshape":
        return reshaped(site)
    maker = None if site.is_folded and site.node.op not in FOLDED else find_maker(site.node.op)
    return (maker or replayed)(site)


_UNCUT = ("conv", "max_pool", "avg_pool", "unfold", "reshape", "pixel_unshuffle")
"""Kernels that make a row of every window that fits: how many rows an op makes of a longer operand
is a fact of the op, which its reads at one size do not tell."""
_WHOLE = "Until it is repaired, run the model on the whole input."
