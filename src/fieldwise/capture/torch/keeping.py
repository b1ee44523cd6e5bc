"""A model as it was: what a forward pass leaves on modules and tensors is undone."""

from __future__ import annotations

import random
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import eq, is_
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fieldwise.capture.torch.memory import is_strided, storage_key
from fieldwise.capture.torch.tree import named_state

RECORDING = threading.RLock()
"""Held by whoever records a model: one at a time, for models may share modules."""


@contextmanager
def kept(model: object, *, parameters: bool = True) -> Iterator[None]:
    """Put attributes of modules, content of buffers and gradients of parameters back at the end.

    So are the attributes of objects that modules hold, and the generators from which they draw.
    What is no module has nothing to be put back.

    Several may run one model at a time: it is put back when the last of them is done.

    parameters: whether their content is put back too, which costs a copy of it; not needed for a
                model that does not write into them (see ``Graph.writes``)
    """
    with _entered(model, runs=1, parameters=parameters):
        yield


@contextmanager
def remembered(model: object, *, parameters: bool = True) -> Iterator[None]:
    """Inside, ``kept`` costs little each time: what the model was is noted once."""
    with _entered(model, holders=1, parameters=parameters):
        yield


@dataclass(slots=True)
class _Kept:
    """A model that somebody runs, or that is remembered for runs to come."""

    model: nn.Module
    put_back: Callable[[], None]
    parameters: list[Callable[[], None]] = field(default_factory=list)
    runs: int = 0
    holders: int = 0


_kept: dict[int, _Kept] = {}


@contextmanager
def _entered(
    model: object, *, runs: int = 0, holders: int = 0, parameters: bool = False
) -> Iterator[None]:
    if not isinstance(model, nn.Module):
        yield
        return
    _count(model, runs, holders, parameters=parameters)
    try:
        yield
    finally:
        _count(model, -runs, -holders)


def _count(model: nn.Module, runs: int, holders: int, *, parameters: bool = False) -> None:
    """So many more run or remember a model; after the last run it is put back."""
    with RECORDING, torch._C._DisableFuncTorch():  # a run may be one that torch.func transforms
        mine = _kept.get(id(model))
        if mine is None:
            mine = _kept[id(model)] = _Kept(model, _noted(model))
        if parameters and not mine.parameters:
            mine.parameters = [_noted_content(tensor) for tensor in model.parameters()]
        mine.runs += runs
        mine.holders += holders
        if not (mine.runs or mine.holders):
            del _kept[id(model)]
        if runs < 0 and not mine.runs:
            mine.put_back()
            for step in mine.parameters:
                step()


def _noted(model: nn.Module) -> Callable[[], None]:
    """Note what a model is; what is returned puts it back, as often as it is called."""
    held = _held(model)
    state = {id(tensor): tensor for _, tensor in named_state(model)}
    others = {id(tensor): tensor for tensor in held.tensors if id(tensor) not in state}
    contents = map(_noted_content, (*model.buffers(), *others.values()))
    views = (noted_grads(state.values()), _noted_views((*state.values(), *others.values())))
    steps = (_noted_attributes(held), *contents, *views)

    def put_back() -> None:
        for step in reversed(steps):
            step()

    return put_back


# -------------------------------------------------------------------- attributes


