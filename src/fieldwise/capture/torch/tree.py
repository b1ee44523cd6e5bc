"""Where tensors are: in nested inputs and outputs, and in a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn


def named_tensors(tree: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a nested output with the keys that lead to them, joined by dots.

    >>> import torch
    >>> [name for name, _ in named_tensors({"out": (torch.ones(1), None, torch.ones(2))})]
    ['out.0', 'out.2']
    """
    if isinstance(tree, Tensor):
        yield prefix or "output", tree
        return
    for key, item in _items(tree):
        yield from named_tensors(item, f"{prefix}.{key}" if prefix else str(key))


def _items(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, Mapping):
        yield from tree.items()
    elif hasattr(tree, "_fields"):
        yield from zip(tree._fields, tree, strict=True)
    elif isinstance(tree, (list, tuple)):
        yield from enumerate(tree)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        yield from ((f.name, getattr(tree, f.name)) for f in dataclasses.fields(tree))


def map_tensors(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """The same nesting with every tensor changed; other leaves are kept.

    >>> import torch
    >>> map_tensors(lambda t: t.shape[0], [torch.ones(3), {"scale": 2, "x": (torch.ones(4),)}])
    [3, {'scale': 2, 'x': (4,)}]
    """
    if isinstance(tree, Tensor):
        return change(tree)
    if not isinstance(tree, (Mapping, list, tuple)) and not dataclasses.is_dataclass(tree):
        return tree
    if isinstance(tree, type):
        return tree
    changed = {key: map_tensors(change, item) for key, item in _items(tree)}
    if isinstance(tree, Mapping):
        return _like_mapping(tree, changed)
    if hasattr(tree, "_fields"):
        return type(tree)(*changed.values())
    if isinstance(tree, (list, tuple)):
        return type(tree)(changed.values())
    return dataclasses.replace(tree, **changed)


def _like_mapping(tree: Mapping[Any, Any], changed: dict[Any, Any]) -> Any:
    return changed if type(tree) is dict else type(tree)(changed)  # type: ignore[call-arg]


def named_state(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The parameters and buffers by name, under every name that they have."""
    return [
        (f"{path}.{name}" if path else name, tensor)
        for path, module in model.named_modules()
        for table in (module._parameters, module._buffers)
        for name, tensor in table.items()
        if tensor is not None
    ]
