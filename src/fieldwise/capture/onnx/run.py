"""One run of a graph: its precision, and how much memory what it computes of constants may take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._ops import OpOverload

from fieldwise.capture.onnx.values import is_known
from fieldwise.capture.torch.exported.allowance import Allowance
from fieldwise.capture.torch.modes import DispatchMode
from fieldwise.errors import UsageError
from fieldwise.graph.ir import Args, Kwargs

_SMALL = 1 << 20  # elements; what cannot be more is not counted

_MOST_NODES = 200_000


@dataclass(frozen=True, slots=True)
class OnnxRun:
    """What the nodes of one run share.

    working: the precision in which the model works: what the file calls FLOAT
    limit:   counts what is computed of constants while a run is recorded; None otherwise
    """

    working: torch.dtype = torch.float32
    limit: ConstantsLimit | None = None

    def counting(self, inputs: Iterable[object]) -> AbstractContextManager[object]:
        """Inside, a node whose inputs are known may not make more than is left of the limit."""
        if self.limit is None or not all(map(is_known, inputs)):
            return nullcontext()
        return self.limit


class ConstantsLimit(DispatchMode):
    """Counts what is made of constants before it is made.

    Raises UsageError where that is more than the limit: a few bytes can ask for terabytes.
    """

    def __init__(self, name: str, limit: int) -> None:
        super().__init__()
        self._allowance = Allowance(name, limit)
        self._name, self._nodes = name, 0

    def count_node(self) -> None:
        """Count a node that is run, those within loops each time.

        Raises UsageError for more than anyone waits for.
        """
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise UsageError(
                f"{self._name!r} runs more than {_MOST_NODES:,} nodes, loops unrolled; give it a "
                "smaller input, or cut it with onnx.utils.extract_model."
            )

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """Count what the call would write, and make it."""
        if math.prod(_sizes((*args, *kwargs.values()))) > _SMALL:
            self._allowance.charge(func, args, kwargs)
        return func(*args, **kwargs)


def _sizes(arguments: object) -> Iterator[int]:
    """Numbers whose product is no less than the elements of what an op makes of its arguments."""
    if isinstance(arguments, Tensor):
        yield max(arguments.numel(), 1)
    elif isinstance(arguments, int):
        yield max(abs(arguments), 1)
    elif isinstance(arguments, float):
        yield max(math.ceil(min(abs(arguments), 1e18)), 1)
    elif isinstance(arguments, list | tuple):
        for one in arguments:
            yield from _sizes(one)
