"""A captured graph as a program of ops on bands of rows, or the list of what is in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import torch

from fieldwise.capture.torch.autocast import as_recorded
from fieldwise.collecting import uncollected
from fieldwise.errors import Reason
from fieldwise.graph.calls import replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.graph.live import live_values
from fieldwise.tile.bands.draft import Made, ProgramDraft
from fieldwise.tile.bands.kernels.constants import Laws
from fieldwise.tile.bands.known import Known
from fieldwise.tile.bands.known_norm import add_known_norm
from fieldwise.tile.bands.linking import RelatesError, made_of
from fieldwise.tile.bands.obstacles import Obstacle, Obstacles, pool_before, wanted_whole
from fieldwise.tile.bands.once import add_at_once
from fieldwise.tile.bands.pairs import PairedRows
from fieldwise.tile.bands.program import Program
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


def blocking(graph: Graph, axis: int, known: Known, made: Made | None) -> list[Obstacle]:
    """The nodes in the way of a program."""
    return _compiled(graph, axis, None, known, made).obstacles.found


@uncollected()
def _compiled(
    graph: Graph, axis: int, laws: Laws | None, known: Known | None, made: Made | None
) -> _Compiler:
    rest = graph if known is None or known.is_nothing else known.rest(graph)
    live = live_values(rest)
    draft = ProgramDraft(graph, axis, laws, live, {} if made is None else made)
    compiler = _Compiler.of(draft, known)
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


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Makes the nodes of a graph the ops of a program, in turn.

    known: what earlier passes have found; None where none are to be made
    """

    draft: ProgramDraft
    known: Known | None
    obstacles: Obstacles
    pairs: PairedRows

    @classmethod
    def of(cls, draft: ProgramDraft, known: Known | None) -> _Compiler:
        """One that has added no node yet."""
        obstacles = Obstacles(draft, known)
        return cls(draft, known, obstacles, PairedRows(draft, obstacles))

    def add(self, node: Node) -> None:
        """Make a node an op, compute it now if nothing streamed reaches it, or note why not."""
        if any(name in self.obstacles.lost for name in node.operands):
            self.obstacles.lost.update(node.results)
        elif self._take_known(node):
            return
        elif all(name in self.draft.fixed for name in node.operands):
            self._add_fixed(node)
        else:
            try:
                self._add_op(node)
            except Blocked as why:
                self._add_otherwise(node, why)
            except Exception as error:  # noqa: BLE001  (reported as what it is: a fault of ours)
                self.obstacles.add(node, fault(error), helps=False)

    def _take_known(self, node: Node) -> bool:
        """Take over the results that earlier passes have found; whether all are that are read."""
        if self.known is None:
            return False
        live, values = self.draft.live, self.known.values
        found = {name for name in node.results if name in values}
        self.draft.fixed.update({name: values[name] for name in found if name in live})
        return bool(found) and all(name in found or name not in live for name in node.results)

    def _add_fixed(self, node: Node) -> None:
        """Compute a node whose operands are there whole, unless they only stand in for others."""
        planned = self.known is not None and self.known.plan
        if planned or self.obstacles.supposed.intersection(node.operands):
            self.obstacles.suppose_known(node.results)
            return
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

    def _add_op(self, node: Node) -> None:
        """Make a node an op on bands.  Raises Blocked where it cannot be run on them."""
        if self.pairs.are_read_by(node):
            self.pairs.go_on(node)
        elif self.known is not None and node.results[0] in self.known.affine:
            add_known_norm(self.draft, node, *self.known.affine[node.results[0]])
        else:
            self._add_kernels(node)

    def _add_kernels(self, node: Node) -> None:
        """Make the results of a node by the kernels of its op, those together that go together."""
        made = made_of(self.draft, node)
        together = [entry for entry in made if entry[2].whole]
        apart = [[entry] for entry in made if not entry[2].whole]
        for group in ([together] if together else []) + apart:
            _, site, executor = group[0]
            axes = [(result, site.axis) for result, site, _ in group]
            self.draft.add_kernel(node, site, executor, axes)

    def _add_otherwise(self, node: Node, why: Blocked) -> None:
        """Make a node an op that cannot be run on bands as others are, or note why not."""
        if add_at_once(self.draft, node):
            return
        if isinstance(why, RelatesError):
            if not self._add_beside_whole(node):
                self.pairs.begin(node)
            return
        pool = pool_before(self.draft, node)
        if pool is not None:
            self._add_behind(pool, node)
        elif why.even_whole or not self._add_beside_whole(node):
            self.obstacles.add(node, str(why), helps=not why.even_whole)

    def _add_beside_whole(self, node: Node) -> bool:
        """Make a node an op if the operands that it needs whole are, and others are streamed."""
        if self.known is None or not any(name in self.known.values for name in node.operands):
            return False
        names = wanted_whole(self.draft, node)
        if not all(name in self.known.values for name in names):
            return False
        with self.draft.fixing({name: self.known.values[name] for name in names}):
            if all(name in self.draft.fixed for name in node.operands):
                return False
            self._add_op(node)
        return True

    def _add_behind(self, pool: Node, node: Node) -> None:
        """Note a pool instead of a node that needs its one row, and go on behind either."""
        self.obstacles.add_pool(pool)
        if self.known is None:
            rows = [name for name in node.operands if self.draft.has_one_row(name)]
            self.obstacles.suppose_known(rows)
            self.add(node)
        else:
            self.obstacles.lost.update(node.results)

    def finish(self) -> Program:
        """The program.  Raises StreamError where something is in the way."""
        self.pairs.end()
        draft, blocked = self.draft, self.obstacles.found
        fixed, drawn = draft.fixed_outputs(), drawn_reasons(draft.graph)
        refusals = [*(reason(one.node, one.why) for one in blocked), *drawn]
        if len(fixed) == len(draft.graph.outputs) and self.known is None and not refusals:
            refusals = [Reason("", "output", f"'{name}' is a constant") for _, name, _ in fixed]
        if refusals:
            raise StreamError(
                "The model cannot be streamed along this axis",
                refusals,
                ANOTHER_AXIS,
                passable=bool(blocked and self.obstacles.summable and not drawn),
            )
        return draft.finished(_scale(draft, self.known))


def _scale(draft: ProgramDraft, known: Known | None) -> Fraction:
    """See Program: 1 where all that is read is the model's own input."""
    if known is None or not known.kept or not draft.inputs:
        return Fraction(1)
    own = max(draft.graph.shape(name)[draft.axis] for name in draft.graph.inputs)
    longest = max(draft.values[value].rows or 0 for value in draft.inputs)
    return Fraction(longest, own or 1)


_WHOLE = "Until it is repaired, run the model on the whole input."
