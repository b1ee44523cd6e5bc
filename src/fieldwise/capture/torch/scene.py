"""What surrounds a run: module paths, and everything that must be afterwards as it was before."""

from __future__ import annotations

import functools
import random
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from operator import eq, is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from fieldwise.capture.torch.constants import NamedTensors
from fieldwise.capture.torch.memory import storage_key
from fieldwise.capture.torch.recorder import Recorder
from fieldwise.capture.torch.tree import named_tensors
from fieldwise.collecting import uncollected


@contextmanager
def scene(model: nn.Module, state: NamedTensors, recorder: Recorder) -> Iterator[None]:
    """Module paths by hooks; the model and torch's global state put back at the end."""
    with ExitStack() as stack:
        stack.callback(recorder.memory.clear)
        stack.callback(recorder.constants.restore)
        stack.enter_context(uncollected())
        stack.enter_context(_uncompiled())
        stack.enter_context(_globals(recorder.constants.home))
        stack.enter_context(_attributes(model))
        stack.enter_context(_tensors(state, recorder))
        stack.enter_context(_paths(model, recorder))
        stack.enter_context(torch.no_grad())
        yield


@contextmanager
def below_autograd() -> Iterator[None]:
    """Composite ops arrive whole, and writes leave version counters alone.

    Autocast is passed by too: it would cast the weights alone, for what derives from the input is
    on the meta device.
    """
    keys = functools.reduce(torch._C.DispatchKeySet.add, _PASSED_BY, _NO_KEYS)
    with torch._C._AutoDispatchBelowAutograd(), torch._C._ExcludeDispatchKeyGuard(keys):
        yield


_NO_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.Undefined)
_PASSED_BY = (
    torch._C.DispatchKey.ADInplaceOrView,
    torch._C.DispatchKey.AutocastCPU,
    torch._C.DispatchKey.AutocastCUDA,
)


@contextmanager
def _uncompiled() -> Iterator[None]:
    """What the model compiles runs as it is written, wherever torch can be told so."""
    told = "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance")
    with torch.compiler.set_stance("force_eager") if told else nullcontext():
        yield


# -------------------------------------------------------------------- module paths


@contextmanager
def _paths(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Tell the trace which module runs, by global hooks.

    A module's own hooks run after global ones and may change what it returns, so such a module
    gets a hook of its own, the last.
    """
    trace = recorder.trace
    modules = dict(model.named_modules())
    paths = {id(module): path for path, module in modules.items()}

    def enter(module: nn.Module, args: Any) -> None:
        trace.enter(paths.get(id(module)), training=module.training)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        error = sys.exc_info()[1]
        values = map(recorder.memory.value_of, _tensors_in(output))
        returned = tuple(value for value in values if value is not None)
        trace.leave(paths.get(id(module)), returned, None if error is outer else error)

    def leave_unless_hooked(module: nn.Module, args: Any, output: Any) -> None:
        if id(module) not in hooked:
            leave(module, args, output)

    outer = sys.exc_info()[1]
    hooked = {id(m): m for m in modules.values() if m._forward_hooks and not _is_scripted(m)}
    with ExitStack() as stack:
        hook = torch_module.register_module_forward_pre_hook(enter)
        stack.callback(hook.remove)
        hook = torch_module.register_module_forward_hook(leave_unless_hooked, always_call=True)
        stack.callback(hook.remove)
        for module in hooked.values():
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield


def _is_scripted(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _tensors_in(output: Any) -> Iterator[Tensor]:
    return (tensor for _, tensor in named_tensors(output))


# -------------------------------------------------------------------- the model


@contextmanager
def _attributes(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass stores on its modules: caches, counters, lists, flags."""
    empty, filled = _containers(model)
    saved = [(container, _content(container)) for container in filled]
    try:
        yield
    finally:
        for container in empty:
            if container:
                container.clear()
        for container, content in saved:
            if not _same(_content(container), content):
                container.clear()
                fill = container.update if isinstance(container, (dict, set)) else container.extend
                fill(content)


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


def _content(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)


def _same(one: Any, two: Any) -> bool:
    if len(one) != len(two):
        return False
    if isinstance(one, dict):
        return all(map(is_, one.values(), two.values())) and all(map(eq, one, two))
    return all(map(is_, one, two))


@contextmanager
def _tensors(state: NamedTensors, recorder: Recorder) -> Iterator[None]:
    """Undo what a forward pass does to parameters and buffers beside writing to them."""
    saved = [(t, t.detach(), t.requires_grad, t.grad) for _, t in state]
    try:
        yield
    finally:
        for tensor, content, requires_grad, grad in saved:
            if storage_key(tensor) != storage_key(content) or tensor.shape != content.shape:
                recorder.constants.before_reshape(tensor)
                tensor.data = content
            if tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
            if tensor.grad is not grad:
                tensor.grad = grad


# -------------------------------------------------------------------- torch


@contextmanager
def _globals(home: torch.device) -> Iterator[None]:
    """Undo what a forward pass does to random generators and to torch's defaults."""
    python, arrays = random.getstate(), np.random.get_state()
    dtype, device = torch.get_default_dtype(), _default_device()
    devices = [home] if home.type not in ("cpu", "meta") else []
    with torch.random.fork_rng(devices, device_type=home.type if devices else "cuda"):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
            torch.set_default_dtype(dtype)
            if _default_device() != device:
                torch.set_default_device(device)


def _default_device() -> torch.device | None:
    """The default device that somebody set; None where nobody did."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device
