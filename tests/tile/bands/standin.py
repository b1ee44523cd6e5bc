"""What stands in for a card's recordings: ops run again on the very same memory.

Nothing of Python is run again, as with a CUDA graph: whoever depends on fresh memory, on a number
of the step or on what lies elsewhere each time gives wrong results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Calls(TorchDispatchMode):
    """Notes each call with its tensors, which are kept alive, and what it made."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.ran.append((func, args, kwargs or {}, found))
        return found


class StandIn:
    """Records the ops of a step (see recording.StepRecorder)."""

    def __init__(self) -> None:
        self._calls = _Calls()

    def record(self, step: Callable[[], Any]) -> Any:
        with self._calls:
            return step()

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, made in self._calls.ran:
                if func._schema.is_mutable:
                    func(*args, **kwargs)
                elif not _is_view(args, kwargs, made):
                    again = func(*args, **kwargs)
                    for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                        old.copy_(new)


class _Undone(TorchDispatchMode):
    """Puts memory back as it was, as if nothing had been run: a card only records."""

    def __init__(self) -> None:
        super().__init__()
        self._before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        if func._schema.is_mutable:
            written = (kwargs or {}).get("out", args[0])
            self._before.append((written, written.clone()))
        return func(*args, **(kwargs or {}))

    def undo(self) -> None:
        with torch.no_grad():
            for written, before in reversed(self._before):
                written.copy_(before)


class Broken(StandIn):
    """A recorder that cannot record."""

    def record(self, step: Callable[[], Any]) -> Any:
        with _Undone() as undone:
            step()
        undone.undo()
        raise RuntimeError("operation not permitted when stream is capturing")


def _is_view(args: Any, kwargs: Any, made: Any) -> bool:
    memory = [
        {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(one) if isinstance(leaf, Tensor)}
        for one in ((args, kwargs), made)
    ]
    return bool(memory[1] - {0}) and (memory[1] - {0}) <= memory[0]
