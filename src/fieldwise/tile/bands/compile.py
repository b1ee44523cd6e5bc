"""A captured graph as a program of ops on bands of rows, or the list of what is in the way."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

import torch
from torch import Tensor

from fieldwise.axes import Border
from fieldwise.axes.axis_map import IDENTITY
from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.collecting import uncollected
from fieldwise.errors import Reason
from fieldwise.graph.calls import replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.graph.live import live_values
from fieldwise.tile.bands.draft import Made, ProgramDraft
from fieldwise.tile.bands.follow import AxisPlace
from fieldwise.tile.bands.kernels import Executor, Rows
from fieldwise.tile.bands.kernels.constants import Laws
from fieldwise.tile.bands.known import Known, stand_in
from fieldwise.tile.bands.linking import RelatesError, made_of
from fieldwise.tile.bands.once import add_at_once
from fieldwise.tile.bands.program import Op, Program
from fieldwise.tile.bands.reach import RowReach
from fieldwise.tile.bands.schedule import Dependence
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
    draft = ProgramDraft(graph, axis, laws, {} if made is None else made)
    compiler = _Compiler(draft, known, live)
    known = known or Known()
    for name in rest.inputs:
        if name in known.values and name not in known.kept:
            draft.fixed[name] = known.values[name]
        else:
            draft.add_input(name, known.kept.get(name, axis))
    for node in rest.nodes:
        if any(result in live for result in node.results):
            compiler.add(node)
    return compiler


@dataclass(slots=True)
class _Compiler:
    """What becomes of each node, in turn.

    live:      values that something reads
    lost:      values of which nothing can be said, behind what is in the way
    supposed:  values that are supposed to be known, to go on behind what is in the way
    weighings: what is made of pairs of rows, until it is summed up
    summable:  whether all that is in the way can be summed up
    """

    draft: ProgramDraft
    known: Known | None
    live: Container[str]
    lost: set[str] = field(default_factory=set)
    blocked: list[Obstacle] = field(default_factory=list)
    supposed: set[str] = field(default_factory=set)
    weighings: dict[str, Weighing] = field(default_factory=dict)
    summable: bool = True

    @property
    def graph(self) -> Graph:
        """The whole of it."""
        return self.draft.graph

    def add(self, node: Node) -> None:
        """Make a node an op, compute it now if nothing streamed reaches it, or note why not."""
        if any(name in self.lost for name in node.operands):
            self.lost.update(node.results)
            return
        if self.known is not None:
            found = {n: self.known.values[n] for n in node.results if n in self.known.values}
            read = {name: value for name, value in found.items() if name in self.live}
            self.draft.fixed.update(read)
            if found and all(n in found or n not in self.live for n in node.results):
                return
        if all(name in self.draft.fixed for name in node.operands):
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
        if add_at_once(self.draft, node, self._wanted(node)):
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

    def _wanted(self, node: Node) -> list[int]:
        """The numbers of the results that something reads."""
        return [n for n, name in enumerate(node.results) if name in self.live]

    def _add(self, node: Node) -> None:
        wanted = self._wanted(node)
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
        names, seen = [name for name in node.operands if self.draft.has_one_row(name)], set[str]()
        while names:
            name = names.pop()
            if name in seen:
                continue
            seen.add(name)
            maker = next((one for one in self.graph.nodes if name in one.results), None)
            streamed = [one for one in maker.operands if one in self.draft.numbers] if maker else []
            if maker and streamed:
                axis = self.draft.streamed(streamed[0]).axis
                if statistic_of(self.graph, maker, axis) is not None:
                    return maker
            names += filter(self.draft.has_one_row, streamed)
        return None

    def _add_behind(self, pool: Node, node: Node) -> None:
        """Note a pool instead of a node that needs its one row, and go on behind either."""
        if all(one.node is not pool for one in self.blocked):
            self._note(pool, "every result reads the whole streamed axis")
        if self.known is None:
            self._suppose_known([name for name in node.operands if self.draft.has_one_row(name)])
            self.add(node)
        else:
            self.lost.update(node.results)

    def _wanted_whole(self, node: Node) -> tuple[str, ...]:
        """The operands of fewest bytes that have to be there whole for a node to be run."""
        wanted, streamed = self._wanted(node), self.draft.axes_of(node)
        for left in sorted(streamed, key=lambda name: -self.draft.nbytes(name)):
            others = [name for name in streamed if name != left]
            with (
                suppress(Blocked),
                self.draft.fixing({name: stand_in(self.graph.values[name]) for name in others}),
            ):
                made_of(self.draft, node, wanted)
                return tuple(others)
        return tuple(streamed)

    def _add_beside_whole(self, node: Node) -> bool:
        """Make a node an op if the operands that it needs whole are, and others are streamed."""
        if self.known is None or not any(name in self.known.values for name in node.operands):
            return False
        names = self._wanted_whole(node)
        if not all(name in self.known.values for name in names):
            return False
        with self.draft.fixing({name: self.known.values[name] for name in names}):
            if all(name in self.draft.fixed for name in node.operands):
                return False
            self._add(node)
        return True

    def _note(self, node: Node, why: str, *, helps: bool = True) -> None:
        """Note what is in the way, and go on behind it.

        helps: whether it may help to have operands whole
        """
        whole = self._wanted_whole(node) if helps and self.known is not None else ()
        streamed = self.draft.axes_of(node)
        known = {name: self.draft.fixed[name] for name in node.operands if name in self.draft.fixed}
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
        fixed = self.draft.fixed_outputs()
        drawn = drawn_reasons(self.graph)
        refusals = [*(reason(one.node, one.why) for one in self.blocked), *drawn]
        if len(fixed) == len(self.graph.outputs) and self.known is None and not refusals:
            refusals = [Reason("", "output", f"'{name}' is a constant") for _, name, _ in fixed]
        if refusals:
            raise StreamError(
                "The model cannot be streamed along this axis",
                refusals,
                ANOTHER_AXIS,
                passable=bool(self.blocked and self.summable and not drawn),
            )
        return self.draft.finished(self._scale())

    def _scale(self) -> Fraction:
        """See Program: 1 where all that is read is the model's own input."""
        if self.known is None or not self.known.kept or not self.draft.inputs:
            return Fraction(1)
        own = max(self.graph.shape(name)[self.draft.axis] for name in self.graph.inputs)
        longest = max(self.draft.values[value].rows or 0 for value in self.draft.inputs)
        return Fraction(longest, own or 1)

    def _compute(self, node: Node) -> None:
        fixed = {n: self.draft.fixed[name] for n, name in enumerate(node.operands)}
        try:
            assert node.source is not None
            with as_recorded():
                found = replay(node.source, fixed)
            self.draft.fixed.update(zip(node.results, found, strict=True))
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
                self.draft.add_value(name, axis)
            else:
                self.lost.add(name)

    def _suppose_known(self, names: Sequence[str]) -> None:
        for name in names:
            self.draft.fixed[name] = stand_in(self.graph.values[name])
        self.supposed.update(names)

    def _first_streamed(self, node: Node) -> str:
        return next(name for name in node.operands if name in self.draft.numbers)

    def _add_affine(self, node: Node, scale: Tensor, shift: Tensor, wanted: Sequence[int]) -> None:
        """A norm whose statistics are known, one pair per channel of the whole."""
        if any(node.results[n] not in self.draft.fixed for n in wanted if n):
            raise Blocked("a result beside what is normalised is not summed up")
        source = self.draft.numbers[self._first_streamed(node)]
        kind = self.draft.values[source]
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

        value = self.draft.add_value(node.results[0], kind.axis)
        op = Op(node, Executor(run), {0: source}, ((0, value),))
        self.draft.add(op, Dependence((value,), ((source, reach),)))

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
        axes = self.draft.axes_of(node)
        pairs = {n: self.weighings[n] for n in node.operands if n in self.weighings}
        return PairNode(self.graph, node, self.draft.call(node), axes, pairs, self.draft.laws)

    def _add_sum(self, found: WeightedSum) -> None:
        found = found.opened() if self.draft.endless else found
        node = found.final.node
        sources = [self.draft.numbers[one.name] for one in found.outside]
        value = self.draft.add_value(node.results[0], found.axis)
        nodes = tuple(step.node for step in found.weighing.steps)
        operands = dict(enumerate(sources))
        op = Op(node, Executor(found.run), operands, ((0, value),), earlier=nodes)
        reads = tuple(zip(sources, found.reaches(), strict=True))
        self.draft.add(op, Dependence((value,), reads, tail=self.draft.tail(*nodes, node)))

    def _add_streamed(self, node: Node, wanted: Sequence[int]) -> None:
        made = made_of(self.draft, node, wanted)
        together = [entry for entry in made if entry[2].whole]
        apart = [[entry] for entry in made if not entry[2].whole]
        for group in ([together] if together else []) + apart:
            _, site, executor = group[0]
            axes = [(result, site.axis) for result, site, _ in group]
            self.draft.add_kernel(node, site, executor, axes)


_WHOLE = "Until it is repaired, run the model on the whole input."
