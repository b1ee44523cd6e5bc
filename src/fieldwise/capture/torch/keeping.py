"""A model as it was: what a forward pass leaves on modules and tensors is undone."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import eq, is_
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.memory import storage_key
from fieldwise.capture.torch.tree import named_state

RECORDING = threading.RLock()
"""Held by whoever records a model: one at a time, for models may share modules."""


@contextmanager
def kept(model: Any) -> Iterator[None]:
    """Put attributes of modules, content of buffers and gradients of parameters back at the end.

    What is no module has nothing to be put back.

    Several may run one model at a time: it is put back when the last of them is done.  Parameters
    keep the content that a forward pass writes into them.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    _begin(model)
    try:
        yield
    finally:
        _end(model)


@dataclass(slots=True)
class _Kept:
    undo: ExitStack
    runs: int = 1


_kept: dict[int, _Kept] = {}


def _begin(model: nn.Module) -> None:
    with RECORDING, torch._C._DisableFuncTorch():  # a run may be one that torch.func transforms
        if id(model) in _kept:
            _kept[id(model)].runs += 1
            return
        with ExitStack() as stack:
            stack.enter_context(attributes(model))
            stack.enter_context(_contents(model))
            _kept[id(model)] = _Kept(stack.pop_all())


def _end(model: nn.Module) -> None:
    with RECORDING, torch._C._DisableFuncTorch():
        mine = _kept[id(model)]
        mine.runs -= 1
        if not mine.runs:
            del _kept[id(model)]
            mine.undo.close()


# -------------------------------------------------------------------- attributes


@contextmanager
def attributes(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass stores on its modules: caches, counters, lists, flags."""
    empty, filled = _containers(model)
    saved = [(c, dict(c) if isinstance(c, dict) else list(c)) for c in filled]
    try:
        yield
    finally:
        for container in empty:
            if container:
                container.clear()
        for container, content in saved:
            if not _same(container, content):
                _put_back(container, content)


def _containers(model: nn.Module) -> tuple[list[Any], list[Any]]:
    """The attributes of all modules, and the builtin containers within them, however deep.

    The empty ones come apart: most are, for a module has a dozen dicts for its hooks.
    """
    waiting: list[Any] = [model.__dict__]
    empty: list[Any] = []
    filled: list[Any] = []
    seen: set[int] = set()
    kinds: dict[type, type | None] = {}
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if not isinstance(item, tuple):
            filled.append(item)
        for part in item.values() if isinstance(item, dict) else item:
            kind = type(part)
            if kind not in kinds:
                kinds[kind] = next((base for base in _FOLLOWED if issubclass(kind, base)), None)
            if kinds[kind] is nn.Module:
                waiting.append(part.__dict__)
            elif kinds[kind] is not None:
                (waiting if part else empty).append(part)
    return empty, filled


_FOLLOWED = (nn.Module, dict, list, set, deque, tuple)


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


@contextmanager
def _contents(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass does to parameters and buffers."""
    tensors = [tensor for _, tensor in named_state(model)]
    saved = [(t, t.detach(), t.requires_grad, t.grad) for t in tensors]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for tensor, alias, requires_grad, grad in saved:
            if _is_reshaped(tensor, alias):
                tensor.data = alias
            if tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
            if tensor.grad is not grad:
                tensor.grad = grad
        for buffer, content in buffers:
            if not (buffer.is_meta or torch.equal(buffer, content)):
                buffer.data.copy_(content)


def _is_reshaped(tensor: Tensor, alias: Tensor) -> bool:
    """Whether a tensor looks at its memory, or at other memory, in another way than its alias."""
    return (
        storage_key(tensor) != storage_key(alias)
        or tensor.shape != alias.shape
        or tensor.stride() != alias.stride()
    )
