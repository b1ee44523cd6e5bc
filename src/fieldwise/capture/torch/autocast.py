"""Autocast: what torch casts under it, and how recorded calls run without it.

torch casts the arguments of an op above the recorder, and only tensors of the device that it is
switched on for, so not those that stand on the meta device.  The recorder therefore keeps torch's
own autocast out, asks it what it would do (``cast_call``), and records that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor
from torch._ops import OpOverload

from fieldwise.capture.torch.modes import DispatchMode
from fieldwise.capture.torch.overloads import map_arguments
from fieldwise.graph.ir import Args, Kwargs

aten = torch.ops.aten


@contextmanager
def as_recorded() -> Iterator[None]:
    """Recorded calls run so: without gradients, and in the dtypes that they are given.

    Whatever autocast does, it did when they were recorded.
    """
    with torch.no_grad(), without_autocast():
        yield


def without_autocast() -> AbstractContextManager[None]:
    """A context in which autocast, switched on or not, casts nothing."""
    return torch._C._ExcludeDispatchKeyGuard(_KEYS)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype that autocast casts to on a device; None where it is switched off."""
    kind = device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def autocast_to(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Autocast on a device as it was when ``autocast_dtype`` gave this dtype."""
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


_NO_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.Undefined)
_KEYS = functools.reduce(
    torch._C.DispatchKeySet.add,
    [key for name, key in torch._C.DispatchKey.__members__.items() if name.startswith("Autocast")],
    _NO_KEYS,
)


# -------------------------------------------------------------------- what torch would do


def is_cast(func: OpOverload, device: torch.device) -> bool:
    """Whether autocast has a say in an op on a device."""
    return func.has_kernel_for_dispatch_key(_key(device))


@functools.cache
def _key(device: torch.device) -> torch._C.DispatchKey:
    members = torch._C.DispatchKey.__members__
    named = {name.lower(): key for name, key in members.items()}
    return named.get(f"autocast{device.type}", torch._C.DispatchKey.AutocastCPU)


def cast_call(
    func: OpOverload,
    args: Args,
    kwargs: Kwargs,
    *,
    device: torch.device,
    cast: Callable[[Tensor, torch.dtype], Tensor],
) -> tuple[OpOverload, Args, dict[str, object]]:
    """The op that autocast calls instead, and its arguments, those made by ``cast`` among them.

    torch is asked, on stand-ins that take no memory.  Raises what autocast raises.
    """
    asked = _Asked()

    def stand_in(tensor: Tensor) -> Tensor:
        home = device if tensor.is_meta else tensor.device
        return asked.stand_in(tensor, tensor.dtype, home)

    def meant(stand_in: Tensor) -> Tensor:
        tensor = asked.stands_for[id(stand_in)][1]
        return tensor if tensor.dtype == stand_in.dtype else cast(tensor, stand_in.dtype)

    given = map_arguments(stand_in, args, kwargs)
    with asked:
        torch.set_autocast_enabled(device.type, True)
        try:
            func(*given[0], **given[1])
        except _Answer:
            pass
        finally:
            torch.set_autocast_enabled(device.type, False)
    assert asked.answer is not None
    target, final_args, final_kwargs = asked.answer
    return target, *map_arguments(meant, final_args, final_kwargs)


def is_cast_within(func: OpOverload, args: Args, kwargs: Kwargs, device: torch.device) -> bool:
    """Whether autocast has a say in an op that a composite op is made of, on meta tensors."""
    watch = _Watch(device)
    try:
        with watch:
            func.decompose(*args, **kwargs)
    except Exception:  # noqa: BLE001  (what cannot be decomposed fails, or not, when it is recorded)
        return watch.found
    return watch.found


def runs_whole(func: OpOverload, args: Args, device: torch.device) -> bool:
    """Whether the op is an LSTM that oneDNN runs, which is cast as a whole."""
    if func is not aten.lstm.input or device.type != "cpu":
        return False
    _, _, weights, biased, layers, _, _, both_ways, _ = args
    projected = len(weights) != layers * (1 + both_ways) * (4 if biased else 2)
    backend = torch.backends.mkldnn
    return not projected and bool(backend.is_available()) and bool(backend.enabled)


class _Answer(Exception):  # noqa: N818  (no error)
    """The op has been called."""


class _Asked(DispatchMode):
    """What arrives below autocast: casts of stand-ins, then the op itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stands_for: dict[int, tuple[Tensor, Tensor]] = {}
        self.answer: tuple[OpOverload, Args, Mapping[str, object]] | None = None

    def stand_in(self, tensor: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor that stands for another, in this dtype, without memory."""
        new = torch.empty((), dtype=dtype, device=device).expand(tensor.shape)
        self.stands_for[id(new)] = new, tensor
        return new

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        if func in _CASTS:
            dtype = kwargs["dtype"] if "dtype" in kwargs else args[1]
            return self.stand_in(self.stands_for[id(args[0])][1], dtype, args[0].device)
        self.answer = func, args, kwargs
        raise _Answer


_CASTS = (aten.to.dtype, aten._to_copy.default)


class _Watch(DispatchMode):
    """Whether one of the ops that run inside, taken apart, is cast by autocast."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.found = device, False

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        if is_cast(func, self.device):
            self.found = True
            raise _Answer
        if func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
            return self.taken_apart(func, args, kwargs)
        return func(*args, **kwargs)
