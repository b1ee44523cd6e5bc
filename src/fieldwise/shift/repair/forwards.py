"""Classes made of the classes of modules, whose forward runs under adaptations.

A forward that was set on an instance (timm's FasterNet chooses one of two that way) hides that of
its class, so the classes made here hold a descriptor that is asked first.
"""

from __future__ import annotations

import copyreg
import functools
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.export import UnflattenedModule

from fieldwise.capture.torch.exported import ExportedModule
from fieldwise.errors import UnsuitableError


class Prefixed(Protocol):
    """What a made class is named after; hashable."""

    @property
    def prefix(self) -> str:
        """What stands before the names of the classes."""


Running = Callable[[object, nn.Module], AbstractContextManager[None]]


def check(path: str, module: nn.Module) -> None:
    """Raise UnsuitableError for a module whose class or forward cannot be replaced."""
    where = f"The module '{path}'" if path else "The model"
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsuitableError(
            f"{where} is scripted, so that its calls cannot be rewritten; repair the model before "
            f"torch.jit.script."
        )
    if isinstance(module, (torch.fx.GraphModule, UnflattenedModule, ExportedModule)):
        raise UnsuitableError(
            f"{where} is a {type(module).__name__}, traced or exported, whose calls are recorded "
            f"already; repair the model that it was made from."
        )
    if _keeps_modules(vars(module).get("forward")):
        raise UnsuitableError(
            f"{where} has a forward, set on the instance, whose closure holds modules or weights: "
            f"a copy would go on using the original's; set a bound method instead, as "
            f"module.forward = types.MethodType(function, module)."
        )


def _keeps_modules(forward: object) -> bool:
    """Whether a function reaches modules or tensors that a deep copy does not replace."""
    if not isinstance(forward, types.FunctionType):
        return False
    held = [cell.cell_contents for cell in forward.__closure__ or ()]
    return any(
        isinstance(getattr(one, "__self__", one), (nn.Module, torch.Tensor)) or _keeps_modules(one)
        for one in held
    )


@functools.cache
def made_class(origin: Any, adaptations: tuple[Prefixed, ...], running: Running) -> Any:
    """A subclass of ``origin`` whose forward runs in ``running(adaptation, module)`` of each.

    The last adaptation is entered first.  Names of prefixes stand before the class's.
    """
    prefix = "".join(adaptation.prefix for adaptation in reversed(adaptations))

    def reduce(self: nn.Module, protocol: Any) -> object:
        """Classes made here cannot be imported: pickle what they are made from."""
        make, _, *state = cast("tuple[Any, ...]", nn.Module.__reduce_ex__(self, protocol))
        assert make is copyreg.__newobj__  # type: ignore[attr-defined]
        return _blank, (*recipe(type(self)), running), *state

    members = {
        "forward": _Forward(origin, adaptations, running),
        "__reduce_ex__": reduce,
        "__module__": origin.__module__,
        "__doc__": origin.__doc__,
        "_made_from": (origin, adaptations),
    }
    return type(prefix + origin.__name__, (origin,), members)


def recipe(made: type[nn.Module]) -> tuple[Any, tuple[Any, ...]]:
    """The class that can be imported, and the adaptations from the innermost on."""
    found: tuple[Any, tuple[Any, ...]] = vars(made).get("_made_from", (made, ()))
    return found


def _blank(origin: Any, adaptations: tuple[Prefixed, ...], running: Running) -> object:
    """An empty instance, for pickle and deepcopy to fill."""
    made = made_class(origin, adaptations, running)
    return made.__new__(made)


class _Forward:
    """The forward of a made class, and that of an instance which has one of its own."""

    def __init__(self, origin: Any, adaptations: Sequence[Prefixed], running: Running) -> None:
        @functools.wraps(origin.forward)
        def forward(module: nn.Module, *args: object, **kwargs: object) -> object:
            with self._entered(module):
                return origin.forward(module, *args, **kwargs)

        self._of_class = forward
        self._adaptations = tuple(reversed(adaptations))
        self._running = running

    def __get__(self, module: nn.Module | None, owner: object = None) -> object:
        if module is None:
            return self._of_class
        own = vars(module).get("forward")
        if own is None:
            return types.MethodType(self._of_class, module)

        @functools.wraps(own)
        def forward(*args: object, **kwargs: object) -> object:
            with self._entered(module):
                return own(*args, **kwargs)

        return forward

    def __set__(self, module: nn.Module, forward: object) -> None:
        vars(module)["forward"] = forward

    def __delete__(self, module: nn.Module) -> None:
        del vars(module)["forward"]

    @contextmanager
    def _entered(self, module: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for adaptation in self._adaptations:
                stack.enter_context(self._running(adaptation, module))
            yield
