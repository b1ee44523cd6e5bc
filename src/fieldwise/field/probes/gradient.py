"""The sound gradient probe: which input samples a unit depends on, for generic weights.

The captured calls are swept in reverse.  At each one a positive linear surrogate of the call (see
``surrogates``) is differentiated by torch, in float64, and what arrives at an operand is at once
reduced to a mask: reached, or not.  With nonnegative Jacobians nothing cancels, so the mask after
each step is exactly the set of elements with a nonzero derivative, and starting the next step
from a mask keeps the numbers near one: no depth underflows (DenseNet-201's smallest true gradient
is 2e-197) and no product of gates overflows.

The few surrogates whose taps may be negative (bicubic interpolation) get no harm from that either:
each step starts from random numbers in [1, 2) on the mask, under which distinct taps cancel with
probability zero.  Taps below 1e-9 of the largest count as zero: an interpolation that lands on
a sample reads only that sample, whatever the rounding of its position.

Each step is evaluated at generic operands.  Behind a constant mask they are zero or −inf where
the mask has put that, so that attention, written by hand, does not look at what it hides: the
surrogates are evaluated forwards, from the masks on, to know where that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.autocast import without_autocast
from fieldwise.capture.torch.calls import WriteThrough
from fieldwise.capture.torch.capture import capture
from fieldwise.capture.torch.constant_parts import may_say
from fieldwise.capture.torch.private import seeded
from fieldwise.field.probes.operation import Operation, UnknownDependence, drawn, is_masked
from fieldwise.field.probes.result import Probe
from fieldwise.field.probes.surrogates import dense, surrogate, weighted, write_through
from fieldwise.field.probes.units import select
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.graph.names import resolve

_ZERO = 1e-9
_DRAWS = 4


def gradient_field(
    model: nn.Module,
    example: object,
    layer: str | None,
    unit: tuple[int, ...],
    *,
    channel: int | None = None,
    dims: tuple[int, ...] | None = None,
) -> Probe:
    """The input samples that ``unit`` of ``layer`` depends on; see ``GradientProbe.field``.

    >>> net = nn.Sequential(nn.Conv1d(1, 1, 3, dilation=4), nn.ReLU())
    >>> seen = gradient_field(net, torch.zeros(1, 1, 16), "1", (2,))
    >>> seen.lo, seen.hi, seen.count
    ((2,), (10,), 3)
    """
    return GradientProbe(model, example).field(layer, unit, channel=channel, dims=dims)


class GradientProbe:
    """The probe of one model at one input size, prepared once and asked for many units.

    ``example`` is as for ``capture``; the model is not modified, its weights are not looked at.
    """

    def __init__(self, model: nn.Module, example: object) -> None:
        self._prepare(capture(model, example))

    @classmethod
    def of_graph(cls, graph: Graph) -> GradientProbe:
        """The probe of a graph that was captured from torch already."""
        probe = cls.__new__(cls)
        probe._prepare(graph)
        return probe

    def _prepare(self, graph: Graph) -> None:
        self.graph = graph
        self._steps: dict[int, _Step] = {}
        self._masked: dict[str, Tensor] = {}
        self._producers = {
            name: number for number, node in enumerate(graph.nodes) for name in node.results
        }
        self._follow_masks()

    def field(
        self,
        layer: str | None,
        unit: tuple[int, ...],
        *,
        channel: int | None = None,
        dims: tuple[int, ...] | None = None,
        wrt: str | None = None,
        wrt_dims: tuple[int, ...] | None = None,
    ) -> Probe:
        """The samples of ``wrt`` that ``unit`` of ``layer`` depends on.

        layer:    a value's name or a module's path in the graph; None for the first output
        unit:     one index per dimension in ``dims`` (default: the dimensions from 2 on)
        channel:  only this channel of the unit (dimension 1, or the last one if 1 is in ``dims``)
        wrt:      a value's name; None for the first input
        wrt_dims: the dimensions of ``wrt`` that the mask speaks of (default: those from 2 on)

        Raises UsageError for an unknown layer and for a unit outside it.
        """
        name = self.graph.outputs[0] if layer is None else resolve(self.graph, layer)
        source = self.graph.inputs[0] if wrt is None else resolve(self.graph, wrt)
        start = torch.zeros(self.graph.shape(name), dtype=torch.bool)
        select(start, unit, channel=channel, dims=dims, layer=layer or name).fill_(True)
        reached, reasons = self._sweep(name, start, source)
        kept = tuple(range(2, reached.dim())) if wrt_dims is None else wrt_dims
        dropped = tuple(dim for dim in range(reached.dim()) if dim not in kept)
        mask = reached.any(dropped) if dropped else reached
        return Probe(mask.numpy(), exact=not reasons, why="; ".join(reasons) or None)

    def _sweep(self, name: str, start: Tensor, source: str) -> tuple[Tensor, list[str]]:
        live = {name: start}
        reasons: list[str] = []
        for number in range(self._producers.get(name, -1), -1, -1):
            node = self.graph.nodes[number]
            masks = [None if value == source else live.pop(value, None) for value in node.results]
            if not any(mask is not None and mask.any() for mask in masks):
                continue
            pulled = self._pull(number, masks)
            why = self._steps[number].why
            if why is not None and why not in reasons:
                reasons.append(why)
            for operand, reached in zip(node.operands, pulled, strict=True):
                if reached is not None:
                    live[operand] = live[operand] | reached if operand in live else reached
        nothing = torch.zeros(self.graph.shape(source), dtype=torch.bool)
        return live.get(source, nothing), reasons

    def _pull(self, number: int, masks: Sequence[Tensor | None]) -> list[Tensor | None]:
        """What the step reaches; everything, where its derivative turns out to be missing."""
        try:
            return self._step(number).pull(masks)
        except RuntimeError:
            why = f"{self.graph.nodes[number].results[0]}: it has no derivative"
            self._steps[number] = _dense_step(self.graph, self.graph.nodes[number], why)
            return self._steps[number].pull(masks)

    def _step(self, number: int) -> _Step:
        if number not in self._steps:
            self._steps[number] = _prepare_step(self.graph, self.graph.nodes[number], self._masked)
        return self._steps[number]

    def _follow_masks(self) -> None:
        """Evaluate the steps from constant masks on, as far as something is masked."""
        for number, node in enumerate(self.graph.nodes):
            masks = may_say(node) or node.results[0] in self.graph.zeros
            if masks or any(name in self._masked for name in node.operands):
                _, results = self._step(number).draws[0]
                for name, result in zip(node.results, results, strict=False):
                    if (zero := is_masked(result)).any():
                        values = torch.where(zero, result.detach(), _numbers(self.graph, name))
                        self._masked[name] = values


@dataclass(frozen=True, slots=True)
class _Step:
    """A node's surrogate, evaluated: one autograd graph per draw, from operands to results."""

    draws: tuple[tuple[list[Tensor], list[Tensor]], ...]
    why: str | None = None

    def pull(self, masks: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The elements of each operand that the marked elements of the results depend on."""
        reached: list[Tensor | None] = [None] * len(self.draws[0][0])
        dice = torch.Generator().manual_seed(0)
        for operands, results in self.draws:
            pairs = [
                (result, mask * (1 + torch.rand(mask.shape, generator=dice, dtype=result.dtype)))
                for result, mask in zip(results, masks, strict=False)
                if mask is not None and result.requires_grad
            ]
            if not pairs or not operands:
                continue
            found = torch.autograd.grad(
                [result for result, _ in pairs],
                operands,
                [cotangent for _, cotangent in pairs],
                retain_graph=True,
                allow_unused=True,
            )
            for number, gradient in enumerate(found):
                if gradient is not None:
                    size = gradient.abs().nan_to_num()
                    hit = size > _ZERO * size.max() if size.numel() else size > 0
                    before = reached[number]
                    reached[number] = hit if before is None else before | hit
        return reached


def _prepare_step(graph: Graph, node: Node, masked: Mapping[str, Tensor]) -> _Step:
    """The surrogate at generic operands, or at zero and −inf where they are ``masked``."""
    if not node.operands:
        return _Step((([], []),))
    assert node.source is not None
    with torch.enable_grad(), without_autocast(), seeded():
        operands = _operands(graph, node, masked)
        if isinstance(node.source.target, WriteThrough):
            return _Step(((operands, [write_through(node.source.target, operands)]),))
        operation = _operation(graph, node, operands)
        try:
            return _Step(((operands, list(map(_cut, surrogate(operation)))),))
        except UnknownDependence as unknown:
            why = f"{node.results[0]}: {unknown}"
        try:
            return _Step(tuple(_drawn(graph, node) for _ in range(_DRAWS)), why)
        except UnknownDependence:
            return _dense_step(graph, node, why)


def _dense_step(graph: Graph, node: Node, why: str) -> _Step:
    operands = _operands(graph, node, {})
    return _Step(((operands, dense(_operation(graph, node, operands))),), why)


def _operands(graph: Graph, node: Node, masked: Mapping[str, Tensor]) -> list[Tensor]:
    """Generic numbers where an operand varies."""
    return [
        (masked[name].clone() if name in masked else _numbers(graph, name)).requires_grad_()
        for name in node.operands
    ]


def _numbers(graph: Graph, name: str) -> Tensor:
    return drawn(graph.shape(name), getattr(torch, graph.values[name].dtype))


def _operation(graph: Graph, node: Node, operands: Sequence[Tensor]) -> Operation:
    shapes = tuple(graph.shape(name) for name in node.results)
    return Operation.of(node, operands, shapes, graph.zeros.get(node.results[0], {}))


def _cut(result: Tensor) -> Tensor:
    """A result that is a constant depends on nothing there."""
    return torch.where(is_masked(result), result.detach(), result)


def _drawn(graph: Graph, node: Node) -> tuple[list[Tensor], list[Tensor]]:
    """The op itself, nonlinear as it is, with generic weights."""
    operands = _operands(graph, node, {})
    results = list(weighted(_operation(graph, node, operands)))
    if not any(tensor.requires_grad for tensor in results):
        raise UnknownDependence("no result has a derivative")
    return operands, results
