"""One mechanism for every repair: a copy of a model whose functional calls are rewritten.

Every module of the copy gets a class derived from its own (``Conv2d`` becomes
``CircularConv2d(Conv2d)``) whose forward runs under a ``TorchFunctionMode``.  There every padding,
convolution, pooling and interpolation arrives as one call, whoever wrote it: a layer of torch, a
subclass that pads in its own way, or arithmetic in a forward.  So no list of layer classes is
needed, weight standardisation and the like happen as ever, names of modules and keys of the
state_dict stay what they were, ``isinstance`` too, and any part of the copy keeps the repair when
it is run alone.  Copies can be deep-copied, pickled, trained and exported (torch.export with
strict=False).

Refused are scripted modules, which run without Python, traced ones (torch.fx), which make a class
of their own for every copy, and modules whose forward was set on the instance.
"""

from __future__ import annotations

import copyreg
import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fieldwise.capture.torch import capture
from fieldwise.capture.torch.running import copied
from fieldwise.errors import UsageError
from fieldwise.shift.repair.calls import Call, known_call
from fieldwise.shift.repair.report import Change

Function = Callable[..., Any]


class Session(ABC):
    """One run of an adapted model: sees every known call, and may keep what the run decided."""

    @abstractmethod
    def rewrite(self, call: Call) -> Any:
        """What to compute instead of ``call.run()``."""


class Adaptation(ABC):
    """A repair: frozen and hashable, it is part of the classes that it makes."""

    @property
    @abstractmethod
    def prefix(self) -> str:
        """What stands before the names of the classes."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """Repairs of a lower rank see the calls first, whichever was made first."""

    @abstractmethod
    def session(self) -> Session:
        """The state of one run."""


def adapted(model: nn.Module, adaptation: Adaptation) -> nn.Module:
    """A deep copy of the model whose modules all run under the adaptation, and earlier ones.

    Raises UsageError for modules whose calls cannot be rewritten.
    """
    copy = copied(model)
    for path, module in copy.named_modules():
        _check(path, module)
        origin, known = _recipe(type(module))
        adaptations = sorted(dict.fromkeys((*known, adaptation)), key=lambda one: one.rank)
        module.__class__ = _class_of(origin, adaptations)
    return copy


def _check(path: str, module: nn.Module) -> None:
    where = f"The module '{path}'" if path else "The model"
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError(
            f"{where} is scripted, so that its calls cannot be rewritten; repair the model before "
            f"torch.jit.script."
        )
    if isinstance(module, torch.fx.GraphModule):
        raise UsageError(
            f"{where} is a torch.fx.GraphModule, whose class is made anew with every copy; repair "
            f"the model before tracing it."
        )
    if "forward" in vars(module):
        raise UsageError(
            f"{where} has a forward of its own, set on the instance; define it in a class, so "
            f"that the repaired copy can run it."
        )


@functools.cache
def _adapted_class(base: Any, adaptation: Adaptation) -> Any:
    @functools.wraps(base.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with _running(adaptation, self):
            return base.forward(self, *args, **kwargs)

    def reduce(self: nn.Module, protocol: Any) -> Any:
        """Classes made here cannot be imported: pickle what they are made from."""
        make, _, *state = nn.Module.__reduce_ex__(self, protocol)
        assert make is copyreg.__newobj__  # type: ignore[attr-defined]
        return _blank, _recipe(type(self)), *state

    name = adaptation.prefix + base.__name__
    members = {
        "forward": forward,
        "__reduce_ex__": reduce,
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "_made_from": (base, adaptation),
    }
    return type(name, (base,), members)


def _recipe(made: Any) -> tuple[Any, tuple[Adaptation, ...]]:
    """The class that can be imported, and the adaptations from the innermost on."""
    if "_made_from" not in vars(made):
        return made, ()
    base, adaptation = made._made_from
    origin, inner = _recipe(base)
    return origin, (*inner, adaptation)


def _blank(origin: Any, adaptations: Sequence[Adaptation]) -> Any:
    """An empty instance, for pickle and deepcopy to fill."""
    made = _class_of(origin, adaptations)
    return made.__new__(made)


def _class_of(origin: Any, adaptations: Sequence[Adaptation]) -> Any:
    for adaptation in adaptations:
        origin = _adapted_class(origin, adaptation)
    return origin


# ---------------------------------------------------------------------- running


_Note = tuple[nn.Module | None, str, str]


class _Active(threading.local):
    """What runs in this thread.

    adaptations: inner modules do not enter them again
    module:      the innermost one
    notes:       where somebody listens, what was rewritten in which module
    """

    def __init__(self) -> None:
        self.adaptations: tuple[Adaptation, ...] = ()
        self.module: nn.Module | None = None
        self.notes: list[_Note] | None = None


_ACTIVE = _Active()


def note(func: Function, what: str) -> None:
    """Tell whoever listens that a call was rewritten."""
    if _ACTIVE.notes is not None:
        _ACTIVE.notes.append((_ACTIVE.module, func.__name__, what))


def changes(model: nn.Module, example: Any) -> tuple[Change, ...]:
    """What an adapted model rewrites in one run in eval mode, without any arithmetic.

    Raises CaptureError where the model cannot be recorded.
    """
    model = copied(model).eval()
    notes: list[_Note] = []
    _ACTIVE.notes = notes
    try:
        capture(model, example)
    finally:
        _ACTIVE.notes = None
    paths = {id(module): path for path, module in model.named_modules()}
    return tuple(Change(paths.get(id(module), ""), op, what) for module, op, what in notes)


@contextmanager
def _running(adaptation: Adaptation, module: nn.Module) -> Iterator[None]:
    before, outer = _ACTIVE.adaptations, _ACTIVE.module
    _ACTIVE.module = module
    try:
        if adaptation in before:
            yield
            return
        _ACTIVE.adaptations = (*before, adaptation)
        with _Mode(adaptation.session()):
            yield
    finally:
        _ACTIVE.adaptations, _ACTIVE.module = before, outer


class _Mode(TorchFunctionMode):
    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        call = known_call(func, args, kwargs or {})
        return func(*args, **(kwargs or {})) if call is None else self._session.rewrite(call)
