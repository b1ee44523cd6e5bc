"""What surrounds a run: module paths, and everything that must be afterwards as it was before."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.constants import NamedTensors
from fieldwise.capture.torch.keeping import attributes, noted_grads, view_of
from fieldwise.capture.torch.private import call_module, private
from fieldwise.capture.torch.recorder import Recorder
from fieldwise.capture.torch.tree import named_modules, tensors_in


@contextmanager
def scene(model: nn.Module, state: NamedTensors, recorder: Recorder) -> Iterator[None]:
    """Module paths; the model and what this thread shares with others put back at the end."""
    with ExitStack() as stack:
        stack.callback(recorder.memory.clear)
        stack.callback(recorder.constants.restore)
        stack.enter_context(_uncompiled())
        own = stack.enter_context(private())
        recorder.constants.dice, own.call = own.dice, _followed(model, recorder)
        stack.enter_context(_device())
        stack.enter_context(attributes(model))
        stack.enter_context(_tensors(state, recorder))
        stack.enter_context(torch.no_grad())
        yield


@contextmanager
def below_autograd() -> Iterator[None]:
    """Composite ops arrive whole, and writes leave version counters alone."""
    keys = _NO_KEYS.add(torch._C.DispatchKey.ADInplaceOrView)
    with torch._C._AutoDispatchBelowAutograd(), torch._C._ExcludeDispatchKeyGuard(keys):
        yield


_NO_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.Undefined)


@contextmanager
def _uncompiled() -> Iterator[None]:
    """What the model compiles runs as it is written, wherever torch can be told so."""
    told = "torch._dynamo.eval_frame" in sys.modules and hasattr(torch.compiler, "set_stance")
    with torch.compiler.set_stance("force_eager") if told else nullcontext():
        yield


# -------------------------------------------------------------------- module paths


def _followed(model: nn.Module, recorder: Recorder) -> Callable[..., object]:
    """What a module that is called on this thread runs: the trace is told of it, hooks and all."""
    paths = {id(module): path for path, module in named_modules(model)}
    trace, value_of = recorder.trace, recorder.memory.value_of

    def call(module: nn.Module, *args: object, **kwargs: object) -> object:
        path = paths.get(id(module))
        trace.enter(path, training=module.training)
        try:
            if isinstance(module, torch.jit.ScriptModule):
                with recorder.autocast():
                    output = call_module(module, *args, **kwargs)
            else:
                output = call_module(module, *args, **kwargs)
            tensors = (output,) if isinstance(output, Tensor) else tensors_in(output)
            values = [value_of(tensor) for tensor in tensors]
        except BaseException as error:
            trace.leave(path, (), error)
            raise
        trace.leave(path, tuple(value for value in values if value is not None), None)
        return output

    return call


# -------------------------------------------------------------------- the model


@contextmanager
def _tensors(state: NamedTensors, recorder: Recorder) -> Iterator[None]:
    """Undo what a forward pass does to parameters and buffers beside writing to them."""
    noted = [(tensor, tensor.detach(), view_of(tensor)) for _, tensor in state]
    put_grads_back = noted_grads(tensor for _, tensor in state)
    try:
        yield
    finally:
        for tensor, alias, view in noted:
            if view_of(tensor) != view:
                recorder.constants.before_reshape(tensor)
                tensor.data = alias
        put_grads_back()


# -------------------------------------------------------------------- torch


@contextmanager
def _device() -> Iterator[None]:
    """Undo what a forward pass does to this thread's default device."""
    device = _default_device()
    try:
        yield
    finally:
        if _default_device() != device:
            torch.set_default_device(device)


def _default_device() -> torch.device | None:
    """The default device that somebody set; None where nobody did."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device
