"""Where tensors are: in nested inputs and outputs, and in a model."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from torch import Tensor, nn

from fieldwise.graph.names import distinct


def named_tensors(tree: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a nested output with the keys that lead to them, joined by dots.

    No name stands for two tensors: where other keys spell the same name, '#2' is put behind it.

    >>> import torch
    >>> [name for name, _ in named_tensors({"out": (torch.ones(1), None, torch.ones(2))})]
    ['out.0', 'out.2']
    >>> [name for name, _ in named_tensors({"a": {"b": torch.ones(1)}, "a.b": torch.ones(2)})]
    ['a.b', 'a.b#2']
    """
    found = list(_spelled(tree, prefix))
    names = distinct(name for name, _ in found)
    yield from zip(names, (tensor for _, tensor in found), strict=True)


def tensors_in(tree: object) -> Iterator[Tensor]:
    """The tensors of a nested output, in the order of ``named_tensors``."""
    if isinstance(tree, Tensor):
        yield tree
        return
    for _, item in items_of(tree):
        yield from tensors_in(item)


def _spelled(tree: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield prefix or "output", tree
        return
    for key, item in items_of(tree):
        yield from _spelled(item, f"{prefix}.{key}" if prefix else str(key))


def find_hidden(tree: object) -> Iterator[tuple[object, Tensor | None]]:
    """What a nested output holds that no nesting known here shows: (holder, tensor).

    A tensor in a set or in an attribute of an object; None for an iterator, which has yet to run.

    >>> import torch
    >>> [type(holder).__name__ for holder, _ in find_hidden([1, "a", {torch.ones(1)}, iter(())])]
    ['set', 'tuple_iterator']
    """
    if isinstance(tree, Tensor) or tree is None:
        return
    if isinstance(tree, Iterator):
        yield tree, None
    elif is_nest(tree):
        for _, item in items_of(tree):
            yield from find_hidden(item)
    else:
        inside = tree if isinstance(tree, (set, frozenset)) else getattr(tree, "__dict__", {})
        held = list(inside) if isinstance(inside, (set, frozenset)) else dict(inside)
        for tensor in tensors_in(held):
            yield tree, tensor


def is_nest(tree: object) -> bool:
    """Whether it is a nesting that is known here."""
    known = isinstance(tree, (Mapping, list, tuple)) or dataclasses.is_dataclass(tree)
    return known and not isinstance(tree, type)


def items_of(tree: Any) -> Iterator[tuple[Any, object]]:
    """What a nesting holds, with its keys; nothing of what is none."""
    if isinstance(tree, Mapping):
        yield from tree.items()
    elif hasattr(tree, "_fields"):
        yield from zip(tree._fields, tree, strict=True)
    elif isinstance(tree, (list, tuple)):
        yield from enumerate(tree)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        yield from ((f.name, getattr(tree, f.name)) for f in dataclasses.fields(tree))


def map_tensors(change: Callable[[Tensor], object], tree: object) -> Any:
    """The same nesting with every tensor changed; other leaves are kept.

    >>> import torch
    >>> map_tensors(lambda t: t.shape[0], [torch.ones(3), {"scale": 2, "x": (torch.ones(4),)}])
    [3, {'scale': 2, 'x': (4,)}]
    """
    return map_leaves(change, tree, Tensor)


def map_leaves(
    change: Callable[[Any], object], tree: object, kinds: type | tuple[type, ...]
) -> object:
    """The same nesting, of the same types, with every leaf of these kinds changed.

    >>> from collections import defaultdict
    >>> map_leaves(str, defaultdict(list, a=[1, 2.5], b=None), int)
    defaultdict(<class 'list'>, {'a': ['1', 2.5], 'b': None})
    """
    if isinstance(tree, kinds):
        return change(tree)
    if not is_nest(tree):
        return tree
    changed = {key: map_leaves(change, item, kinds) for key, item in items_of(tree)}
    if isinstance(tree, Mapping):
        return _like_mapping(tree, changed)
    if hasattr(tree, "_fields"):
        return type(tree)(*changed.values())
    if isinstance(tree, tuple) or type(tree) is list:
        return type(tree)(changed.values())
    if isinstance(tree, list):
        filled = copy.copy(tree)
        filled[:] = changed.values()
        return filled
    twin = copy.copy(tree)
    for name, value in changed.items():
        object.__setattr__(twin, name, value)
    return twin


def _like_mapping(tree: Mapping[object, object], changed: dict[object, object]) -> object:
    """A mapping of the same type (with its default factory, or its attributes).

    An attribute that is one of its items is changed with it.
    """
    if type(tree) is dict or not isinstance(tree, MutableMapping):
        return changed
    twin = copy.copy(tree)
    items = {id(tree[key]): value for key, value in changed.items()}
    attributes = getattr(twin, "__dict__", {})
    attributes.update({k: items[id(v)] for k, v in attributes.items() if id(v) in items})
    for key, value in changed.items():
        twin[key] = value
    return twin


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """As ``nn.Module.named_modules`` has it, each module under its first path, in a flat loop."""
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield path, module
            prefix = f"{path}." if path else ""
            waiting.extend(
                (prefix + name, child)
                for name, child in reversed(module._modules.items())
                if child is not None
            )


def named_state(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The parameters and buffers by name, under every name that they have."""
    return [
        (f"{path}.{name}" if path else name, tensor)
        for path, module in named_modules(model)
        for table in (module._parameters, module._buffers)
        for name, tensor in table.items()
        if tensor is not None
    ]
