"""A folded ONNX model on disk: large tensors, and those that lay beside the file, lie beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from fieldwise.capture.onnx import OnnxModule
from fieldwise.errors import UnsuitableError, UsageError, said_by

_LARGEST = 1 << 30
"""Bytes of tensors that still stand in the file itself; a file may hold twice as many."""


def save_onnx(module: OnnxModule, out: Path) -> tuple[Path, ...]:
    """Write the file of a model, and beside it ``out``.data where its tensors are large; the paths.

    Raises UsageError where that is the file that was read, or one that it needs.
    """
    source = module.file.path
    needed = {one.resolve() for one in _files(source)}
    for path in (out, _beside(out)):
        if path.resolve() in needed:
            raise UsageError(f"{str(source)!r} needs '{path}', which would be lost; name another.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".fieldwise-") as folder:
        made = write_model(
            module.file.proto, source.parent, Path(folder) / out.name, beside=len(needed) > 1
        )
        _check(made[0], source)
        _share(Path(folder))
        for path in reversed(made):
            os.replace(path, out.with_name(path.name))
    return tuple(out.with_name(path.name) for path in made)


def write_model(
    proto: ModelProto, folder: Path, out: Path, *, beside: bool = False
) -> tuple[Path, ...]:
    """Write a model whose tensors may lie in files in ``folder``; the paths.

    beside: whether its tensors are to lie beside it, as those that are too large do anyway
    """
    model = ModelProto()
    model.CopyFrom(proto)
    load_external_data_for_model(model, str(folder))
    if not beside and _size(model) < _LARGEST:
        onnx.save_model(model, str(out))
        return (out,)
    data = _beside(out)
    onnx.save_model(model, str(out), save_as_external_data=True, location=data.name)
    return (out, data) if data.exists() else (out,)


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.data")


def _share(folder: Path) -> None:
    """Let files be read as other new ones are: onnx makes those beside a file private."""
    usual = folder / ".usual"
    usual.touch()
    mode = usual.stat().st_mode
    usual.unlink()
    for made in folder.iterdir():
        made.chmod(mode)


def _files(path: Path) -> Iterator[Path]:
    """The file that was read, if it is still there, and those beside it that hold its tensors."""
    if not path.is_file():
        return
    yield path
    for one in onnx.load(str(path), load_external_data=False).graph.initializer:
        if uses_external_data(one):
            yield from (path.parent / kept.value for kept in one.external_data
                        if kept.key == "location")  # fmt: skip


def _size(model: ModelProto) -> int:
    return sum(map(_bytes, model.graph.initializer))


def _bytes(tensor: TensorProto) -> int:
    return tensor.ByteSize()


def _check(made: Path, source: Path) -> None:
    """Refuse a file that onnx's checker refuses, unless it refused the one that was read too."""
    try:
        onnx.checker.check_model(str(made))
    except Exception as error:
        if not _is_valid(source):
            return
        raise UnsuitableError(
            f"The folded file is not valid and was not written: {said_by(error)}."
        ) from error


def _is_valid(path: Path) -> bool:
    try:
        onnx.checker.check_model(str(path))
    except Exception:  # noqa: BLE001  the checker raises what it likes
        return False
    return True
