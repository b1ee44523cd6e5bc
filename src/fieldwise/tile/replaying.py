"""Steps on tensors of constant shapes, recorded once on a card and replayed.

A card of NVIDIA records what a step launches as a CUDA graph; to replay it takes neither Python nor
one launch per kernel.  Inputs and outputs are then *static*: the step reads them, and writes them,
where they were when it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.autocast import autocast_dtype
from fieldwise.capture.torch.tree import map_tensors, named_state

Replayable = Callable[[Sequence[Tensor]], object]
"""What is computed of tensors: tensors, nested in whatever way."""

StepRecorder = Callable[[Callable[[], object]], tuple[Callable[[], None], object]]
"""Records what it calls: how that is replayed, and what it returned, into which replays write."""


@dataclass(frozen=True, slots=True)
class _Recording:
    inputs: tuple[Tensor, ...]
    replay: Callable[[], None]
    outputs: object


class Replayer:
    """Calls a step; from the third time on with the same key and shapes, replays it.

    record: how steps are recorded; None: never.  By default as a CUDA graph, where inputs are on a
            card of NVIDIA
    own:    whether what it returns is the caller's; else the next call overwrites it

    Where a step cannot be recorded, because it waits for the card or takes more memory than there
    is, it is called each time.

    >>> doubled = Replayer()
    >>> [doubled(lambda x: x[0] * 2, [torch.tensor([n])]).item() for n in (1, 2, 3)]
    [2, 4, 6]
    """

    def __init__(
        self, record: StepRecorder | Literal["cuda"] | None = "cuda", *, own: bool = False
    ):
        self._record, self._own = record, own
        self._seen = set[Hashable]()
        self._made = dict[Hashable, _Recording | None]()
        self._pool: Any = None

    def __reduce__(self) -> tuple[object, ...]:
        """What is recorded on a card stays there."""
        return partial(Replayer, own=self._own), (self._record,)

    def __call__(
        self,
        step: Replayable,
        inputs: Sequence[Tensor],
        *,
        key: Callable[[], Hashable | None] = lambda: (),
    ) -> object:
        """What the step makes of the inputs.

        key: gives the same for calls of the same step in the same state, and None where it is not
             to be recorded; asked where it could be
        """
        record = self._recorder(inputs)
        state = None if record is None else key()
        if record is None or state is None:
            return step(inputs)
        found = state, tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs)
        if found not in self._seen:
            self._seen.add(found)  # what is chosen and allocated once is not to be recorded
            return step(inputs)
        if found not in self._made:
            self._made[found] = _recorded(step, inputs, record)
        made = self._made[found]
        if made is None:
            return step(inputs)
        for static, x in zip(made.inputs, inputs, strict=True):
            static.copy_(x)
        made.replay()
        return map_tensors(Tensor.clone, made.outputs) if self._own else made.outputs

    def _recorder(self, inputs: Sequence[Tensor]) -> StepRecorder | None:
        if self._record != "cuda":
            return self._record
        on_card = bool(inputs) and all(x.device.type == "cuda" for x in inputs)
        return self._on_card if on_card else None

    def _on_card(self, step: Callable[[], object]) -> tuple[Callable[[], None], object]:
        """A CUDA graph; all of them share memory, since none runs beside another.

        Autocast would reuse casts of weights that it made before, and drops when it ends.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph, casts_kept = torch.cuda.CUDAGraph(), torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                outputs = step()
        finally:
            torch.set_autocast_cache_enabled(casts_kept)
        return graph.replay, outputs


def _recorded(
    step: Replayable, inputs: Sequence[Tensor], record: StepRecorder
) -> _Recording | None:
    static = tuple(x.clone() for x in inputs)
    try:
        return _Recording(static, *record(lambda: step(static)))
    except RuntimeError:
        return None


def state_key(model: nn.Module) -> Hashable | None:
    """What a recording of a model holds for: where its tensors lie, and what autocast casts to.

    None for a model with hooks, which a replay would not call.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return None
    tensors = [tensor for _, tensor in named_state(model)]
    kinds = {tensor.device for tensor in tensors}
    casts = tuple(autocast_dtype(device) for device in sorted(kinds, key=str))
    return tuple(tensor.data_ptr() for tensor in tensors), casts
