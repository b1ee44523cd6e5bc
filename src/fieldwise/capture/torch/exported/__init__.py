"""Exported programs (.pt2) as modules: data that is checked, never code that is run.

``torch.export.load`` unpickles the sample inputs, old weight files and tensor subclasses, loads
native libraries that lie in the archive, and evaluates guards and symbolic sizes.  So the file is
never handed to it: it is read here, field by field, and what it names is looked up among the
operators that ``operators`` allows.

    archive     the members that are needed, bounded before they are read
    fields      a JSON document whose fields are checked where they are read
    sizes       symbolic sizes, by a parser that can do nothing else
    trees       how inputs and outputs are nested
    tensors     weights and constants, within their bytes
    operators   what may be called
    program     the JSON as steps
    blocks      the steps grouped by modules
    allowance   what constants may take, counted before they are made
    module      the steps as a torch module
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch.export
from torch import nn
from torch.export import ExportedProgram

from fieldwise.axes.region import Shape
from fieldwise.capture.torch.exported.allowance import MAX_CONSTANT as MAX_CONSTANT
from fieldwise.capture.torch.exported.archive import Archive
from fieldwise.capture.torch.exported.fields import Field
from fieldwise.capture.torch.exported.module import ExportedModule as ExportedModule
from fieldwise.capture.torch.exported.module import build
from fieldwise.capture.torch.exported.program import read_program
from fieldwise.capture.torch.exported.refusal import UnreadableError
from fieldwise.capture.torch.exported.tensors import CONFIGS, read_tensors
from fieldwise.errors import UsageError, said_by

_GRAPH = "models/model.json"
_LONGEST = 64 << 20  # bytes of the graph


def load_exported(
    path: Path, *, max_constant: int = MAX_CONSTANT
) -> tuple[nn.Module, tuple[Shape, ...]]:
    """The module of an exported program, its submodules restored, and its input shapes.

    max_constant: bytes that its constants may take, those in the file and those that it makes

    Raises UsageError for a file that is no such program, that would have to be unpickled, that
    names an operator which is not allowed, or that asks for more than is allowed.
    """
    try:
        return _load(path, str(path), max_constant)
    except UnreadableError as error:
        raise UsageError(f"{str(path)!r} {error}") from error
    except (MemoryError, RecursionError) as error:
        raise UsageError(f"{str(path)!r} is too large for this machine.") from error


def read_exported(program: ExportedProgram) -> tuple[nn.Module, tuple[Shape, ...]]:
    """As ``load_exported``, of a program in memory.

    It is written to memory and read from there, so that it is what its file would be.

    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU())
    >>> module, shapes = read_exported(torch.export.export(net, (torch.zeros(1, 1, 8),)))
    >>> [type(one).__name__ for one in module.children()], shapes
    (['Part', 'Part'], ((1, 1, 8),))
    """
    file = BytesIO()
    try:
        torch.export.save(program, file)
    except Exception as error:
        raise UsageError(
            f"This {_IN_MEMORY} cannot be written ({said_by(error)}); give what its module() "
            "returns."
        ) from error
    try:
        return _load(file, _IN_MEMORY, MAX_CONSTANT)
    except UnreadableError as error:
        raise UsageError(
            f"This {_IN_MEMORY} {error} It may also be analysed as what its module() returns."
        ) from error


_IN_MEMORY = "ExportedProgram"


def _load(file: Path | BinaryIO, name: str, limit: int) -> tuple[nn.Module, tuple[Shape, ...]]:
    with Archive(file, limit) as archive:
        for member in (_GRAPH, *CONFIGS):
            archive.check(member)
        program = read_program(Field.parse(archive.read(_GRAPH, _LONGEST), _GRAPH))
        archive.check_byteorder()
        weights, constants = read_tensors(archive)
    module = build(name, program, weights, constants, limit)
    module.eval()
    module._rehearse()
    return module, tuple(one.usual for one in program.inputs if one.sizes is not None)
