"""Is the folded model as right as the unfolded one?  Both against a float64 run of the unfolded.

Folding rounds differently, so that equal outputs are too much to ask for.  The folded model
passes if its error is not much above the error that the unfolded model itself has on the same
inputs in its own precision, or below a floor of some units in the last place.  Where that
precision is float64 already, its error is taken from a run in single precision, scaled.

Of outputs that are no numbers those that they were made of are compared (see ``observed``).  Where
nothing is left to compare, or a wrong model would look the same, the verdict is 'not checked'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import running
from fieldwise.capture.torch.running import doubled, is_inexact
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import UnsuitableError, said_by
from fieldwise.folding.observed import Observed, Tensors, alike, observed
from fieldwise.folding.report import Verification

_MARGIN = 8.0
_FLOOR = 64.0
_USELESS = 1.0
"""A relative error from which on a comparison says nothing."""


@dataclass(frozen=True)
class DoubleTruth:
    """What the unfolded model computes on one set of inputs.

    exact: its outputs in float64, NaN where its own precision gives no number
    tree:  the nested output in its own precision, for whoever has to return the like
    unfolded_rel: the relative error of the unfolded model in its own precision
    others, made, placed: see ``Observed``; in float64, except the others
    instead:      what it is compared with where that is no float64 run, and why
    blind:        why a comparison would say nothing, however it came out
    """

    inputs: object
    exact: Tensors
    tree: object
    unfolded_rel: float
    others: Tensors = ()
    made: Tensors = ()
    placed: Tensors = ()
    instead: str | None = None
    blind: str | None = None

    def judge(self, folded: nn.Module) -> Verification:
        """The folded model on the same inputs."""
        found = observed(folded, self.inputs)
        allowed = allowed_error(self.unfolded_rel, found.eps)
        error = _error(found.values, self.exact) | self._of_integers(found, allowed)
        if error.relative > allowed:
            return self._verdict(error, passed=False)
        if self.blind is not None or not error.count:
            return replace(
                self._verdict(error, passed=None),
                note=self.blind or "no number of its outputs could be compared",
            )
        return self._verdict(error, passed=True)

    def _verdict(self, error: _Error, *, passed: bool | None) -> Verification:
        return Verification(
            error.largest, error.relative, self.unfolded_rel, passed, error.count, self.instead
        )

    def _of_integers(self, found: Observed, allowed: float) -> _Error:
        """The error of what integers were made of, where the same ops made them."""
        if not alike(found.others, self.others):
            return _WRONG
        error = _error(found.made, self.made) if alike(found.made, self.made) else _NOTHING
        if not alike(found.placed, self.placed):
            return error
        places = _error(found.placed, self.placed)
        if places.relative > allowed and _same(found.others, self.others):
            return error
        return error | places


def allowed_error(unfolded_rel: float, eps: float) -> float:
    """By how much a folded model may be off, relative to the largest output.

    unfolded_rel: by how much the unfolded one is; eps: the precision in which both work
    """
    return max(_MARGIN * unfolded_rel, _FLOOR * eps)


def truth(model: nn.Module, example: object, *, seed: int = 0) -> DoubleTruth:
    """Run copies of a model on inputs drawn from the example's statistics."""
    inputs = drawn(model, example, seed)
    own = observed(copied(model), inputs)
    measured: Observed | str = own
    instead, finer = None, 1.0
    if all(tensor.dtype == torch.float64 for tensor in own.numbers):
        exact = own
        measured = _in(torch.float32, model, inputs)
        finer = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    else:
        precise = _in(torch.float64, model, inputs)
        if isinstance(precise, str):
            instead = f"compared with its own run, since it does not run in float64 ({precise})"
        exact = own if isinstance(precise, str) else precise
    exact = _where_finite(exact, own)
    known = () if isinstance(measured, str) else measured.numbers
    wanted = exact.numbers
    relative = _error(known, wanted).relative * finer if alike(known, wanted) else 0.0
    return DoubleTruth(
        inputs, exact.values, own.tree, relative, own.others, exact.made, exact.placed, instead,
        _blindness(model, example, own, relative, seed),
    )  # fmt: skip


def _in(dtype: torch.dtype, model: nn.Module, inputs: object) -> Observed | str:
    """A run in another precision, or why there is none."""
    try:
        copy = copied(model)
        copy = doubled(copy) if dtype == torch.float64 else copy.float()
        return observed(copy, _as(dtype, inputs))
    except Exception as error:  # noqa: BLE001  a forward may raise anything
        return said_by(error)


