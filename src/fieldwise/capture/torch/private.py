"""What a model shares with the whole process, kept to the thread that runs it.

Random generators and the default dtype belong to the process.  Inside ``private``, what this thread
draws or seeds comes from copies of the generators, and a default dtype that it sets is put back;
other threads go on with the process's own, which is never set back.

torch draws below Python, so a dispatch mode (``Dice``) hands its generators to the ops.  What is
called in Python (``torch.manual_seed``, ``random.random``, ``numpy.random.rand``, and for the
recorder the modules themselves) is replaced, as long as anybody is inside, by functions that look
at the thread first.
"""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fieldwise.capture.torch.blame import ask_torch
from fieldwise.capture.torch.modes import DispatchMode
from fieldwise.capture.torch.overloads import tensors_of
from fieldwise.graph.ir import Args, Kwargs

aten = torch.ops.aten


class Dice(DispatchMode):
    """As a dispatch mode: ops draw from generators of our own.

    They start from this seed, or where the process's generators are now.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """The op, which draws from our generators if it draws."""
        return self.draw(func, args, kwargs) if draws(func) else func(*args, **kwargs)

    def draw(self, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        """Call an op that may draw, with our generator where it was given none."""
        device = _device(args, kwargs)
        twin = _with_generator(func)
        if device.type == "meta" or any(isinstance(arg, torch.Generator) for arg in args):
            return ask_torch(func, args, kwargs)
        if twin is not None:
            generator = kwargs.get("generator") or self.generator(device)
            return ask_torch(twin, args, {**kwargs, "generator": generator})
        if func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
            return self.taken_apart(func, args, kwargs)
        known = _DRAWN.get(func)
        return ask_torch(func, args, kwargs) if known is None else known(self, *args, **kwargs)

    @property
    def is_seeded(self) -> bool:
        """Whether what is drawn is the same in each run: from a seed that was given."""
        return self._seed is not None

    def generator(self, device: torch.device) -> torch.Generator:
        """Our generator of a device."""
        if device not in self._generators:
            made = self._generators[device] = torch.Generator(device)
            shared = _shared(device)
            if self._seed is not None:
                made.manual_seed(self._seed)
            elif shared is not None:
                made.set_state(shared.get_state())
        return self._generators[device]

    def manual_seed(self, seed: int) -> torch.Generator:
        """As torch.manual_seed, for our generators."""
        self._seed = int(seed)
        self._generators.clear()
        return self.generator(_CPU)


def draws(func: OpOverload) -> bool:
    """Whether an op may draw random numbers."""
    return torch.Tag.nondeterministic_seeded in func.tags


def _device(args: Args, kwargs: Kwargs) -> torch.device:
    tensors = tensors_of(args, kwargs)
    return kwargs.get("device") or (tensors[0].device if tensors else _CPU)


def _shared(device: torch.device) -> torch.Generator | None:
    """The process's generator of a device; None where the device has not been used."""
    if device.type == "cpu":
        return torch.default_generator
    found = getattr(getattr(torch, device.type, None), "default_generators", ())
    number = device.index or 0
    return found[number] if number < len(found) else None


@cache
def _with_generator(func: OpOverload) -> OpOverload | None:
    """The overload that takes a generator beside what this one takes; None if there is none."""
    wanted = [a.name for a in func._schema.arguments]
    if "generator" in wanted:
        return func
    packet = func.overloadpacket
    for overload in packet.overloads():
        twin = getattr(packet, overload)
        names = [a.name for a in twin._schema.arguments]
        if "generator" in names and [name for name in names if name != "generator"] == wanted:
            return twin
    return None


