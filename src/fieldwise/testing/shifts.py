"""Certificates of translation equivariance held against shifted inputs: ``check_shift``.

What is said to hold must hold whatever the parameters are, so also for those of the model.  What is
said to be broken is so for parameters that are generic, and those of a fresh model are not: its
norms weigh all channels alike.  So there they are drawn anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.redrawn import redrawn
from fieldwise.shift import AxisCertificate, Interior, Move, certify
from fieldwise.testing.outcome import Outcome, outcome_of, worst
from fieldwise.testing.running import (
    Inputs,
    as_module,
    coarse,
    doubled,
    in_full,
    is_whole,
    resampled,
    run,
    same,
    scale,
    slack,
)

_DRAWS = 4
_TIMES = 3
_SHORT = 24

Runs = list[Tensor]
"""One output, per draw."""


def shift_outcome(model: object, inputs: Inputs, axis: int) -> Outcome:
    """How both theorems along an axis of the first input compare with shifted inputs."""
    module = as_module(model)
    try:
        certificates = certify(module, inputs, axes=[axis])
    except Exception as error:  # noqa: BLE001 - what comes out is what is looked for
        return outcome_of(error)
    graph = certificates.graph
    try:
        shifted = _Shifted(module, inputs, axis)
        generic = _generic(shifted)
    except (RuntimeError, ValueError, IndexError) as error:
        return Outcome("nothing", f"the model does not run on other inputs: {error}")
    found = []
    for name, value in zip(graph.output_names or graph.outputs, graph.outputs, strict=True):
        if value in certificates.by_value:
            certificate = certificates.by_value[value].along(axis)
            found.append(_judged(shifted, generic, name, certificate))
    return worst(found)


def _judged(
    shifted: _Shifted, generic: _Shifted, name: str, certificate: AxisCertificate
) -> Outcome:
    before = shifted.outputs(shifted.inputs, name)
    if not all(_telling(y) for y in before) or _alike(before):
        return Outcome("nothing", f"{name} gives the same for different inputs")
    outcomes = [_interior(shifted, name, certificate.interior)]
    if certificate.circular.holds:
        outcomes.append(_holds(shifted, name, certificate, before))
    elif certificate.undecided:
        whys = {breaker.why for breaker in certificate.broken_by}
        outcomes.append(Outcome("undecided", "; ".join(sorted(whys))))
    else:
        outcomes.append(_broken(generic, name, certificate))
    return worst(outcomes)


@dataclass
class _Shifted:
    """A model on a few inputs that are twice as long as it sees."""

    model: nn.Module
    given: Inputs
    axis: int

    def __post_init__(self) -> None:
        dice = torch.Generator().manual_seed(3)
        first = self.given[0]
        shape = list(first.shape)
        shape[self.axis] *= 2
        self.size = first.shape[self.axis]
        kinds = [(resampled, coarse)[n % 2] for n in range(_DRAWS)]
        self.long = [draw(first, shape, dice) for draw in kinds]
        self.inputs = [x.narrow(self.axis, 0, self.size) for x in self.long]
        self.rest = [
            tuple(draw(x, x.shape, dice) if n else x for x in self.given[1:])
            for n, draw in enumerate(kinds)
        ]
        self._known: dict[tuple[str, int, int], dict[str, Tensor]] = {}
        self.outputs(self.inputs, None)

    def outputs(self, inputs: Sequence[Tensor], name: str | None) -> Runs:
        """One output on each of these, the other inputs as they are."""
        found = [run(self.model, (x, *rest)) for x, rest in zip(inputs, self.rest, strict=True)]
        return [] if name is None else [outputs[name] for outputs in found]

    def rolled(self, by: int, name: str) -> Iterator[Tensor]:
        """The output where the input is rolled, per draw, each run when it is asked for."""
        for draw, x in enumerate(self.inputs):
            yield self._cached(("roll", by, draw), x.roll(by, self.axis))[name]

    def later(self, by: int, name: str) -> Runs:
        """The output where so much more of the signal has gone by."""
        views = (x.narrow(self.axis, by, self.size) for x in self.long)
        return [self._cached(("later", by, draw), x)[name] for draw, x in enumerate(views)]

    def _cached(self, key: tuple[str, int, int], x: Tensor) -> dict[str, Tensor]:
        if key not in self._known:
            self._known[key] = run(self.model, (x, *self.rest[key[-1]]))
        return self._known[key]


def _generic(shifted: _Shifted) -> _Shifted:
    """The same with generic parameters."""
    parameters = shifted.model.named_parameters(remove_duplicate=False)
    names = [name for name, tensor in parameters if not is_whole(tensor)]
    if not names:
        return shifted
    return _Shifted(redrawn(shifted.model, names), shifted.given, shifted.axis)


# -------------------------------------------------------------------- the circular theorem


def _holds(shifted: _Shifted, name: str, certificate: AxisCertificate, before: Runs) -> Outcome:
    circular = certificate.circular
    assert circular.period is not None
    times = min(_TIMES, max(1, (shifted.size - 1) // circular.period))
    for count in range(1, times + 1):
        after = list(shifted.rolled(count * circular.period, name))
        wanted = [moved(y, circular.moves, count) for y in before]
        if not _equal(wanted, after):
            by = count * circular.period
            return Outcome(
                "wrong",
                f"certified: {name} answers a roll by {by} with "
                f"{circular.moves or 'no change'}, but it does not",
                1,
            )
    return Outcome("holds", compared=times)


def _broken(shifted: _Shifted, name: str, certificate: AxisCertificate) -> Outcome:
    """No roll by less than a full turn may be answered by any roll of the output."""
    before = shifted.outputs(shifted.inputs, name)
    told = "; ".join(dict.fromkeys(b.why for b in certificate.broken_by))
    tried = _some_rolls(shifted.size)
    for by in tried:
        if not all(map(_may_be_rolled, before, shifted.rolled(by, name))):
            continue
        after = list(shifted.rolled(by, name))
        for move in _possible(before[0].shape, shifted.size, by):
            if _equal((moved(y, move) for y in before), after):
                return Outcome(
                    "wrong",
                    f"{name} is said to be broken ({told}), but answers a "
                    f"roll by {by} with {move or 'no change'}",
                    1,
                )
    return Outcome("broken", told, len(tried))


def _may_be_rolled(before: Tensor, after: Tensor) -> bool:
    """Whether the elements are the same in some order, as far as their sums say it."""
    one, two = (_finite(y).sum().item() for y in (before, after))
    return not abs(one - two) > slack(before.dtype) * scale(before) * before.numel()


def _finite(value: Tensor) -> Tensor:
    """The magnitudes; 0 for what has none.  (A sum of large ones may still be infinite.)"""
    kind = torch.complex128 if value.is_complex() else torch.float64
    return value.to(kind).abs().nan_to_num(nan=0.0, posinf=0.0)


def _some_rolls(size: int) -> list[int]:
    """All rolls of a short axis; of a long one the smallest, and the halves of it."""
    if size <= _SHORT:
        return list(range(1, size))
    halves = [size >> n for n in range(1, size.bit_length()) if size % (1 << n) == 0]
    return sorted({1, 2, 3, *halves})


def _possible(shape: Sequence[int], size: int, by: int) -> Iterator[tuple[Move, ...]]:
    """No change, and the rolls of one dimension, or of the rows that one holds."""
    yield ()
    for dim, length in enumerate(shape):
        for step in _steps(length, size, by):
            yield (Move(dim, 0, length, 1, length, 1, step),)
        if length != size and length % size == 0:
            for outer in (n for n in range(1, length // size + 1) if length // size % n == 0):
                inner = length // size // outer
                for step in _steps(size, size, by):
                    yield (Move(dim, 0, length, outer, size, inner, step),)


def _steps(length: int, size: int, by: int) -> Sequence[int]:
    """The steps along a dimension that may answer a roll; along a long one the likely ones."""
    if length <= _SHORT:
        return range(1, length)
    return [step for step in {by, length - by, by * length // size} if 0 < step < length]


def moved(value: Tensor, moves: Sequence[Move], times: int = 1) -> Tensor:
    """The value after ``times`` periods, by its certificate's moves."""
    value = value.clone()
    for move in moves:
        part = value.narrow(move.dim, move.start, move.stop - move.start)
        digits = part.unflatten(move.dim, (move.outer, move.size, move.inner))
        rolled = digits.roll(times * move.step, move.dim + 1)
        part.copy_(rolled.flatten(move.dim, move.dim + 2).clone())
    return value