@contextmanager
def attributes(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass stores on its modules: caches, counters, lists, flags."""
    put_back = _noted_attributes(_held(model))
    try:
        yield
    finally:
        put_back()


def _noted_attributes(held: _Held) -> Callable[[], None]:
    noted = [(c, dict(c) if isinstance(c, dict) else list(c)) for c in held.filled]
    steps = [*map(_noted_generator, held.generators), *map(_noted_array, held.arrays)]

    def put_back() -> None:
        for container in held.empty:
            if container:
                container.clear()
        for container, content in noted:
            if not _same(container, content):
                _put_back(container, content)
        for step in steps:
            step()

    return put_back


@dataclass(frozen=True, slots=True)
class _Held:
    """What modules hold.

    empty, filled: their attributes, and the builtin containers among these, however deep.  The
                   empty ones come apart: most are, for a module has a dozen dicts for its hooks
    generators:    from which they draw
    tensors:       parameters excepted
    arrays:        of numpy
    """

    empty: list[Any] = field(default_factory=list)
    filled: list[Any] = field(default_factory=list)
    generators: list[object] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    arrays: list[NDArray[np.generic]] = field(default_factory=list)


def _held(model: nn.Module) -> _Held:
    """What a model holds.

    Of objects that are no modules only those that a module or a container holds, for what such an
    object is part of (a trainer, a logger) is none of the model's.
    """
    waiting: list[tuple[type, Any, bool]] = [(dict, model.__dict__, True)]
    found = _Held()
    leaves: dict[type, list[Any]] = {
        torch.Generator: found.generators, Tensor: found.tensors, np.ndarray: found.arrays,
    }  # fmt: skip
    seen: set[int] = set()
    kinds = _Kinds()
    while waiting:
        base, item, is_ours = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if base is not tuple:
            found.filled.append(item)
        for part in item.values() if base is dict else item:
            followed = kinds[type(part)]
            if followed is None or (followed is object and not is_ours):
                continue
            if followed is nn.Module or followed is object:
                waiting.append((dict, part.__dict__, followed is nn.Module))
            elif followed in leaves:
                leaves[followed].append(part)
            elif part:
                waiting.append((followed, part, is_ours))
            else:
                found.empty.append(part)
    return found


def generators(model: nn.Module) -> list[object]:
    """The random generators that modules hold."""
    return _held(model).generators


class _Kinds(dict[type, "type | None"]):
    """As what parts of each kind are noted, looked up once."""

    def __missing__(self, kind: type) -> type | None:
        self[kind] = _followed(kind)
        return self[kind]


def _followed(kind: type) -> type | None:
    """As what parts of this kind are noted: the base that they share, or None: not at all.

    A torch.Generator stands for all random generators, and an object for what has attributes, if
    it is of no class of Python or torch themselves.
    """
    if issubclass(kind, _GENERATORS):
        return None if issubclass(kind, random.SystemRandom) else torch.Generator
    if issubclass(kind, (nn.Parameter, UninitializedParameter, UninitializedBuffer)):
        return None
    for base in (nn.Module, dict, list, set, deque, tuple, Tensor, np.ndarray):
        if issubclass(kind, base):
            return base
    is_theirs = kind.__module__.partition(".")[0] in _LIBRARIES
    has_attributes = bool(kind.__dictoffset__) and not issubclass(kind, type)
    is_plain = has_attributes and not is_theirs
    return object if is_plain or issubclass(kind, SimpleNamespace) else None


_GENERATORS = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)
_PROCESS = (torch.default_generator, random._inst, np.random.mtrand._rand)
_LIBRARIES = frozenset((*sys.stdlib_module_names, "torch", "numpy"))


def _noted_generator(generator: object) -> Callable[[], None]:
    """What is returned puts a generator back, if it is none of the process."""
    if any(generator is shared for shared in _PROCESS):
        return _nothing
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        at = bits.state
        return lambda: setattr(bits, "state", at)
    is_python = isinstance(generator, random.Random)
    read, write = ("getstate", "setstate") if is_python else ("get_state", "set_state")
    state = getattr(generator, read)()
    return lambda: getattr(generator, write)(state)


def _noted_array(array: NDArray[np.generic]) -> Callable[[], None]:
    if isinstance(array, np.memmap) or array.dtype.hasobject or not array.flags.writeable:
        return _nothing
    content = array.copy()

    def put_back() -> None:
        if array.shape == content.shape and not np.array_equal(array, content):
            array[...] = content

    return put_back


def _same(one: Any, two: Any) -> bool:
    if len(one) != len(two):
        return False
    if isinstance(one, dict):
        return all(map(is_, one.values(), two.values())) and all(map(eq, one, two))
    return all(map(is_, one, two))


def _put_back(container: Any, content: Any) -> None:
    """In a dict only what differs is touched, since another thread may be looking at the rest."""
    if isinstance(container, dict):
        for key in container.keys() - content.keys():
            del container[key]
        for key, value in content.items():
            if key not in container or container[key] is not value:
                container[key] = value
        if all(map(eq, container, content)):
            return
    container.clear()
    fill = container.update if isinstance(container, (dict, set)) else container.extend
    fill(content)


# -------------------------------------------------------------------- tensors


def _noted_views(tensors: Iterable[Tensor]) -> Callable[[], None]:
    """What is returned lets tensors look at the memory at which they look, and as they do."""
    noted = [(tensor, tensor.detach(), view_of(tensor)) for tensor in tensors]

    def put_back() -> None:
        for tensor, alias, view in noted:
            if view_of(tensor) != view:
                tensor.data = alias

    return put_back


def view_of(tensor: Tensor) -> tuple[object, ...]:
    """At which memory a tensor looks, and how; of one without strides the tensor itself."""
    if not is_strided(tensor):
        return (id(tensor),)
    return storage_key(tensor), tensor.shape, tensor.stride()


def noted_grads(tensors: Iterable[Tensor]) -> Callable[[], None]:
    """What is returned gives parameters and buffers the gradients that they have."""
    noted = [(tensor, tensor.requires_grad, tensor.grad) for tensor in tensors]

    def put_back() -> None:
        for tensor, requires_grad, grad in noted:
            if tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
            if tensor.grad is not grad:
                tensor.grad = grad

    return put_back


def _noted_content(tensor: Tensor) -> Callable[[], None]:
    """What is returned puts back what a tensor holds."""
    if tensor.is_meta or tensor.is_quantized or not is_strided(tensor):
        return _nothing
    content = tensor.detach().clone()

    def put_back() -> None:
        if not torch.equal(tensor, content):
            tensor.data.copy_(content)

    return put_back


def _nothing() -> None:
    """Nothing is to be put back."""
