"""ONNX files in Python: ``fieldwise.onnx.load`` makes a torch module of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldwise.capture.onnx import OnnxModule

__all__ = ["load"]


def load(path: str | Path, values: Mapping[str, object] | None = None) -> OnnxModule:
    """The module of an ONNX file, in eval mode: for every function that takes a torch module.

    path:   of the file; its tensors may lie beside it
    values: of some of its inputs, by name, which are constants then

    Parameters, buffers and children are called as the initialisers and nodes of the file, and so
    are the values in reports.  The module takes the inputs of the file in order, or by name.

    Raises UsageError for a file that is no ONNX model, for an operator that is not supported (with
    the node that needs it), and where ``onnx`` is not installed.

    >>> import tempfile, fieldwise, fieldwise.onnx, onnx.parser
    >>> text = '''<ir_version: 8, opset_import: ["" : 17]>
    ... net (float[1, 1, 32] x) => (float[1, 1, 30] y) <float[1, 1, 3] w = {1, 2, 3}>
    ... { y = Conv (x, w) }'''
    >>> path = f"{tempfile.mkdtemp()}/net.onnx"
    >>> onnx.save(onnx.parser.parse_model(text), path)
    >>> net = fieldwise.onnx.load(path)
    >>> fieldwise.receptive_fields(net, (1, 1, 32)).rows[-1].extent
    (3,)
    """
    from fieldwise.capture.specs import load_onnx_file

    return load_onnx_file(str(path), values or {})
