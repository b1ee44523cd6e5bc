"""What a run on one size holds at once, without computing: as Python frees it, or from the graph.

Python holds a tensor as long as a variable does, in the function that made it and in those that it
was handed to; no graph knows that.  So the model is run on tensors without data, and their
storages are counted while they live.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable
from math import prod

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fieldwise.capture.torch.example import placed
from fieldwise.capture.torch.modes import DispatchMode
from fieldwise.capture.torch.overloads import describe, map_arguments, on_device
from fieldwise.capture.torch.private import seeded
from fieldwise.capture.torch.results import META, SHORTCUTS, run_on_meta
from fieldwise.capture.torch.running import copied
from fieldwise.capture.torch.tree import map_tensors, named_state, tensors_in
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Args, Kwargs, Value


class Rehearsal:
    """A copy of a model whose weights have no data, to be run on inputs on the meta device.

    What it may look at keeps its data: small tensors, and those that hold no real numbers.
    """

    def __init__(self, model: nn.Module) -> None:
        own = [tensor for _, tensor in named_state(model)]
        large = [one for one in own if one.is_floating_point() and one.numel() > _SMALL]
        self._model = copied(model, instead={id(tensor): _without_data(tensor) for tensor in large})

    def peak_bytes(self, inputs: object) -> int:
        """The most that inputs, results and everything between take at once, weights excepted.

        inputs: meta tensors, nested as the model takes them
        """
        with seeded(), torch.inference_mode():  # in which composite operators arrive whole
            args, kwargs = placed(map_tensors(torch.empty_like, inputs))
            alive = _Alive(tensor for _, tensor in named_state(self._model))
            alive.count(tensors_in((args, kwargs)))
            with alive:
                self._model(*args, **kwargs)
        return alive.peak


_SMALL = 1024
"""Elements."""


def _without_data(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device=META)
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


class _Alive(DispatchMode):
    """Counts the storages that ops make, from then on until nobody holds them.

    What is made of something without data has none either, whatever it meets.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
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

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        if describe(func).composite and (func in _MAKE_MORE or func not in SHORTCUTS):
            return self.taken_apart(func, args, kwargs)
        if any(tensor.is_meta for tensor in tensors_in((args, kwargs))):
            args, kwargs = map_arguments(_on_meta, *on_device(META, args, kwargs))
            made = run_on_meta(func, args, kwargs)
        else:
            made = func(*args, **kwargs)
        self.count(tensors_in(made))
        return made


_MAKE_MORE = {
    torch.ops.aten.max_pool2d.default,
    torch.ops.aten.matmul.default,
    *(getattr(torch.ops.aten, name).input for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")),
}
"""Composite operators whose kernels make large tensors beside the result: places, copies, gates.

Others are made at once; the meta device would take some of them apart into many.
"""


def _on_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else tensor.to(META)


def peak_bytes(graph: Graph) -> int:
    """The most that is alive at once, when every value is freed after its last use.

    Views count as copies and weights and workspaces not at all.
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
        held += sum(nbytes(graph.values[name]) for name in node.results)
        peak = max(peak, held)
        held -= sum(nbytes(graph.values[name]) for name in ends.get(number, ()))
    return peak


def nbytes(value: Value) -> int:
    """The memory of a value.

    >>> nbytes(Value("x", (2, 3), "bfloat16"))
    12
    """
    bits = re.search(r"\d+", value.dtype)
    return prod(value.shape) * (int(bits[0]) // 8 if bits else 1)
