"""The recorded calls executed again, in float64, on generic inputs and parameters.

Every call is made for all *runs* before the next one is: a few draws of inputs and parameters, as
they are and with one input shifted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fieldwise.capture.torch.autocast import without_autocast
from fieldwise.capture.torch.private import prepared, seeded
from fieldwise.capture.torch.redrawn import drawn
from fieldwise.capture.torch.running import in_double, is_inexact
from fieldwise.graph.calls import changed, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Value
from fieldwise.shift.proof.effort import effort

DRAWS = 3

Shift = tuple[int, int]
"""Along which axis of the shifted input, and by how much."""
ReplayedValues = list[Tensor]
"""One value, per draw of the inputs."""


class Replays:
    """What the values of a graph are on every draw: as it is (None), and under every shift.

    source: the input that is shifted
    given:  inputs like these; of integers the values are taken, which may be indices
    """

    def __init__(
        self, graph: Graph, source: str, shifts: Sequence[Shift], given: Sequence[Tensor]
    ) -> None:
        self._graph = graph
        self._shifts: tuple[Shift | None, ...] = (None, *shifts)
        self._constants = [_Constants(seed) for seed in range(DRAWS)]
        self._values: dict[str, dict[Shift | None, ReplayedValues]] = {}
        dice = torch.Generator().manual_seed(0)
        examples = list(given) if len(given) == len(graph.inputs) else [None] * len(graph.inputs)
        for name, example in zip(graph.inputs, examples, strict=True):
            run = [draw(graph.values[name], example, dice) for draw in _KINDS]
            self._values[name] = dict.fromkeys(self._shifts, run)
            if name == source:
                for axis, by in shifts:
                    self._values[name][axis, by] = [x.roll(by, axis) for x in run]

    def __getitem__(self, name: str) -> dict[Shift | None, ReplayedValues]:
        return self._values[name]

    def executed(self, nodes: Sequence[Node], most: int) -> Iterator[Node]:
        """Make the calls of these nodes; each node while its results are there.

        Left out are nodes that do not run on numbers like these, or that depend on one that does
        not.  Ends before the work of all runs (see ``effort``) is more than ``most``.
        """
        uses = Counter(name for node in nodes for name in node.operands)
        with prepared():
            for node in nodes:
                most -= effort(self._graph, node) * DRAWS * len(self._shifts)
                if most < 0:
                    return
                if self._execute(node):
                    yield node
                uses.subtract(node.operands)
                for name in {*node.operands, *node.results}:
                    if not uses[name]:
                        self._values.pop(name, None)

    def _execute(self, node: Node) -> bool:
        """Make a call for all runs; one run stands for all in which the operands are the same."""
        if any(name not in self._values for name in node.operands):
            return False
        operands = [self._values[name] for name in node.operands]
        made: dict[Shift | None, list[ReplayedValues]] = {}
        try:
            with seeded(), torch.no_grad(), without_autocast():
                calls = [constants.call(node) for constants in self._constants]
                for shift in self._shifts:
                    same = None in made and all(one[shift] is one[None] for one in operands)
                    made[shift] = made[None] if same else self._made(node, calls, operands, shift)
        except Exception:  # noqa: BLE001 - an op that does not run on numbers like these
            return False
        for number, name in enumerate(node.results):
            self._values[name] = {shift: runs[number] for shift, runs in made.items()}
        return True

    def _made(
        self,
        node: Node,
        calls: Sequence[Call],
        operands: Sequence[dict[Shift | None, ReplayedValues]],
        shift: Shift | None,
    ) -> list[ReplayedValues]:
        """Per result of a node, its run.  Raises ValueError where it is not what was recorded."""
        made = [
            replay(call, [one[shift][draw] for one in operands]) for draw, call in enumerate(calls)
        ]
        shapes = [self._graph.shape(name) for name in node.results]
        if any([tuple(one.shape) for one in results] != shapes for results in made):
            raise ValueError(f"{node.results[0]} has another shape than when it was recorded")
        return [list(run) for run in zip(*made, strict=True)]


# -------------------------------------------------------------------- inputs


def _normal(value: Value, example: Tensor | None, dice: torch.Generator) -> Tensor:
    kind = getattr(torch, value.dtype)
    if kind.is_complex:
        return torch.randn(value.shape, generator=dice, dtype=torch.complex128)
    if kind.is_floating_point:
        return torch.randn(value.shape, generator=dice, dtype=torch.float64)
    known = None if example is None or example.is_meta else example.detach().cpu().reshape(-1)
    if known is None or not known.numel():
        return torch.randint(2, value.shape, generator=dice).to(kind)
    return known[torch.randint(known.numel(), value.shape, generator=dice)]


def _positive(value: Value, example: Tensor | None, dice: torch.Generator) -> Tensor:
    found = _normal(value, example, dice)
    return 0.1 + found.abs() if found.is_floating_point() else found


def _wide(value: Value, example: Tensor | None, dice: torch.Generator) -> Tensor:
    found = _normal(value, example, dice)
    return 10 * found if is_inexact(found) else found


_KINDS = (_normal, _positive, _wide)
"""Ops are undefined on some numbers, and flat on others."""


# -------------------------------------------------------------------- calls


class _Constants:
    """Makes of recorded calls such as can be made of operands in double precision.

    seed: of the parameters, each of which is drawn once
    """

    def __init__(self, seed: int) -> None:
        self._dice = torch.Generator().manual_seed(seed)
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def call(self, node: Node) -> Call:
        """The call of a node, its constants in double precision."""
        if node.source is None:
            raise ValueError(f"the call of '{node.op}' is not recorded")
        return changed(node.source, _WIDENED, self._widened)

    def _widened(self, item: Tensor | torch.device | torch.dtype) -> object:
        """A tensor, dtype or device in double precision, on the CPU; parameters are generic."""
        if isinstance(item, Tensor):
            return self._constant(item)
        if isinstance(item, torch.device):
            return torch.device("cpu")
        if item.is_complex:
            return torch.complex128
        return torch.float64 if item.is_floating_point else item

    def _constant(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._known:
            self._known[id(tensor)] = tensor, self._made(tensor)
        return self._known[id(tensor)][1]

    def _made(self, tensor: Tensor) -> Tensor:
        is_generic = tensor.is_meta or isinstance(tensor, torch.nn.Parameter)
        if is_generic and is_inexact(tensor):
            return drawn("", tensor, self._dice)
        return in_double(tensor.detach().cpu()).clone()


_WIDENED = (Tensor, torch.dtype, torch.device)
