"""An exported program as an ONNX file, and that file as a module that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from fieldwise.capture.onnx import load_onnx
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.errors import UnsuitableError, UsageError, summary_of


def onnx_writer(path: Path) -> Callable[[ExportedProgram], nn.Module]:
    """Writes a program as ONNX, and reads that: in ONNX Runtime, or here where that is missing."""

    def reread(program: ExportedProgram) -> nn.Module:
        try:
            made = torch.onnx.export(program, dynamo=True, verbose=False)
        except ImportError as error:
            raise UsageError(
                f"Writing ONNX needs {error.name}; install it with pip install 'fieldwise[onnx]'."
            ) from error
        except Exception as error:
            raise UnsuitableError(
                f"torch cannot write the model as ONNX ({summary_of(error)}); write X.pt2."
            ) from error
        assert made is not None
        made.save(str(path))
        try:
            return RuntimeModule(path)
        except ImportError:
            return load_onnx(path)

    return reread


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
