"""An exported program as an ONNX file, and that file as a module that can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_unflatten

from fieldwise.capture.onnx import load_onnx
from fieldwise.capture.torch.tree import named_tensors, tensors_in
from fieldwise.errors import UnsuitableError, UsageError, summary_of


def onnx_writer(path: Path) -> Callable[[ExportedProgram], nn.Module]:
    """Writes a program as ONNX, and reads that: in ONNX Runtime, or here where that is missing."""

    def reread(program: ExportedProgram) -> nn.Module:
        try:
            names = _output_names(program)
            made = torch.onnx.export(program, dynamo=True, verbose=False, output_names=names)
        except ImportError as error:
            raise UsageError(
                f"Writing ONNX needs {error.name}; install it with pip install 'fieldwise[onnx]'."
            ) from error
        except Exception as error:
            raise UnsuitableError(
                f"torch cannot write the model as ONNX ({summary_of(error)}); write X.pt2."
            ) from error
        assert made is not None
        if hasattr(made, "rename_axes"):  # torch has it since 2.10
            made.rename_axes(_open_axes(made.model.graph.inputs))
        made.save(str(path))
        try:
            return RuntimeModule(path)
        except ImportError:
            return load_onnx(path)

    return reread


def _output_names(program: ExportedProgram) -> list[str] | None:
    """The keys under which a model returns its outputs; None where it has none for one of them."""
    spec = program.call_spec.out_spec
    assert spec is not None
    leaves = [torch.empty(0) for _ in range(spec.num_leaves)]
    names = [name for name, _ in named_tensors(tree_unflatten(leaves, spec))]
    signature = program.graph_signature
    given = {*signature.user_inputs, *program.state_dict}
    is_named = all(re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name) for name in names)
    are_values = all(isinstance(made, str) for made in signature.user_outputs)
    return names if is_named and are_values and given.isdisjoint(names) else None


def _open_axes(inputs: Sequence[Any]) -> dict[str | Any, str]:
    """Names for the sizes that a file leaves open, which torch numbers (s77), by those.

    inputs: those of the graph; the first one that has an open size says what it is called
    """
    names: dict[str | Any, str] = {}
    for value in inputs:
        rank = len(value.shape)
        spatial = _SPATIAL.get(rank, ())
        called = {0: "batch", **dict(zip(range(2, rank), spatial, strict=False))}
        for axis, size in enumerate(value.shape):
            spelled = getattr(size, "value", None)
            if not isinstance(spelled, str) or not spelled.isidentifier() or spelled in names:
                continue
            name = called.get(axis, f"axis{axis}")
            known = name in names.values() or axis not in called
            names[spelled] = f"{value.name}_{name}" if known else name
    return names


_SPATIAL = {3: ("length",), 4: ("height", "width"), 5: ("depth", "height", "width")}
"""By rank, the axes behind batch and channels."""


class RuntimeModule(nn.Module):
    """An ONNX file as a module that runs it in ONNX Runtime.

    Raises ImportError where that is not installed.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._names = [one.name for one in self._session.get_inputs()]

    def forward(self, *args: object, **kwargs: object) -> tuple[Tensor, ...]:
        """The outputs, one after the other."""
        given = [tensor.detach().cpu().numpy() for tensor in tensors_in((args, kwargs))]
        found = self._session.run(None, dict(zip(self._names, given, strict=True)))
        return tuple(map(torch.from_numpy, found))
