"""The model of a job: named, built, given weights, and cast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fieldwise.capture import load_model
from fieldwise.errors import UsageError
from fieldwise.graph import Graph
from fieldwise.tile.jobs.weights import load_weights


@dataclass(frozen=True, slots=True)
class JobModel:
    """A model with one input.

    shape:  of its usual input; dtype: what its input is cast to
    random: whether nobody gave it weights
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    dtype: torch.dtype
    random: bool


def job_model(
    spec: str, shape: str | None = None, *, weights: Path | None = None, dtype: str | None = None
) -> JobModel:
    """The model that a spec names (see capture.specs), the same one in every process.

    dtype: what it computes in; by default the type of its weights

    Raises UsageError for what load_model and load_weights refuse, and for several inputs.
    """
    torch.manual_seed(0)
    loaded = load_model(spec, shape).runnable()
    assert not isinstance(loaded.source, Graph)
    if len(loaded.shapes) != 1:
        raise UsageError(f"{spec!r} takes {len(loaded.shapes)} inputs, and a job reads one.")
    module, random = loaded.source, spec.startswith(_UNTRAINED) and weights is None
    if weights is not None:
        load_weights(module, weights)
    if dtype is not None:
        module = module.to(getattr(torch, dtype))
    tensors = (*module.parameters(), *module.buffers())
    found = next((t.dtype for t in tensors if t.is_floating_point()), None)
    usual = found or getattr(torch, dtype or "float32")
    return JobModel(spec, module, loaded.shapes[0], usual, random)


_UNTRAINED = ("torchvision:", "timm:", "layers:")
