"""Is the folded model as right as the unfolded one?  Both against a float64 run of the unfolded.

Folding rounds differently, so that equal outputs are too much to ask for.  The folded model
passes if its error is not much above the error that the unfolded model itself has on the same
inputs in its own precision, or below a floor of some units in the last place.  Where that
precision is float64 already, its error is taken from a run in single precision, scaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import running
from fieldwise.capture.torch.running import run
from fieldwise.capture.torch.tree import map_tensors, named_tensors
from fieldwise.errors import UsageError
from fieldwise.fold.report import Verification

_MARGIN = 8.0
_FLOOR = 64.0


@dataclass(frozen=True)
class Truth:
    """What the unfolded model computes on one set of inputs.

    exact: its outputs in float64
    tree:  the nested output in its own precision, for whoever has to return the like
    unfolded_rel: the relative error of the unfolded model in its own precision
    """

    inputs: Any
    exact: tuple[Tensor, ...]
    tree: Any
    unfolded_rel: float

    def judge(self, folded: nn.Module) -> Verification:
        """The folded model on the same inputs."""
        found = floats(run(folded, self.inputs))
        largest, relative = _errors(found, self.exact)
        eps = max((torch.finfo(t.dtype).eps for t in floats(self.tree)), default=0.0)
        allowed = max(_MARGIN * self.unfolded_rel, _FLOOR * eps)
        return Verification(largest, relative, self.unfolded_rel, relative <= allowed)


def truth(model: nn.Module, example: Any, *, seed: int = 0) -> Truth:
    """Run copies of a model on inputs drawn from the example's statistics."""
    inputs = drawn(model, example, seed)
    tree = run(copied(model), inputs)
    own = floats(tree)
    if not all(tensor.dtype == torch.float64 for tensor in own):
        exact = _exact(model, inputs, own)
        return Truth(inputs, exact, tree, _errors(own, exact)[1])
    single = floats(run(copied(model).float(), _as(torch.float32, inputs)))
    finer = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    return Truth(inputs, own, tree, _errors(single, own)[1] * finer)


def _exact(model: nn.Module, inputs: Any, own: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A float64 run; the model's own outputs where it insists on another dtype."""
    try:
        return floats(run(copied(model).double(), _as(torch.float64, inputs)))
    except RuntimeError:
        return own


def copied(model: nn.Module) -> nn.Module:
    """A deep copy.  Raises UsageError for a model that cannot be copied."""
    try:
        return running.copied(model)
    except (TypeError, RuntimeError) as error:
        raise UsageError(
            f"fold changes a copy of a model, and this one cannot be copied ({error}); take from "
            "its modules what cannot be, or give its class a __deepcopy__."
        ) from error


def drawn(model: nn.Module, example: Any, seed: int) -> Any:
    """Inputs like the example: its own values in another order, so that they stay in range.

    Where the example holds no values, or one throughout, they are normal; integers are kept.
    """
    generator = torch.Generator().manual_seed(seed)
    home = next((p.device for p in model.parameters()), torch.device("cpu"))

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return torch.zeros_like(tensor, device=home) if tensor.is_meta else tensor
        if tensor.is_meta or tensor.numel() < 2 or not _varies(tensor):
            normal = torch.randn(tuple(tensor.shape), generator=generator)
            return normal.to(home if tensor.is_meta else tensor.device, tensor.dtype)
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        return tensor.detach().reshape(-1)[order].reshape(tensor.shape)

    return map_tensors(draw, example)


def floats(tree: Any) -> tuple[Tensor, ...]:
    """The real tensors of a nested output."""
    return tuple(t.clone() for _, t in named_tensors(tree) if t.is_floating_point())


def _varies(tensor: Tensor) -> bool:
    first = tensor.detach().reshape(-1)
    return bool(torch.isfinite(first).all()) and bool((first != first[0]).any())


def _as(dtype: torch.dtype, tree: Any) -> Any:
    return map_tensors(lambda t: t.to(dtype) if t.is_floating_point() else t, tree)


def _errors(found: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> tuple[float, float]:
    """The largest absolute error, and the largest one relative to its tensor's largest value."""
    if len(found) != len(exact) or any(
        one.shape != two.shape for one, two in zip(found, exact, strict=False)
    ):
        return inf, inf
    largest = relative = 0.0
    for one, two in zip(found, exact, strict=True):
        difference = (one.double() - two)[torch.isfinite(two)]
        if difference.numel() == 0:
            continue
        error = float(torch.nan_to_num(difference.abs(), nan=inf, posinf=inf).max())
        scale = float(two[torch.isfinite(two)].abs().max())
        largest = max(largest, error)
        relative = max(relative, error / max(scale, torch.finfo(one.dtype).eps))
    return largest, relative
