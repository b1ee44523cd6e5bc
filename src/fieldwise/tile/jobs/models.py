"""The model of a job: named, built, given weights, and cast; the same in every process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fieldwise.capture import load_model
from fieldwise.capture.torch.example import meta_tensor
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.private import seeded
from fieldwise.errors import UsageError
from fieldwise.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.tile.jobs.weights import load_weights


@dataclass(frozen=True)
class JobModel:
    """A model with one input; pickled as what it was made from (see ``job_model``).

    call:   with an input of its usual shape, of the type to which inputs are cast, without data
    random: whether nobody gave it weights
    made_from: the arguments of ``job_model``
    """

    call: ModelCall
    random: bool
    made_from: tuple[
        str, str | None, Path | None, str | None, int | None, Mapping[str, object] | None
    ]

    @property
    def shape(self) -> Shape:
        """Of its usual input."""
        return self.call.shapes[0]

    @property
    def dtype(self) -> torch.dtype:
        """What its input is cast to."""
        return self.call.inputs[0].dtype

    @property
    def weights(self) -> Path | None:
        """The file of weights that it was given."""
        return self.made_from[2]

    def __reduce__(self) -> tuple[object, ...]:
        return _again, self.made_from


def job_model(
    spec: str,
    shape: str | None = None,
    *,
    weights: Path | None = None,
    dtype: str | None = None,
    max_constant: int | None = None,
    values: Mapping[str, object] | None = None,
) -> JobModel:
    """The model that a spec names (see capture.specs), the same one in every process.

    dtype:        what it computes in; by default the type of its weights
    max_constant: bytes of the constants of an exported program, as in load_model
    values:       of inputs of an ONNX file, as in load_model

    Raises UsageError for what load_model and load_weights refuse, and for several inputs.
    """
    with seeded():
        loaded = load_model(spec, shape, max_constant=max_constant, values=values).runnable()
    assert not isinstance(loaded.source, Graph)
    if len(loaded.shapes) != 1:
        raise UsageError(f"{spec!r} takes {len(loaded.shapes)} inputs, and a job reads one.")
    module, random = loaded.source, spec.startswith(_UNTRAINED) and weights is None
    if weights is not None:
        load_weights(module, weights)
    if dtype is not None:
        module = module.to(getattr(torch, dtype))
    usual = dtype_of_weights(module) or getattr(torch, dtype or "float32")
    where = None if weights is None else weights.resolve()
    named = os.path.abspath(spec) if os.path.isfile(spec) else spec
    made_from = (named, shape, where, dtype, max_constant, values)
    example = meta_tensor(loaded.shapes[0], usual)
    return JobModel(ModelCall(module, example), random, made_from)


def dtype_of_weights(module: nn.Module) -> torch.dtype | None:
    """What a module computes in: the type of its first weight; None for one without."""
    tensors = (*module.parameters(), *module.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), None)


def _again(
    spec: str,
    shape: str | None,
    weights: Path | None,
    dtype: str | None,
    most: int | None,
    values: Mapping[str, object] | None,
) -> JobModel:
    return job_model(spec, shape, weights=weights, dtype=dtype, max_constant=most, values=values)


_UNTRAINED = ("torchvision:", "timm:", "layers:")
