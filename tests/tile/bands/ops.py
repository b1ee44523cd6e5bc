"""The ops of torch that a stretch of code runs, with what they are given and make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True, slots=True)
class Ran:
    """One op: its name without overload, and the tensors before and after."""

    name: str
    given: tuple[Tensor, ...]
    made: tuple[Tensor, ...]


class Ops(TorchDispatchMode):
    """Notes every op that is run in it."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[Ran] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        found = func(*args, **(kwargs or {}))
        given, made = (
            tuple(leaf for leaf in tree_leaves(one) if isinstance(leaf, Tensor))
            for one in ((args, kwargs), found)
        )
        self.ran.append(Ran(str(func).split(".")[1], given, made))
        return found

    def named(self, *names: str) -> Iterator[Ran]:
        """Those of these names."""
        return (one for one in self.ran if one.name in names)
