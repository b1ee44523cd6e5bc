"""Exported programs (.pt2) as modules, without unpickling and without running code of the file.

``torch.export.load`` unpickles the sample inputs, old weight files and tensor subclasses, loads
native libraries that lie in the archive, and evaluates guards and symbolic sizes.  So the file is
not handed to it: an archive in memory is, with the graph, the plain tensors and nothing else.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn
from torch.export.unflatten import unflatten

from fieldwise.errors import UsageError

Shape = tuple[int, ...]
_GRAPH = "models/model.json"
_TENSOR_CONFIGS = {
    "data/weights/model_weights_config.json": "data/weights/weight_",
    "data/constants/model_constants_config.json": "data/constants/tensor_",
}
_SAFE_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|prim|torchvision|higher_order)(\.\w+)+|torch\.sym_\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|math\.\w+"
)
_SAFE_EXPRESSION = re.compile(
    r"(?:[A-Z][A-Za-z]*(?=\()|'\w+'|\w+=(?:True|False)|[su]\d+|\d+|[-+*/(), ])*"
)
_TREE_NODES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def load_exported(path: Path) -> tuple[nn.Module, tuple[Shape, ...]]:
    """The module of an exported program, its submodules restored, and its input shapes.

    Raises UsageError for a file that is no such program, or that would have to be unpickled.
    """
    members = _read(path)
    program = json.loads(members[_GRAPH])
    _vet_tensors(path, members)
    _vet_program(path, program)
    program["guards_code"] = []
    members[_GRAPH] = json.dumps(program).encode()
    members["data/sample_inputs/model.pt"] = b""
    logging.getLogger("torch.export").setLevel(logging.ERROR)
    try:
        exported = torch.export.load(_archive(members))
        module = unflatten(exported)
    except Exception as error:
        raise UsageError(
            f"{str(path)!r} could not be loaded ({type(error).__name__}: {_first_line(error)}); "
            f"export it again with torch {torch.__version__}."
        ) from error
    return module.eval(), _input_shapes(program)


def _read(path: Path) -> dict[str, bytes]:
    """What is needed of the archive, by name without the leading folder."""
    try:
        with ZipFile(path) as archive:
            members = {
                str(PurePosixPath(*PurePosixPath(name).parts[1:])): archive.read(name)
                for name in archive.namelist()
            }
    except (BadZipFile, OSError) as error:
        raise UsageError(
            f"{str(path)!r} is not an exported program ({error}); "
            "write one with torch.export.save(torch.export.export(model, inputs), path)."
        ) from error
    missing = [name for name in (_GRAPH, *_TENSOR_CONFIGS) if name not in members]
    if missing:
        raise UsageError(
            f"{str(path)!r} is not an exported program of this format ({missing[0]} is missing); "
            "write one with torch.export.save(torch.export.export(model, inputs), path)."
        )
    kept = (_GRAPH, "archive_format", "archive_version", "byteorder", ".data/version")
    tensors = tuple(_TENSOR_CONFIGS.values())
    return {
        name: data
        for name, data in members.items()
        if name in kept or name in _TENSOR_CONFIGS or name.startswith(tensors)
    }


def _vet_tensors(path: Path, members: dict[str, bytes]) -> None:
    for config, prefix in _TENSOR_CONFIGS.items():
        folder = config.rsplit("/", 1)[0]
        for name, payload in json.loads(members[config])["config"].items():
            plain = f"{folder}/{payload['path_name']}".startswith(prefix)
            if payload["use_pickle"] or not plain:
                raise UsageError(
                    f"{str(path)!r} stores {name!r} as a pickle, which fieldwise never loads; "
                    "export the model with plain tensors, or name a package.module:factory."
                )


def _vet_program(path: Path, program: dict[str, Any]) -> None:
    """Refuse what would be evaluated, imported or looked up outside torch's own operators."""
    for key, text in _strings(program):
        if key == "target":
            safe = _SAFE_TARGET.fullmatch(text) is not None
        elif key == "expr_str":
            safe = _SAFE_EXPRESSION.fullmatch(text) is not None
        elif key in ("in_spec", "out_spec"):
            safe = text == "" or _plain_tree(json.loads(text)[1])
        elif key == "forward_arg_names":
            safe = text.isidentifier()
        else:
            continue
        if not safe:
            raise UsageError(
                f"{str(path)!r} holds {text[:60]!r} where fieldwise expects a plain operator, "
                "size or container; name a package.module:factory instead."
            )


def _strings(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string of a JSON document with the key it stands under."""
    if isinstance(tree, str):
        yield key, tree
    elif isinstance(tree, dict):
        for name, branch in tree.items():
            yield from _strings(branch, name)
    elif isinstance(tree, list):
        for branch in tree:
            yield from _strings(branch, key)


def _plain_tree(node: dict[str, Any]) -> bool:
    return (
        node["type"] in _TREE_NODES
        and "__enum__" not in (node["context"] or "")
        and all(map(_plain_tree, node["children_spec"]))
    )


def _archive(members: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"model/{name}", data)
    buffer.seek(0)
    return buffer


def _input_shapes(program: dict[str, Any]) -> tuple[Shape, ...]:
    """The shapes it was exported with, from the graph; a symbolic size by its example value."""
    values = program["graph_module"]["graph"]["tensor_values"]
    specs = program["graph_module"]["signature"]["input_specs"]
    names = [
        spec["user_input"]["arg"]["as_tensor"]["name"]
        for spec in specs
        if "as_tensor" in spec.get("user_input", {}).get("arg", {})
    ]
    return tuple(tuple(map(_size, values[name]["sizes"])) for name in names)


def _size(size: dict[str, Any]) -> int:
    return int(size["as_int"] if "as_int" in size else size["as_expr"]["hint"]["as_int"])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "no message"
