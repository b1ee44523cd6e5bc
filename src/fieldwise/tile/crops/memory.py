"""What a run on one size holds at once, without computing: as Python frees it, or from the graph.

Python holds a tensor as long as a variable does, in the function that made it and in those that it
was handed to; no graph knows that.  So the model is run on tensors without data, and their
storages are counted while they live.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable
from math import prod

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fieldwise.capture.torch.example import placed
from fieldwise.capture.torch.private import private
from fieldwise.capture.torch.running import copied
from fieldwise.capture.torch.tree import map_tensors, named_state, tensors_in
from fieldwise.errors import UsageError
from fieldwise.graph.calls import replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Args, Call, Kwargs, Node, Value
from fieldwise.tile.memory_format import channels_last_pays, in_channels_last
from fieldwise.tile.workspace import held_beside

CANNOT_REHEARSE = (
    RuntimeError, TypeError, ValueError, AttributeError, AssertionError, UsageError
)  # fmt: skip
"""What is raised where a model cannot be copied, or run on tensors of its device without data."""


class Rehearsal:
    """A copy of a model without data, to be run on inputs without data."""

    def __init__(self, model: nn.Module) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with FakeCopyMode(self._mode):
            self._model = copied(model)

    def peak_bytes(self, inputs: object) -> int:
        """The most that inputs, results and everything between take at once, weights excepted.

        Counted is also what kernels hold on a processor.

        inputs: meta tensors, nested as the model takes them; they lie as crops do
        """
        state = [tensor for _, tensor in named_state(self._model)]
        device = next((tensor.device for tensor in state), torch.device("cpu"))
        with private(), self._mode, torch.no_grad():
            given = map_tensors(_empty_on(device), inputs)
            if channels_last_pays(device, [x.dtype for x in tensors_in(given)]):
                given = map_tensors(in_channels_last, given)
            args, kwargs = placed(given)
            alive = _Alive(state)
            alive.count(tensors_in((args, kwargs)))
            with alive:
                self._model(*args, **kwargs)
        return alive.peak


def _empty_on(device: torch.device) -> Callable[[Tensor], Tensor]:
    """For each meta tensor one of its shape on a device; the same for the same."""
    made: dict[int, Tensor] = {}

    def empty(like: Tensor) -> Tensor:
        return made.setdefault(id(like), torch.empty(like.shape, dtype=like.dtype, device=device))

    return empty


class _Alive(TorchDispatchMode):
    """Counts the storages that ops make, from then on until nobody holds them."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.peak = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def count(self, tensors: Iterable[Tensor]) -> None:
        """Note the tensors whose storages are new."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._sizes:
                self._sizes[key] = storage.nbytes()
                self.held += storage.nbytes()
                weakref.finalize(storage, self._free, key)
        self.peak = max(self.peak, self.held)

    def _free(self, key: int) -> None:
        self.held -= self._sizes.pop(key)

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        self.count(tensors_in(made))
        beside = held_beside(Call(func, args, kwargs), made)
        self.peak = max(self.peak, self.held + beside)
        return made


def peak_bytes(graph: Graph) -> int:
    """The most that is alive at once, when every value is freed after its last use.

    Views count as copies, and weights not at all.
    """
    last: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for number, node in enumerate(graph.nodes):
        for name in (*node.operands, *node.results):
            last[name] = number
    last |= dict.fromkeys((*graph.outputs, *graph.inputs), len(graph.nodes))
    ends: dict[int, list[str]] = {}
    for name, number in last.items():
        ends.setdefault(number, []).append(name)
    held = sum(nbytes(graph.values[name]) for name in graph.inputs)
    peak = held
    for number, node in enumerate(graph.nodes):
        made = sum(nbytes(graph.values[name]) for name in node.results)
        peak = max(peak, held + max(made, _at_once(graph, node)))
        held += made - sum(nbytes(graph.values[name]) for name in ends.get(number, ()))
    return peak


def _at_once(graph: Graph, node: Node) -> int:
    """What a node's call holds at once beside its operands; 0 where it needs values to run."""
    if node.source is None:
        return 0
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        operands = [
            torch.empty(graph.shape(name), dtype=getattr(torch, graph.values[name].dtype))
            for name in node.operands
        ]
        alive = _Alive(operands)
        try:
            with alive:
                replay(node.source, operands)
        except CANNOT_REHEARSE:
            return 0
    return alive.peak


def nbytes(value: Value) -> int:
    """The memory of a value.

    >>> nbytes(Value("x", (2, 3), "bfloat16"))
    12
    """
    bits = re.search(r"\d+", value.dtype)
    return prod(value.shape) * (int(bits[0]) // 8 if bits else 1)
