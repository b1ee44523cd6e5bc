"""Adaptive polyphase sampling (Chaman & Dokmanić 2021): strides that lose no shift at all.

A strided window becomes a dense periodic one, of whose s·s polyphase components (the grids that
start at phase 0 … s−1 along each axis) the one with the largest norm is kept.  The components of
a shifted image are those of the image, shifted and in another order, so that the same one is kept.

Branches must keep the same component, or they would be added out of step.  So a run keeps a book
of grids: the first op that steps from one size to another chooses, every other op that makes the
same step takes its choice, and what upsamples back to a size on the way is rolled back into place.
A size that is reached by two different chains of steps is refused.

Where components tie (a constant image, or one of the stride's period), those within a relative
1e-9 of the largest norm are told apart by their sums of |y|, |y|³ and y³ in turn, and at last by
their order: deterministic, and equivariant for all but contrived signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from fieldwise.errors import UnsuitableError
from fieldwise.shift.proof.reasons import DROP_INDICES, PAD_OR_WRAP, of_files
from fieldwise.shift.repair.adapt import (
    Adaptation,
    AdaptedRun,
    called,
    log_change,
    running_operator,
    where,
)
from fieldwise.shift.repair.borders import wrapped
from fieldwise.shift.repair.calls import INTERPOLATE, PAD, TRANSPOSED, FunctionCall
from fieldwise.shift.repair.strides import Strided, strided

AxisSizes = tuple[int, ...]

_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Polyphase(Adaptation):
    """What is sampled adaptively.

    spatial: how many spatial axes the input has
    valid:   whether windows without enough padding are wrapped to a unit per stride
    """

    spatial: int
    valid: bool = False

    @property
    def prefix(self) -> str:
        """``PolyphaseConv2d``."""
        return "Polyphase"

    @property
    def rank(self) -> int:
        """The first."""
        return 0

    def session(self) -> AdaptedRun:
        """Every run chooses anew."""
        return _Session(self.spatial, self.valid)


@dataclass
class _Session(AdaptedRun):
    """The book of one run.

    steps: per size reached, the size it was reached from and the phases chosen: a tensor
           (batch, axes)
    padded: what explicit padding made, by identity: the tensor (kept, so that its identity stays
           its own), what it was made from, and how much stands before it
    """

    spatial: int
    valid: bool
    steps: dict[AxisSizes, tuple[AxisSizes, Tensor]] = field(default_factory=dict)
    padded: dict[int, tuple[Tensor, Tensor, AxisSizes]] = field(default_factory=dict)

    def rewrite(self, call: FunctionCall) -> object:
        """Strided windows are sampled adaptively, upsampling is put back into place."""
        if call.func in PAD:
            return self._pad(call)
        if call.func in INTERPOLATE or call.func in TRANSPOSED:
            return self._upsampled(call)
        found = strided(call)
        if found is None or len(found.windows) != self.spatial:
            return call.run()
        if call.gives_indices:
            raise UnsuitableError(
                f"'{called(call.func)}'{where()} returns indices into its operand, which sampling "
                f"at another phase would falsify; {_of_running(DROP_INDICES)}."
            )
        return self._sampled(found)

    def _pad(self, call: FunctionCall) -> Tensor:
        """Remember what was padded: a strided window needs to know the size of its period."""
        result: Tensor = call.run()
        pad = tuple(call["pad"])[: 2 * self.spatial]
        if min(pad) >= 0 and not any(tuple(call["pad"])[2 * self.spatial :]):
            pad += (0,) * (2 * self.spatial - len(pad))
            before = tuple(reversed(pad[::2]))
            self.padded[id(result)] = (result, call["input"], before)
        return result

    def _sampled(self, found: Strided) -> Tensor:
        value: Tensor = found.call["input"]
        before = tuple(window.pads[0] for window in found.windows)
        kept = self.padded.get(id(value))
        if kept is not None:
            _, value, more = kept
            before = tuple(a + b for a, b in zip(before, more, strict=True))
        sizes = tuple(value.shape[-self.spatial :])
        _check(found, sizes, valid=self.valid)
        dims = range(-self.spatial, 0)
        value = wrapped(
            value,
            {
                dim: (pad, max(0, window.span - 1 - pad))
                for dim, pad, window in zip(dims, before, found.windows, strict=True)
            },
        )
        dense: Tensor = found.dense().but(input=value, padding=0).run()
        for dim, size in zip(dims, sizes, strict=True):
            dense = dense.narrow(dim, 0, size)
        return self._subsampled(dense, found, sizes)

    def _subsampled(self, dense: Tensor, found: Strided, sizes: AxisSizes) -> Tensor:
        func = found.call.func
        results = tuple(size // s for size, s in zip(sizes, found.strides, strict=True))
        known = self.steps.get(results)
        if known is None:
            log_change(func, f"stride {_spelled(found.strides)} sampled at the strongest phase")
            phases = strongest(dense, found.strides)
            self.steps[results] = (sizes, phases)
            return sampled(dense, found.strides, phases)
        origin, phases = known
        if origin != sizes or len(phases) != len(dense):
            raise UnsuitableError(
                f"Size {_spelled(results)} is reached from {_spelled(origin)} and, by "
                f"'{called(func)}'{where()}, from {_spelled(sizes)}; branches that take different "
                f"steps cannot be sampled in phase: take the same ones, or antialias."
            )
        log_change(func, f"stride {_spelled(found.strides)} sampled at the phase of its branch")
        return sampled(dense, found.strides, phases)

    def _known(self) -> list[AxisSizes]:
        """The sizes on the way down."""
        return sorted({sizes for sizes, _ in self.steps.values()}, reverse=True)

    def _upsampled(self, call: FunctionCall) -> Tensor:
        """Roll the result to where the grid of its size stands."""
        result: Tensor = call.run()
        if result.dim() != self.spatial + 2:
            return result
        sizes = tuple(call["input"].shape[2:])
        wanted = tuple(result.shape[2:])
        if sizes == wanted or sizes not in self.steps:
            return result
        offset = torch.zeros_like(self.steps[sizes][1])
        at = sizes
        while at != wanted:
            if at not in self.steps:
                raise UnsuitableError(
                    f"'{called(call.func)}'{where()} makes size {_spelled(wanted)} of "
                    f"{_spelled(sizes)}, which is no size on the way down, so that its phase is "
                    f"unknown; resize to one of {', '.join(map(_spelled, self._known()))}."
                )
            at, phases = self.steps[at]
            spacing = [whole // part for whole, part in zip(wanted, at, strict=True)]
            offset = offset + phases * torch.tensor(spacing, device=phases.device)
        log_change(call.func, "rolled back to the phase of its size")
        return rolled(result, offset)


def _of_running(remedy: str) -> str | None:
    """A remedy in the words of the model that is running."""
    return of_files(remedy) if running_operator() else remedy


def _check(found: Strided, sizes: AxisSizes, *, valid: bool) -> None:
    name = called(found.call.func)
    for axis, (size, window) in enumerate(zip(sizes, found.windows, strict=True), 2):
        stride, result = window.stride, window.count
        if size % stride:
            raise UnsuitableError(
                f"The operand of '{name}'{where()} has size {size} along axis {axis}, which is not "
                f"a multiple of its stride {stride}; take an input whose size is a multiple of the "
                f"total stride."
            )
        if result * stride != size and not (valid and result * stride < size):
            raise UnsuitableError(
                f"'{name}'{where()} makes {result} positions of {size} samples along axis {axis} "
                f"at stride {stride}, not {size // stride}: its windows do not cover a period; "
                f"{_of_running(PAD_OR_WRAP)}."
            )


def strongest(value: Tensor, strides: Sequence[int]) -> Tensor:
    """Per sample of the batch, the phases (along each axis) of the component of largest norm.

    >>> strongest(torch.tensor([[[0.0, 1.0, 0.0, 2.0]]]), (2,)).tolist()
    [[1]]
    """
    parts = components(value, strides).flatten(2).detach().double()
    size = parts.abs()
    scores = (size.square().sum(2), size.sum(2), size.pow(3).sum(2), parts.pow(3).sum(2))
    allowed = torch.ones_like(scores[0], dtype=torch.bool)
    for score in scores:
        best = score.masked_fill(~allowed, -torch.inf).amax(1, keepdim=True)
        allowed = allowed & (score >= best - _TIE * best.abs())
    chosen = allowed.to(torch.uint8).argmax(1)
    phases = []
    for stride in reversed(strides):
        phases.append(chosen % stride)
        chosen = chosen // stride
    return torch.stack(phases[::-1], 1)


def components(value: Tensor, strides: Sequence[int]) -> Tensor:
    """(batch, phase, channels, *spatial): what each of the grids holds, the last axis fastest."""
    batch, channels, *sizes = value.shape
    split = [n for size, s in zip(sizes, strides, strict=True) for n in (size // s, s)]
    axes = len(sizes)
    order = [0, *range(3, 3 + 2 * axes, 2), 1, *range(2, 2 + 2 * axes, 2)]
    parts = value.reshape(batch, channels, *split).permute(order)
    return parts.reshape(batch, prod(strides), channels, *split[::2])


def sampled(value: Tensor, strides: Sequence[int], phases: Tensor) -> Tensor:
    """The component at each sample's own phases (batch, axes)."""
    number = torch.zeros_like(phases[:, 0])
    for axis, stride in enumerate(strides):
        number = number * stride + phases[:, axis]
    parts = components(value, strides)
    index = number.reshape(-1, *[1] * (parts.dim() - 1)).expand(-1, 1, *parts.shape[2:])
    return parts.gather(1, index).squeeze(1)


def rolled(value: Tensor, offsets: Tensor) -> Tensor:
    """Each sample of the batch rolled by its own offsets (batch, axes)."""
    for axis in range(offsets.shape[1]):
        dim = 2 + axis
        size = value.shape[dim]
        index = (torch.arange(size, device=value.device) - offsets[:, axis, None]) % size
        shape = [len(index), *[1] * (value.dim() - 1)]
        shape[dim] = size
        value = value.gather(dim, index.reshape(shape).expand(value.shape))
    return value


def _spelled(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
