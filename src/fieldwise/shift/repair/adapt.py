"""One mechanism for every repair: a copy of a model whose functional calls are rewritten.

Every module of the copy gets a class derived from its own (``Conv2d`` becomes
``CircularConv2d(Conv2d)``) whose forward runs under a ``TorchFunctionMode``.  There every padding,
convolution, pooling and interpolation arrives as one call, whoever wrote it: a layer of torch, a
subclass that pads in its own way, or arithmetic in a forward.  So no list of layer classes is
needed, weight standardisation and the like happen as ever, names of modules and keys of the
state_dict stay what they were, ``isinstance`` too, and any part of the copy keeps the repair when
it is run alone.  Copies can be deep-copied, pickled, trained and exported (torch.export with
strict=False).

A forward that was set on an instance runs under the mode too.  Refused are scripted modules, which
run without Python, traced ones (torch.fx), which make a class of their own for every copy, and a
forward set on an instance whose closure holds modules, which no copy replaces.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn
from torch.overrides import TorchFunctionMode

from fieldwise.capture.torch import check_model
from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.own_names import operators_of
from fieldwise.capture.torch.running import copied
from fieldwise.graph.ir import Args, Kwargs
from fieldwise.shift.repair.calls import AnyFunction, FunctionCall, known_call
from fieldwise.shift.repair.forwards import check, made_class, recipe
from fieldwise.shift.repair.report import Change


class AdaptedRun(ABC):
    """One run of an adapted model: sees every known call, and may keep what the run decided."""

    @abstractmethod
    def rewrite(self, call: FunctionCall) -> object:
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
    def session(self) -> AdaptedRun:
        """The state of one run."""


_PATH, _OPERATOR = "_repaired_path", "_repaired_operator"


def adapted(model: nn.Module, adaptation: Adaptation) -> nn.Module:
    """A deep copy of the model whose modules all run under the adaptation, and earlier ones.

    Raises UsageError for modules whose calls cannot be rewritten.
    """
    check_model(model)
    copy, operators = copied(model), operators_of(model)
    for path, module in copy.named_modules():
        check(path, module)
        vars(module)[_PATH], vars(module)[_OPERATOR] = path, operators.get(path, "")
        origin, known = recipe(type(module))
        adaptations = sorted(dict.fromkeys((*known, adaptation)), key=lambda one: one.rank)
        module.__class__ = made_class(origin, tuple(adaptations), _running)
    return copy


# ---------------------------------------------------------------------- running


@dataclass
class CallLog:
    """The calls of a model as it runs: what was done to them, and the calls by path of module.

    paths: of the model's modules, by identity; calls of others, as of copies of it that the capture
           makes, are not logged
    """

    paths: Mapping[int, str]
    changes: list[Change] = field(default_factory=list)
    calls: list[tuple[str, FunctionCall]] = field(default_factory=list)


class _Active(threading.local):
    """What runs in this thread.

    adaptations: inner modules do not enter them again
    module:      the innermost one
    log:         of the calls, inside ``logged_calls``
    """

    def __init__(self) -> None:
        self.adaptations: tuple[Adaptation, ...] = ()
        self.module: nn.Module | None = None
        self.log: CallLog | None = None


_ACTIVE = _Active()


def running_module() -> nn.Module | None:
    """The innermost adapted module that is running."""
    return _ACTIVE.module


def where() -> str:
    """The innermost adapted module that is running, for an error: " of 'layer1'", or nothing."""
    path = vars(_ACTIVE.module).get(_PATH) if _ACTIVE.module is not None else None
    return f" of '{path}'" if path else ""


def running_operator() -> str:
    """What the file calls the running node; '' where it is a module of another model."""
    return vars(_ACTIVE.module).get(_OPERATOR, "") if _ACTIVE.module is not None else ""


def called(func: AnyFunction) -> str:
    """What a sentence calls a call of the running module: as its file does, if it is from one."""
    return running_operator() or func.__name__


def log_change(func: AnyFunction, what: str) -> None:
    """Log what was done to a call, where calls are logged."""
    if (found := _logged()) is not None:
        log, path = found
        log.changes.append(Change(path, called(func), what))


def log_call(call: FunctionCall) -> None:
    """Log a call that is about to be rewritten, where calls are logged."""
    if (found := _logged()) is not None:
        log, path = found
        log.calls.append((path, call))


def _logged() -> tuple[CallLog, str] | None:
    """The log of the model that is running, and the path of its running module."""
    log, module = _ACTIVE.log, _ACTIVE.module
    path = None if log is None else log.paths.get(id(module))
    return None if log is None or path is None else (log, path)


@contextmanager
def logged_calls(model: nn.Module) -> Iterator[CallLog]:
    """Log the calls of an adapted model that runs meanwhile."""
    _ACTIVE.log = log = CallLog({id(module): path for path, module in model.named_modules()})
    try:
        yield log
    finally:
        _ACTIVE.log = None


def changes(model: nn.Module, example: object) -> tuple[Change, ...]:
    """What an adapted model rewrites in one run in eval mode, without any arithmetic.

    Raises CaptureError where the model cannot be recorded.
    """
    model = copied(model).eval()
    with logged_calls(model) as log:
        record(model, example)
    return tuple(log.changes)


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
    def __init__(self, session: AdaptedRun) -> None:
        super().__init__()
        self._session = session

    def __torch_function__(
        self,
        func: AnyFunction,
        types: Sequence[type],
        args: Args = (),
        kwargs: Kwargs | None = None,
    ) -> object:
        call = known_call(func, args, kwargs or {})
        return func(*args, **(kwargs or {})) if call is None else self._session.rewrite(call)
