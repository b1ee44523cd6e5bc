"""Periodic boundaries: whatever stood beyond the border becomes the other side of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.running import copied
from fieldwise.errors import check_choice
from fieldwise.shift.repair.adapt import (
    Adaptation,
    AdaptedRun,
    log_call,
    logged_calls,
    running_module,
)
from fieldwise.shift.repair.calls import (
    AVG_POOL,
    CONV,
    FOLD,
    INTERPOLATE,
    MAX_POOL,
    PAD,
    TRANSPOSED,
    UNFOLD,
    AnyFunction,
    FunctionCall,
)
from fieldwise.shift.repair.layouts import SpatialDims, by_descent, by_place, nowhere
from fieldwise.shift.repair.resampling import fold, interpolate, transposed
from fieldwise.shift.repair.windows import conv, pad, pool, unfold

Interpolation = Literal["wrap", "clamp", "half-pixel"]
Valid = Literal["keep", "wrap"]


@dataclass(frozen=True, slots=True)
class Periodic(Adaptation):
    """Periodic along some axes.

    input_rank:    of the input
    wrapped:       per spatial axis of the input, whether it is periodic
    interpolation: 'clamp' leaves the borders of linear and cubic interpolation as they are,
                   'half-pixel' also computes what has align_corners=True without it
    valid:         'wrap' makes convolutions and pools without enough padding for a unit per stride
                   give one
    """

    input_rank: int
    wrapped: tuple[bool, ...]
    interpolation: Interpolation = "wrap"
    valid: Valid = "keep"

    def __post_init__(self) -> None:
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_choice("valid", self.valid, get_args(Valid))

    @property
    def prefix(self) -> str:
        """``CircularConv2d``."""
        return "Circular"

    @property
    def rank(self) -> int:
        """The last, so that what other repairs pad is wrapped too."""
        return 1

    def session(self) -> AdaptedRun:
        """Nothing is kept during a run."""
        return _Session(self)

    def place(self, call: FunctionCall) -> SpatialDims:
        """What the operand's dimensions follow where only their place tells."""
        rank, spatial = call["input"].dim(), len(self.wrapped)
        if call.func in PAD:
            return (
                by_place(rank, spatial) if rank in (self.input_rank, 2 + spatial) else nowhere(rank)
            )
        fits = _WINDOWED.get(call.func, rank - 2) == spatial
        return by_place(rank, spatial) if fits and rank >= spatial else nowhere(rank)


PeriodicRule = Callable[..., object]

_WINDOWED = CONV | MAX_POOL | AVG_POOL | UNFOLD | FOLD | TRANSPOSED
_FAMILIES: tuple[tuple[dict[AnyFunction, int], PeriodicRule], ...] = (
    (CONV, conv),
    (MAX_POOL, pool),
    (AVG_POOL, pool),
    (UNFOLD, unfold),
    (FOLD, fold),
    (PAD, pad),
    (TRANSPOSED, transposed),
    (INTERPOLATE, interpolate),
)
_RULES = {function: rule for family, rule in _FAMILIES for function in family}


@dataclass(frozen=True, slots=True)
class _Session(AdaptedRun):
    periodic: Periodic

    def rewrite(self, call: FunctionCall) -> object:
        """By the rule for its function; every function that is known has one."""
        interpolation = self.periodic.interpolation
        if call.func in INTERPOLATE and interpolation == "clamp":
            return call.run()
        log_call(call)
        known = vars(running_module()).get(_LAYOUTS, {}) if call.func not in FOLD else {}
        follows = known.get(_key(call)) or self.periodic.place(call)
        wraps = [axis is not None and self.periodic.wrapped[axis] for axis in follows]
        rule = _RULES[call.func]
        if rule is interpolate:
            return rule(call, wraps, half_pixel=interpolation == "half-pixel")
        if rule in (conv, pool):
            return rule(call, wraps, cover=self.periodic.valid == "wrap")
        return rule(call, wraps)


_LAYOUTS = "_periodic_layouts"


def _key(call: FunctionCall) -> tuple[str, int]:
    return call.func.__name__, call["input"].dim()


def learn_layouts(model: nn.Module, example: object, periodic: Periodic) -> None:
    """Note on every module of an adapted model which dimensions of its operands are spatial axes.

    Calls of one function on operands of one rank that disagree within a module are left to their
    place.  Raises CaptureError where the model cannot be recorded.
    """
    subject = copied(model).eval()
    with logged_calls(subject) as log:
        subject.register_forward_hook(
            lambda *ran: [*(call["input"] for _, call in log.calls), ran[-1]]
        )
        graph = record(subject, example)
    operands = dict(zip(graph.output_names, graph.outputs, strict=True))
    asked = {
        operands[str(number)]: periodic.place(call)
        for number, (_, call) in enumerate(log.calls)
        if str(number) in operands
    }
    first = periodic.input_rank - len(periodic.wrapped)
    found = by_descent(graph, range(first, periodic.input_rank), asked)
    learnt: dict[str, dict[tuple[str, int], set[SpatialDims]]] = {}
    for number, (path, call) in enumerate(log.calls):
        if str(number) in operands:
            table = learnt.setdefault(path, {})
            table.setdefault(_key(call), set()).add(found[operands[str(number)]])
    for path, table in learnt.items():
        agreed = {key: follows.pop() for key, follows in table.items() if len(follows) == 1}
        setattr(model.get_submodule(path), _LAYOUTS, agreed)