def _where_finite(exact: Observed, own: Observed) -> Observed:
    """Exact numbers, NaN where the model's own are none."""

    def masked(exact: Tensors, own: Tensors) -> Tensors:
        if not alike(exact, own):
            return exact
        return tuple(
            torch.where(torch.isfinite(two), one, torch.nan)
            for one, two in zip(exact, own, strict=True)
        )

    return replace(
        exact,
        values=masked(exact.values, own.values),
        made=masked(exact.made, own.made),
        placed=masked(exact.placed, own.placed),
    )


def _blindness(
    model: nn.Module, example: object, own: Observed, relative: float, seed: int
) -> str | None:
    """Why a wrong model would look the same as a right one.

    own: what it shows of itself in its own precision
    """
    if _MARGIN * relative >= _USELESS:
        return f"in its own precision the model is off by {relative:.1e} already"
    numbers = own.numbers
    if not any(bool(tensor.isfinite().any()) for tensor in numbers):
        return None
    other = drawn(model, example, seed + 1)
    if not any(is_inexact(tensor) for tensor in tensors_in(other)):
        return None
    again = observed(copied(model), other)
    if _same(again.numbers, numbers):
        return "its outputs are the same numbers whatever the input"
    moved = _error(again.numbers, numbers).relative
    if moved > allowed_error(relative, own.eps):
        return None
    return f"its outputs hardly move with the input: by {moved:.1e} of the largest"


def copied(model: nn.Module) -> nn.Module:
    """A deep copy.  Raises UnsuitableError for a model that cannot be copied."""
    try:
        return running.copied(model)
    except (TypeError, RuntimeError) as error:
        raise UnsuitableError(
            f"fold changes a copy of a model, and this one cannot be copied ({said_by(error)}); "
            "take from its modules what cannot be, or give its class a __deepcopy__."
        ) from error


def drawn(model: nn.Module, example: object, seed: int) -> object:
    """Inputs like the example: its own values in another order, so that they stay in range.

    Where the example holds no values, or one throughout, they are normal; integers are kept.
    """
    generator = torch.Generator().manual_seed(seed)
    home = next((p.device for p in model.parameters()), torch.device("cpu"))

    def draw(tensor: Tensor) -> Tensor:
        if not is_inexact(tensor):
            return torch.zeros_like(tensor, device=home) if tensor.is_meta else tensor
        if tensor.is_meta or tensor.numel() < 2 or not _varies(tensor):
            dtype = torch.complex64 if tensor.is_complex() else torch.float32
            normal = torch.randn(tuple(tensor.shape), generator=generator, dtype=dtype)
            return normal.to(home if tensor.is_meta else tensor.device, tensor.dtype)
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        return tensor.detach().reshape(-1)[order].reshape(tensor.shape)

    return map_tensors(draw, example)


def _varies(tensor: Tensor) -> bool:
    finite = tensor.detach().reshape(-1)
    finite = finite[torch.isfinite(finite)]
    return bool((finite != finite[:1]).any())


def _as(dtype: torch.dtype, tree: object) -> object:
    pairs = torch.complex128 if dtype == torch.float64 else torch.complex64
    return map_tensors(
        lambda t: t.to(pairs if t.is_complex() else dtype) if is_inexact(t) else t, tree
    )


def _same(one: Tensors, two: Tensors) -> bool:
    return alike(one, two) and all(
        torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) for a, b in zip(one, two, strict=True)
    )


@dataclass(frozen=True)
class _Error:
    """The largest absolute error, and the largest relative to a tensor's largest value.

    count: of how many numbers
    """

    largest: float = 0.0
    relative: float = 0.0
    count: int = 0

    def __or__(self, other: _Error) -> _Error:
        return _Error(
            max(self.largest, other.largest),
            max(self.relative, other.relative),
            self.count + other.count,
        )


_NOTHING, _WRONG = _Error(), _Error(inf, inf, 0)


def _error(found: Sequence[Tensor], exact: Sequence[Tensor]) -> _Error:
    """Of all numbers that are finite in the exact ones; shapes that differ are wrong."""
    if not alike(found, exact):
        return _WRONG
    error = _NOTHING
    for one, two in zip(found, exact, strict=True):
        known = two[torch.isfinite(two)].double()
        difference = (one.double()[torch.isfinite(two)] - known).abs()
        if known.numel():
            largest = float(torch.nan_to_num(difference, nan=inf, posinf=inf).max())
            scale = max(float(known.abs().max()), torch.finfo(one.dtype).eps)
            error |= _Error(largest, largest / scale, known.numel())
    return error