def _like(fill: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def drawn(dice: Dice, like: Tensor, *bounds: object, **kwargs: Any) -> Tensor:
        made = torch.empty_like(like, **kwargs)
        span = (0, *bounds)[-2:] if bounds else ()
        return fill(made, *span, generator=dice.generator(made.device))

    return drawn


def _dropout(dice: Dice, x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    if train is False:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    mask = torch.empty_like(x).bernoulli_(1 - p, generator=dice.generator(x.device))
    return x * mask * (1 / (1 - p) if p < 1 else 0.0), mask.bool()


_CPU = torch.device("cpu")
_DRAWN: dict[OpOverload, Callable[..., object]] = {
    aten.native_dropout.default: _dropout,
    aten.rand_like.default: _like(Tensor.uniform_),
    aten.randn_like.default: _like(Tensor.normal_),
    aten.randint_like.default: _like(Tensor.random_),
    aten.randint_like.low_dtype: _like(Tensor.random_),
}


# -------------------------------------------------------------------- functions of the process


class Private:
    """What one thread draws from and sets, instead of what belongs to the process.

    ``dice`` are what torch's ops draw from where they are entered as a dispatch mode, and ``call``
    is what a module that is called runs, if not its hooks and forward (``nn.Module._call_impl``).
    """

    def __init__(self, seed: int | None) -> None:
        self.dice = Dice(seed)
        self.call: Callable[..., object] | None = None
        self._seed = seed
        self._dtypes: tuple[torch.dtype, torch.dtype] | None = None

    @functools.cached_property
    def _python(self) -> random.Random:
        own = random.Random(self._seed)
        if self._seed is None:
            own.setstate(_PYTHON.getstate())
        return own

    @functools.cached_property
    def _numpy(self) -> np.random.RandomState:
        own = np.random.RandomState(self._seed)
        if self._seed is None:
            own.set_state(_NUMPY.get_state())
        return own

    def own(self, module: object, name: str) -> Callable[..., object]:
        """Our own function in place of this one."""
        if module is nn.Module:
            return self.call or _SHARED[module, name]
        if module is random:
            return getattr(self._python, name)
        if module is np.random:
            return getattr(self._numpy, name)
        if name.startswith("set_default"):
            return functools.partial(self._set_default, _SHARED[module, name])
        generator = self.dice.generator(_CPU)
        functions: dict[str, Callable[..., object]] = {
            "manual_seed": self.dice.manual_seed,
            "seed": lambda: self.dice.manual_seed(random.getrandbits(63)).initial_seed(),
            "initial_seed": generator.initial_seed,
            "get_rng_state": generator.get_state,
            "set_rng_state": generator.set_state,
        }
        return functions[name]

    def _set_default(self, function: Callable[..., object], kind: object) -> None:
        before = torch.get_default_dtype() if self._dtypes is None else self._dtypes[0]
        function(kind)
        self._dtypes = before, torch.get_default_dtype()

    def put_back(self) -> None:
        """Put the default dtype back, unless somebody else has set another one since."""
        if self._dtypes is not None and torch.get_default_dtype() == self._dtypes[1]:
            _SHARED[torch, "set_default_dtype"](self._dtypes[0])


def call_module(module: nn.Module, *args: object, **kwargs: object) -> object:
    """Run the hooks and the forward of a module."""
    return _SHARED[nn.Module, "_call_impl"](module, *args, **kwargs)


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Inside, this thread draws the same numbers each time, and no generator of others moves."""
    with private(seed) as own, own.dice:
        yield


@contextmanager
def private(seed: int | None = None) -> Iterator[Private]:
    """Inside, this thread draws from copies of the process's generators, or from this seed."""
    own = Private(seed)
    stack: list[Private] = _thread.__dict__.setdefault("stack", [])
    _replace(1)
    stack.append(own)
    try:
        yield own
    finally:
        stack.pop()
        own.put_back()
        _replace(-1)


@contextmanager
def prepared() -> Iterator[None]:
    """Inside, ``private`` costs little each time: the process's functions stay replaced."""
    _replace(1)
    try:
        yield
    finally:
        _replace(-1)


_thread = threading.local()
_lock = threading.Lock()
_inside = 0


def _replace(change: int) -> None:
    """One more, or one fewer, is inside: the first replaces the functions, the last undoes it."""
    global _inside
    with _lock:
        before, _inside = _inside, _inside + change
        if before and _inside:
            return
        for place, either in _EITHER.items():
            now = getattr(*place)
            if _inside and now is not either:
                _SHARED[place] = now
                setattr(*place, either)
            elif not _inside and now is either:
                setattr(*place, _SHARED[place])


def _either(module: object, name: str) -> Callable[..., object]:
    """The function of the process, or our own on a thread that is inside."""

    @functools.wraps(getattr(module, name))
    def either(*args: object, **kwargs: object) -> object:
        stack = getattr(_thread, "stack", None)
        function = stack[-1].own(module, name) if stack else _SHARED[module, name]
        return function(*args, **kwargs)

    return either


def _methods(module: ModuleType, shared: object) -> Iterator[tuple[ModuleType, str]]:
    """The functions of a module that are methods of the generator that it hides."""
    for name in dir(module):
        if getattr(getattr(module, name), "__self__", None) is shared:
            yield module, name


_PYTHON: random.Random = random._inst
_NUMPY: np.random.RandomState = np.random.mtrand._rand
_SHARED: dict[tuple[object, str], Callable[..., object]] = {
    (module, name): getattr(module, name)
    for module, name in (
        *_methods(random, _PYTHON),
        *_methods(np.random, _NUMPY),
        (np.random, "seed"),
        (nn.Module, "_call_impl"),
        *((torch, name) for name in ("set_default_dtype", "set_default_tensor_type")),
        *(
            (module, name)
            for module in (torch, torch.random)
            for name in ("manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state")
        ),
    )
}
_EITHER = {place: _either(*place) for place in _SHARED}
