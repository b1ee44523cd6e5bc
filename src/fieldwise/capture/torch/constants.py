"""What does not derive from the input: weights, buffers, index tensors, grids.

Constants are computed for real, so that index tensors keep their values.  The model may write to
its constants while it runs; whatever existed before the run is put back after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils.weak import WeakTensorKeyDictionary

from fieldwise.capture.torch.blame import ask_torch
from fieldwise.capture.torch.memory import empty_twin, storage_key
from fieldwise.capture.torch.overloads import (
    TorchOp,
    map_arguments,
    may_draw,
    on_device,
    tensors_of,
)
from fieldwise.capture.torch.private import Dice
from fieldwise.capture.torch.trace import Trace
from fieldwise.graph.graph import Draw
from fieldwise.graph.ir import Args, Kwargs

META = torch.device("meta")


NamedTensors = Sequence[tuple[str, Tensor]]


@dataclass(frozen=True, slots=True)
class ConstantView:
    """The call that made a view of a constant, and the results it returned."""

    func: OpOverload
    base: Tensor
    args: Args
    kwargs: Kwargs
    results: tuple[Tensor, ...]

    def with_alias(self, tensor: Tensor, alias: Tensor) -> ConstantView:
        """The same view, made of the alias instead of the tensor."""

        def changed(given: Tensor) -> Tensor:
            return alias if given is tensor else given

        args, kwargs = map_arguments(changed, self.args, self.kwargs)
        results = tuple(map(changed, self.results))
        return ConstantView(self.func, changed(self.base), args, kwargs, results)


class Constants:
    """The constants of one run; those without values live on the meta device.

    ``state`` are the model's parameters and buffers; ``home`` is the device on which the model
    makes new constants.
    """

    def __init__(self, state: NamedTensors, home: torch.device, trace: Trace) -> None:
        self.home = home
        self.trace = trace
        self.dice = Dice()
        self.views: dict[int, ConstantView] = {}
        self._names: dict[int, frozenset[str]] = {}
        self._twins: dict[int, tuple[Tensor, Tensor]] = {}
        self._roots: dict[int, Tensor] = {}
        self._made: set[int] = set()
        self._quoted: set[int] = set()
        self._lent = WeakTensorKeyDictionary()
        self._ordered: set[int] = set()
        self._reshaped: dict[int, tuple[Tensor, Tensor]] = {}
        self._saved: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._alive: list[Tensor] = []
        for name, tensor in state:
            if id(tensor) not in self._names:
                self._call(tensor, frozenset((name,)))
                self._roots.setdefault(storage_key(tensor), tensor)

    def _call(self, tensor: Tensor, names: frozenset[str]) -> None:
        self._names[id(tensor)] = names
        self._alive.append(tensor)

    def names(self, tensors: Iterable[Tensor]) -> frozenset[str]:
        """The parameters and buffers that these constants were computed from."""
        known = [self._names[id(tensor)] for tensor in tensors if id(tensor) in self._names]
        return frozenset().union(*known)

    def root(self, tensor: Tensor) -> Tensor:
        """The tensor, as far as is known, that this one is a view of."""
        while id(tensor) in self.views:
            tensor = self.views[id(tensor)].base
        return self._roots.get(storage_key(tensor), tensor)

    def twin(self, tensor: Tensor) -> Tensor:
        """The stand-in on the meta device."""
        if tensor.is_meta:
            return tensor
        found = self._twins.get(id(tensor))
        if found is None or found[1].shape != tensor.shape:
            found = self._twins[id(tensor)] = (tensor, empty_twin(tensor))
        return found[1]

    def made(self, tensor: Tensor) -> Tensor:
        """A fresh constant; it is nobody else's, so that the model may write to it."""
        key = storage_key(tensor)
        self._made.add(key)
        self._roots.setdefault(key, tensor)
        self._alive.append(tensor)
        return tensor

    def lent(self, derived: Tensor) -> Tensor:
        """A constant in place of a derived tensor, of which an op only asks how it is laid out."""
        stride, dtype = derived.stride(), derived.dtype
        lent = torch.empty_strided(derived.shape, stride, dtype=dtype, device=self.home)
        self._lent[lent] = None
        return lent

    def is_made(self, tensor: Tensor) -> bool:
        """Whether the tensor's memory was made during this run."""
        return storage_key(tensor) in self._made

    def grow(self, tensor: Tensor, shape: torch.Size) -> None:
        """Give an empty constant, and what it is a view of, another shape."""
        for empty in (self.root(tensor), tensor):
            empty.resize_(shape)
        self.views.pop(id(tensor), None)

    # ---------------------------------------------------------------- running an op

    def run(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """An op on constants alone."""
        tensors = tensors_of(args, kwargs)
        meta = [tensor.is_meta for tensor in tensors]
        if op.moves and not any(meta):
            args, kwargs = self.at_home(args, kwargs)
        elif any(meta) and not all(meta):
            args, kwargs = map_arguments(self.twin, args, kwargs)
        if op.writes or op.updates:
            bound = op.bind(args, kwargs)
            for target in tensors_of([bound[name] for name in (*op.writes, *op.updates)]):
                self._before_write(target)
                if op.inplace_view:
                    self.before_reshape(target)
        out = self.computed(op, func, args, kwargs)
        self._note(op, func, args, kwargs, out)
        return out

    def computed(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """What torch computes; random numbers are drawn from our generators.

        Memory that the model leaves unset (``torch.empty``) holds zeros, not what happened to lie
        there: a value that is written over holds nothing that varies, and two runs are alike.
        """
        call = self.dice.draw if op.draws else ask_torch
        if may_draw(op, args, kwargs):
            self._note_draw(op, args, kwargs)
        out = call(func, args, kwargs)
        return out.zero_() if op.unset else out

    def _note_draw(self, op: TorchOp, args: Args, kwargs: Kwargs) -> None:
        """Nobody has seeded it since the run began, or what it fills lies as the input does."""
        has_own = any(isinstance(one, torch.Generator) for one in (*args, *kwargs.values()))
        is_seeded = has_own or self.dice.is_seeded
        if not is_seeded or self._follows_the_input(args, kwargs):
            self.trace.drawn.append(Draw(self.trace.frame.path, op.plain, is_seeded))

    def _follows_the_input(self, args: Args, kwargs: Kwargs) -> bool:
        """Whether an op may lay its result out as something derived is, contiguous or not."""
        asked = kwargs.get("memory_format") in (None, torch.preserve_format)
        return asked and any(map(self._is_ordered, tensors_of(args, kwargs)))

    def _is_ordered(self, tensor: Tensor) -> bool:
        return tensor in self._lent or storage_key(tensor) in self._ordered

    def at_home(self, args: Args, kwargs: Kwargs) -> tuple[Any, dict[str, object]]:
        """The arguments with the meta device, where the input is, replaced by the home device."""
        return on_device(self.home, args, kwargs, only=META)

    def _note(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs, out: object) -> None:
        tensors, results = tensors_of(args, kwargs), tuple(tensors_of((out,)))
        names = self.names(tensors)
        bases = {storage_key(tensor): tensor for tensor in tensors}
        for result in results:
            base = bases.get(storage_key(result))
            if base is None:
                self.made(result)
            elif base is not result:
                self.views[id(result)] = ConstantView(func, base, args, kwargs, results)
            if id(result) not in self._names:
                self._call(result, names)
        if op.ordered and self._follows_the_input(args, kwargs):
            self._ordered.update(map(storage_key, results))

    # ---------------------------------------------------------------- writes

    def quote(self, tensor: Tensor) -> None:
        """A recorded call holds this tensor, so that later writes must not change it."""
        self._quoted.add(storage_key(tensor))

    def _before_write(self, tensor: Tensor) -> None:
        key = storage_key(tensor)
        self.trace.writes = self.trace.writes or key not in self._made
        if key not in self._made and key not in self._saved and not tensor.is_meta:
            storage = tensor.untyped_storage()
            self._saved[key] = (storage, storage.clone())
        if key in self._quoted:
            self._unquote(key)

    def _unquote(self, key: int) -> None:
        """Recorded calls get copies of the tensors in this memory."""
        self._quoted.remove(key)
        self.trace.change_constants(lambda t: _copy(t) if storage_key(t) == key else t)

    def before_reshape(self, tensor: Tensor) -> None:
        """The tensor is about to look at its memory in another way, or at other memory.

        Recorded calls keep an alias of what it was, and what was a view of it is one of the alias.
        """
        alias = tensor.detach()
        self._reshaped.setdefault(id(tensor), (tensor, alias))
        self._alive.append(alias)
        self._names[id(alias)] = self.names((tensor,))
        self.trace.change_constants(lambda t: alias if t is tensor else t)
        self._twins.pop(id(tensor), None)
        made = self.views.pop(id(tensor), None)
        if made is not None:
            self.views[id(alias)] = made
        for key, view in self.views.items():
            if view.base is tensor or any(result is tensor for result in view.results):
                self.views[key] = view.with_alias(tensor, alias)
        if self._roots.get(storage_key(tensor)) is tensor:
            self._roots[storage_key(tensor)] = alias

    def restore(self) -> None:
        """Give all memory that existed before the run its content back, and its shapes."""
        for tensor, alias in self._reshaped.values():
            if storage_key(alias) not in self._made:
                self.before_reshape(tensor)
                tensor.data = alias
        for key, (storage, content) in self._saved.items():
            if key in self._quoted:
                self._unquote(key)
            if storage.nbytes() != content.nbytes():
                storage.resize_(content.nbytes())
            storage.copy_(content)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()
