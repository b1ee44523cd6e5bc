"""What a step runs, op by op: which ops of torch, with which arguments, on which memory."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

from fieldwise.capture.torch.modes import DispatchMode
from fieldwise.capture.torch.overloads import describe
from fieldwise.graph.ir import Args, Kwargs

MemoryPlace = tuple[object, ...]
"""Where a tensor lies: in memory that an op of the step has made, or in memory from before it."""


class StepTrace(DispatchMode):
    """Notes what is run in it.

    alone: why it cannot be run again as it is: it asks for values, draws numbers, or takes some
           from Python; None: it can be
    works: whether some op writes numbers; where none does, results are inputs or views of them,
           and a recording would be empty
    """

    def __init__(self) -> None:
        super().__init__()
        self.alone: str | None = None
        self.works = False
        self._ran: list[tuple[object, ...]] = []
        self._made: dict[int, int] = {}

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """Note an op, and run it."""
        found = func(*args, **kwargs)
        given, results = tree_leaves((args, kwargs)), tree_leaves(found)
        before = tuple(self._shown(leaf) for leaf in given)
        old = {_memory(leaf) for leaf in given if isinstance(leaf, Tensor)}
        for leaf in results:
            if isinstance(leaf, Tensor) and _memory(leaf) not in old:
                self._made[_memory(leaf)] = len(self._ran)
        self.works |= _writes_numbers(func, args, kwargs, results, old)
        self._ran.append((func, before, tuple(self._shown(leaf) for leaf in results)))
        if is_alone(func) or any(
            not isinstance(leaf, Tensor) and leaf is not None for leaf in results
        ):
            self.alone = self.alone or str(func)
        return found

    def is_recordable(self, before: StepTrace) -> bool:
        """Whether there is something to record, and both run the same on the same memory."""
        return self.works and self._ran == before._ran and self.alone is None is before.alone

    def _shown(self, leaf: object) -> object:
        if not isinstance(leaf, Tensor):
            return type(leaf), leaf
        memory = _memory(leaf)
        place = self._made.get(memory)
        where: MemoryPlace = ("given", memory) if place is None else ("made", place)
        return (*where, leaf.storage_offset(), leaf.shape, leaf.stride(), leaf.dtype, leaf.device)


def is_alone(func: OpOverload) -> bool:
    """Whether an op gives a number to Python, takes some from it, or draws."""
    return bool(_TAGS & set(func.tags)) or func.overloadpacket in _FROM_PYTHON


def _writes_numbers(
    func: OpOverload, args: Args, kwargs: Kwargs, results: Sequence[object], old: AbstractSet[int]
) -> bool:
    """Whether an op does: it writes to operands, or makes something that is no view of ``old``."""
    op = describe(func)
    if op.inplace_view or op.unset:
        return False
    made = [leaf for leaf in results if isinstance(leaf, Tensor) and _memory(leaf) not in old]
    return any(tensor.numel() for tensor in (*made, *op.written(args, kwargs)))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


_TAGS = {
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
    torch.Tag.nondeterministic_seeded,
}
_FROM_PYTHON = (torch.ops.aten.lift_fresh, torch.ops.aten.lift)