# -------------------------------------------------------------------- the interior theorem


def _interior(shifted: _Shifted, name: str, interior: Interior) -> Outcome:
    """What is out of reach of the edges moves as the view does."""
    if interior.range is None or len(interior.moves) != 1 or not interior.period:
        return Outcome("nothing", "no positions are certified to be out of reach of the edges")
    (move,), (start, stop) = interior.moves, interior.range
    before = shifted.outputs(shifted.inputs, name)
    compared = 0
    for times in range(1, shifted.size // interior.period + 1):
        step = times * move.step * move.inner
        low, high = max(start, start - step), min(stop, stop - step)
        if low >= high:
            break
        after = shifted.later(times * interior.period, name)
        here = [_rows(y, move, low, high) for y in after]
        there = [_rows(y, move, low + step, high + step) for y in before]
        compared += high - low
        if not _equal(there, here):
            return Outcome(
                "wrong",
                f"certified: positions {start} to {stop - 1} of {name} move "
                f"by {step} with the signal, but they do not",
                compared,
            )
    return Outcome("holds" if compared else "nothing", compared=compared)


def _rows(value: Tensor, move: Move, low: int, high: int) -> Tensor:
    """These positions of each row that a dimension holds; of the dimension where it is one row."""
    if move.outer == 1:
        return value.narrow(move.dim, low, high - low)
    part = value.narrow(move.dim, move.start, move.stop - move.start)
    rows = part.unflatten(move.dim, (move.outer, move.size * move.inner))
    return rows.narrow(move.dim + 1, low, high - low)


# -------------------------------------------------------------------- comparing


def _telling(value: Tensor) -> bool:
    return bool(value.numel()) and not bool(value.isnan().all())


def _alike(values: Runs) -> bool:
    """Whether what was put in does not matter, as far as can be seen."""
    return any(_equal([values[0]], [other]) for other in values[1:])


def _equal(wanted: Iterable[Tensor], found: Runs) -> bool:
    return all(same(one, two) for one, two in zip(wanted, found, strict=True))


def check_shift(model: nn.Module, *inputs: object, axis: int = -1) -> Outcome:
    """Hold both theorems along an axis of the first input against shifted inputs.

    What is certified must hold; what is said to be broken by a known layer must be seen to be so.

    Raises AssertionError where it is not, and where nothing was compared.
    """
    given = in_full(model, inputs)
    return shift_outcome(doubled(as_module(model)), given, axis % given[0].dim()).required()
