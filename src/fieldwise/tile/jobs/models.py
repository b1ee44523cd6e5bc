"""The model of a job: named, built, given weights, and cast; the same in every process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fieldwise.capture import Model, load_model
from fieldwise.capture.specs import absolute_spec
from fieldwise.capture.torch.devices import find_device, under_autocast
from fieldwise.capture.torch.example import meta_tensor
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.private import seeded
from fieldwise.errors import UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.ending import Ending, ended


@dataclass(frozen=True)
class JobModel:
    """A model with one input; pickled as what it was made from (see ``job_model``).

    call:      with an input of its usual shape, of the type to which inputs are cast, without data
    loaded:    the model that the spec names, with the weights that it was given
    autocast:  what torch.autocast casts to, where it runs under that
    made_from: the arguments of ``job_model``
    ending:    what is done to its output; plain: the module without that
    """

    call: ModelCall
    loaded: Model
    autocast: str | None = None
    made_from: Mapping[str, Any] = field(default_factory=dict)
    ending: Ending = field(default_factory=Ending)
    plain: nn.Module | None = None

    @property
    def shape(self) -> Shape:
        """Of its usual input."""
        return self.call.shapes[0]

    @property
    def dtype(self) -> torch.dtype:
        """What its input is cast to."""
        return self.call.inputs[0].dtype

    def before_steps(self) -> JobModel:
        """The same without classes, thresholds and rounding; itself where there are none."""
        if self.plain is None or self.ending.before_steps == self.ending:
            return self
        ending = self.ending.before_steps
        call = ModelCall(ended(self.plain, ending), self.call.example)
        return replace(self, call=call, ending=ending)

    @property
    def weights(self) -> Path | None:
        """The file of weights that it was given; None for one that has its own."""
        return None if self.loaded.weights is None else self.loaded.weights.path

    def running(self) -> AbstractContextManager[object]:
        """In which it is planned and run: autocast, where it runs under that."""
        if self.autocast is None:
            return nullcontext()
        return under_autocast(self.call.device, self.autocast)

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.made_from,)


def job_model(
    spec: str,
    shape: str | None = None,
    *,
    weights: Path | None = None,
    dtype: str | None = None,
    autocast: str | None = None,
    device: str | None = None,
    max_constant: int | None = None,
    values: Mapping[str, object] | None = None,
    ending: Ending | None = None,
) -> JobModel:
    """The model that a spec names (see capture.specs), the same one in every process.

    dtype:        what it computes in; by default the type of its weights
    autocast:     what torch.autocast casts to, where it runs under that
    device:       where it runs; by default the processor
    max_constant: bytes of the constants of an exported program, as in load_model
    values:       of inputs of an ONNX file, as in load_model
    ending:       what is done to its output

    Raises UsageError for what load_model and load_weights refuse, for several inputs, and for a
    device that is not here.
    """
    with seeded():
        loaded = load_model(spec, shape, max_constant=max_constant, values=values).runnable()
    loaded = loaded.given(weights)
    module = loaded.module
    if len(loaded.shapes) != 1:
        raise UsageError(f"{spec!r} takes {len(loaded.shapes)} inputs, and a job reads one.")
    if dtype is not None:
        module = module.to(getattr(torch, dtype))
    if device is not None:
        module = module.to(find_device(device))
    usual = dtype_of_weights(module) or getattr(torch, dtype or "float32")
    ending = ending or Ending()
    behind = ended(module, ending) if ending else module
    call = ModelCall(behind, meta_tensor(loaded.shapes[0], usual))
    where = None if weights is None else weights.resolve()
    made_from = {
        "spec": absolute_spec(spec),
        "shape": shape,
        "weights": where,
        "dtype": dtype,
        "autocast": autocast,
        "device": device,
        "max_constant": max_constant,
        "values": values,
        "ending": ending,
    }
    return JobModel(call, loaded, autocast, made_from, ending, module)


def dtype_of_weights(module: nn.Module) -> torch.dtype | None:
    """What a module computes in: the type of its first weight; None for one without."""
    tensors = (*module.parameters(), *module.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), None)


def _again(made_from: Mapping[str, Any]) -> JobModel:
    return job_model(**made_from)
