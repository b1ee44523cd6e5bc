"""A small exported program, and copies of it with something changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import nn

GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
SHAPE = (1, 3, 9, 8)


class Net(nn.Module):
    """Convolution, normalisation, a constant and a linear layer, in modules."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return {"out": [self.head(self.features(x) * torch.ones(4, 1, 1))]}


def write_program(path: Path) -> Path:
    """Export the net, one of its sizes dynamic."""
    torch.manual_seed(0)
    height = torch.export.Dim("height", min=4, max=512)
    dynamic = ({2: height},)
    example = (torch.zeros(SHAPE),)
    exported = torch.export.export(Net().eval(), example, dynamic_shapes=dynamic, strict=False)
    torch.export.save(exported, path)
    return path


def members(path: Path) -> dict[str, bytes]:
    """The members of an archive by their full names."""
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(
    source: Path, target: Path, changes: dict[str, Callable[[bytes], bytes]], **more: bytes
) -> Path:
    """A copy; ``changes`` are made to members called without the leading folder."""
    with ZipFile(target, "w") as archive:
        for name, data in members(source).items():
            change = changes.get(name.partition("/")[2], lambda data: data)
            archive.writestr(name, change(data))
        for name, data in more.items():
            archive.writestr(name, data)
    return target


def edited(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    """A change of a JSON document as a change of its bytes."""

    def apply(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return apply


def node(op: str, result: str, **inputs: Any) -> dict[str, Any]:
    """A node as torch writes it: ``node('ones', 'a', size={'as_ints': [3]})``."""
    given = [{"name": name, "arg": value, "kind": 1} for name, value in inputs.items()]
    return {
        "target": f"torch.ops.aten.{op}" if "." in op else f"torch.ops.aten.{op}.default",
        "inputs": given,
        "outputs": [{"as_tensor": {"name": result}}],
        "metadata": {},
    }


def before(*nodes: dict[str, Any]) -> Callable[[bytes], bytes]:
    """The graph with these nodes in front."""

    def change(document: Any) -> None:
        document["graph_module"]["graph"]["nodes"][:0] = nodes

    return edited(change)


def tensor(name: str) -> dict[str, Any]:
    """A tensor as an argument."""
    return {"as_tensor": {"name": name}}


def leaves(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON document that holds no container: the container and the key."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(items):
        if isinstance(value, dict | list):
            yield from leaves(value)
        else:
            yield document, key
