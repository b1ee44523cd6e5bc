"""Calls on tensors of a few shapes: recorded once per shape on a card, and made again.

A call is called as it is, then looked at twice on the same memory; where it ran the same ops of
torch with the same arguments, and something is computed or copied, it is recorded (see
``recording``).  Inputs are *static* then: a
recording reads them, and writes its outputs, where they were when it was made.  The first time that
it is made again it is compared with the call itself; one that gives other bits is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from threading import RLock
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.autocast import autocast_dtype
from fieldwise.capture.torch.devices import total_bytes
from fieldwise.capture.torch.tree import map_tensors, named_state, tensors_in
from fieldwise.tile.errors import StreamError
from fieldwise.tile.recording import CudaGraph, StepRecorder, find_recorder
from fieldwise.tile.trace import StepTrace

TensorCall = Callable[[Sequence[Tensor]], object]
"""What is computed of tensors, which it does not write to: tensors, nested in whatever way."""

_LOOKS = 2
"""Calls that are compared before one is recorded."""
_MOST = 16
"""Of so many kinds of calls something is known at a time, at most."""
_SHARE, _LARGE = 1024, 1 << 30
"""Of a card's memory, what inputs may take, and bytes that are too many on any: larger ones keep it
busy, whoever launches its work."""


@dataclass(slots=True)
class _Repeated:
    """What is known of calls with the same key and shapes; static inputs from the second on."""

    static: tuple[Tensor, ...] = ()
    traces: list[StepTrace] = field(default_factory=list)
    recorder: StepRecorder | None = None
    outputs: object = None
    is_compared: bool = False

    def take(self, inputs: Sequence[Tensor]) -> None:
        """Put these inputs where a recording reads them."""
        self.static = self.static or tuple(torch.empty_like(x) for x in inputs)
        for static, x in zip(self.static, inputs, strict=True):
            static.copy_(x)

    def look(
        self, call: TensorCall, inputs: Sequence[Tensor], make: Callable[[], StepRecorder]
    ) -> tuple[object, bool]:
        """What the call makes, traced or recorded; and whether it may be made again so."""
        if len(self.traces) < _LOOKS:
            with StepTrace() as trace:
                found = call(self.static)
            self.traces.append(trace)
            return _cloned(found), True
        if self._record(call, make):
            return _cloned(self.outputs), True
        return call(inputs), False

    def replay(
        self, call: TensorCall, around: Callable[[], AbstractContextManager[object]]
    ) -> tuple[object, bool]:
        """What the recording makes, held against the call once; and whether they are the same."""
        assert self.recorder is not None
        self.recorder.replay()
        made = _cloned(self.outputs)
        if self.is_compared:
            return made, True
        with around():
            found = _cloned(call(self.static))
        self.is_compared = _have_the_same_bits(made, found)
        return found, self.is_compared

    def _record(self, call: TensorCall, make: Callable[[], StepRecorder]) -> bool:
        """Whether two calls ran alike, with something to record, and one more was recorded."""
        first, second = self.traces
        if not second.is_recordable(first):
            return False
        recorder = make()
        try:
            self.outputs = recorder.record(lambda: call(self.static))
        except (RuntimeError, StreamError):
            return False
        self.recorder = recorder
        return True


def _cloned(found: object) -> object:
    """Outputs that are the caller's: a call may return its inputs, or parts of them."""
    return map_tensors(Tensor.clone, found)


class Replayer:
    """Makes calls; from the fourth with the same key and shapes on, by replaying it.

    make:  makes recorders; None: every call is made as it is.  By default for inputs on a card
    share: of a card's memory, one part in so many may be taken by inputs, and a GiB at most
    most:  so many kinds of calls are known at a time; the oldest are forgotten

    What it returns is the caller's.

    >>> replayer = Replayer()
    >>> [replayer(lambda x: x[0] * 2, [torch.tensor([n])]).item() for n in range(5)]
    [0, 2, 4, 6, 8]
    """

    def __init__(
        self,
        make: Callable[[], StepRecorder] | Literal["card"] | None = "card",
        *,
        share: int = _SHARE,
        most: int = _MOST,
    ) -> None:
        self._make, self._share, self._most = make, share, most
        self._lock = RLock()
        self._known = dict[Hashable, _Repeated | None]()
        self._pool: Any = None

    def __reduce__(self) -> tuple[object, ...]:
        """What is recorded on a card stays there."""
        return partial(Replayer, share=self._share, most=self._most), (self._make,)

    def __call__(
        self,
        call: TensorCall,
        inputs: Sequence[Tensor],
        *,
        key: Callable[[], Hashable | None] = lambda: (),
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
        otherwise: TensorCall | None = None,
    ) -> object:
        """What the call makes of the inputs.

        key:    gives the same for the same call in the same state, and None where it is not to be
                recorded; asked where it could be
        around: in which it is made; it is not recorded, and not entered for a replay
        otherwise: makes the same, and is called where the call is not to be recorded
        """
        make = self._maker(inputs)
        state = None if make is None else key()
        if make is not None and state is not None:
            with self._lock:  # one call at a time: they share the static inputs
                return self._repeated(call, inputs, state, make, around, otherwise or call)
        with around():
            return (otherwise or call)(inputs)

    def _repeated(
        self,
        call: TensorCall,
        inputs: Sequence[Tensor],
        state: Hashable,
        make: Callable[[], StepRecorder],
        around: Callable[[], AbstractContextManager[object]],
        otherwise: TensorCall,
    ) -> object:
        kinds = tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs)
        place = state, kinds, torch.is_inference_mode_enabled()
        is_first = place not in self._known  # what is chosen and allocated once is not looked at
        if is_first:
            if len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[place] = _Repeated()
        known = self._known[place]
        if is_first or known is None:
            with around():
                return otherwise(inputs)
        known.take(inputs)
        if known.recorder is None:
            with around():
                found, is_kept = known.look(call, inputs, make)
        else:
            found, is_kept = known.replay(call, around)
        if not is_kept:
            self._known[place] = None
        return found

    def _maker(self, inputs: Sequence[Tensor]) -> Callable[[], StepRecorder] | None:
        if self._make != "card":
            return self._make
        devices = {x.device for x in inputs}
        device = devices.pop() if len(devices) == 1 else None
        if device is None or find_recorder(device) is None:
            return None
        total = total_bytes(device)
        taken = sum(x.nbytes for x in inputs)
        if total is not None and taken > min(total // self._share, _LARGE):
            return None
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return partial(CudaGraph, device, self._pool)


def _have_the_same_bits(one: object, other: object) -> bool:
    pairs = zip(tensors_in(one), tensors_in(other), strict=True)
    return all(x.dtype == y.dtype and torch.equal(_bytes_of(x), _bytes_of(y)) for x, y in pairs)


def _bytes_of(x: Tensor) -> Tensor:
    return x.contiguous().reshape(-1).view(torch.uint8)


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
