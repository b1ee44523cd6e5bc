"""ONNX files as torch modules, which the recorder records like any other.

file        a file as plain data: parsed, its functions inlined, its names checked
protos      what is asked of the messages of a file
functions   functions of the file, and operators whose own definition is enough for them
graph       that data
tensors     its tensors, those beside the file mapped
registry    the table of translations, and of refusals
translate/  a translation per operator: a few torch calls
node_call   a node while it runs
run         what the nodes of one run share
values      what is known while a model is recorded
missing     what cannot be told without data
told        what recorded runs have returned, for runs that stand beside them
given       shapes and values that a user gives beside a file
module      the graph as a torch module
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from fieldwise.capture.onnx.file import read_file, read_model
from fieldwise.capture.onnx.given import input_shapes as input_shapes
from fieldwise.capture.onnx.given import with_values
from fieldwise.capture.onnx.module import OnnxModule as OnnxModule
from fieldwise.capture.onnx.refusal import UnreadableOnnxError
from fieldwise.capture.torch.exported.allowance import MAX_CONSTANT as MAX_CONSTANT
from fieldwise.errors import UsageError


def load_onnx(
    path: Path,
    values: Mapping[str, object] | None = None,
    *,
    model: ModelProto | None = None,
    max_constant: int = MAX_CONSTANT,
) -> OnnxModule:
    """The module of an ONNX file, or of a model in memory that would stand at this path.

    values:       of some of its inputs, which are constants then
    max_constant: bytes that what it computes of constants may take while it is recorded

    Raises UsageError for a file that is none, for an operator that is not supported, and for a
    value of an input that it has not.
    """
    try:
        file = read_file(path) if model is None else read_model(model, path)
        if values:
            file = replace(file, graph=with_values(file.graph, values, str(path)))
        return OnnxModule(file, max_constant).eval()
    except UnreadableOnnxError as error:
        raise UsageError(f"{str(path)!r} {error}") from error
    except (MemoryError, RecursionError) as error:
        raise UsageError(f"{str(path)!r} is too large for this machine.") from error
