"""Results written where they are kept, by the ``out=`` of an op that has shown to obey it.

Torch's contract is that ``out=`` is written through its strides.  Not every kernel keeps it:
oneDNN's ``gelu``, and the ``_softmax`` that decomposed programs call, leave rows of a larger tensor
as they were, and say nothing.  So an op is tried once on a few rows of random numbers that lie as
the rows at hand do; where it fails its result is copied.

A few rows speak for many only where the kernel is not chosen by size.  Torch's element-wise ops are
of that kind, with one iterator over strides for all sizes; products of matrices, softmax and others
are not, and their results are always copied.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor
from torch._ops import OpOverload

from fieldwise.capture.torch.overloads import is_element_wise
from fieldwise.graph.calls import changed, replay
from fieldwise.graph.ir import Call
from fieldwise.tile.memory_format import CHANNELS_LAST, is_channels_last

Operands = Sequence[Tensor | None]

_ULPS = 64
"""Last places by which kernels for other strides may differ: they sum in other orders."""

_OBEYS = dict[Hashable, bool]()
"""What was found, by op, by its other arguments and by how tensors lie."""


class RoomWriter:
    """Makes a call whose result is written to rows of a larger tensor.

    call, writer: the call, and the ``out=`` overload of its op
    """

    def __init__(self, call: Call, writer: Callable[..., Tensor]) -> None:
        self._call, self._writer = call, writer
        self._is_element_wise = isinstance(call.target, OpOverload) and is_element_wise(call.target)
        self._known = dict[Hashable, bool]()

    def write(
        self, given: Operands, room: Tensor, *, few: Callable[[], tuple[Operands, Tensor]] | None
    ) -> None:
        """Write what the call makes of the given tensors to ``room``.

        few: gives a few rows of them and of the room, to try the op on rows that lie like these;
             None where nothing can be tried now, and the result is copied unless it is known
        """
        if self._is_element_wise and self._is_known_to_obey(given, room, few):
            self._written(given, room)
        else:
            room.copy_(replay(self._call, given)[0])

    def _is_known_to_obey(
        self, given: Operands, room: Tensor, few: Callable[[], tuple[Operands, Tensor]] | None
    ) -> bool:
        lie = ((x.dtype, x.shape, x.stride()) for x in (*given, room) if x is not None)
        place = (_allows_onednn(), *lie)
        if place not in self._known and few is not None:
            self._known[place] = self._obeys(given, room, few)
        return self._known.get(place, False)

    def _written(self, given: Operands, room: Tensor) -> None:
        call = self._call
        replay(Call(self._writer, call.args, {**call.kwargs, "out": room}), given)

    def _obeys(
        self, given: Operands, room: Tensor, few: Callable[[], tuple[Operands, Tensor]]
    ) -> bool:
        others = changed(self._call, Tensor, _lie)
        lie = (_lie(x) for x in (*given, room) if x is not None)
        key = (self._writer, repr((others.args, others.kwargs)), _allows_onednn(), *lie)
        if key not in _OBEYS:
            operands, place = few()
            pairs = zip(operands, given, strict=True)
            samples = [x if x is None or y is None else _sample(x, y) for x, y in pairs]
            _OBEYS[key] = self._tried(samples, _lying_as(room, place))
        return _OBEYS[key]

    def _tried(self, given: Operands, room: Tensor) -> bool:
        """Whether the op leaves in ``room`` what the call returns."""
        wanted = replay(self._call, given)[0]
        room.copy_(_other_than(wanted))
        try:
            self._written(given, room)
        except RuntimeError:
            return False
        if not _has_fractions(wanted):
            return torch.equal(room, wanted)
        error = _ULPS * torch.finfo(wanted.dtype).eps
        return torch.allclose(room, wanted, rtol=error, atol=error)


def _other_than(x: Tensor) -> Tensor:
    """A tensor that is the given one nowhere."""
    if _has_fractions(x):
        return torch.full_like(x, torch.nan)
    return x.logical_not() if x.dtype == torch.bool else x + 1


def _has_fractions(x: Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


def _allows_onednn() -> bool:
    """Whether torch may choose kernels of oneDNN at present."""
    return torch._C._get_mkldnn_enabled()


# -------------------------------------------------------------------- how tensors lie


def _lie(x: Tensor) -> Hashable:
    """What kernels are chosen by; sizes beyond 1 do not count."""
    strides = [(step, dim) for dim, step in enumerate(x.stride()) if x.shape[dim] > 1]
    order = tuple(dim for _, dim in sorted(strides))
    return x.dtype, x.device, x.dim(), x.is_contiguous(), _fills_channels_last(x), order


def _fills_channels_last(x: Tensor) -> bool:
    """Whether it is one block of memory in channels-last."""
    return is_channels_last(x) and x.is_contiguous(memory_format=CHANNELS_LAST[x.dim()])


def _lying_as(like: Tensor, x: Tensor) -> Tensor:
    """New memory for ``x``, which lies as ``like`` does."""
    if like.is_contiguous():
        return torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if _fills_channels_last(like):
        return torch.empty_like(x, memory_format=CHANNELS_LAST[like.dim()])
    return torch.empty_strided(x.shape, like.stride(), dtype=x.dtype, device=x.device)


def _sample(x: Tensor, like: Tensor) -> Tensor:
    """Random numbers; whole numbers, masks, and what lies over itself are what they are."""
    if 0 in like.stride() or torch._debug_has_internal_overlap(like):
        return x
    found = _lying_as(like, x)
    if not x.is_floating_point():
        return found.copy_(x)
    return found.uniform_(0.1, 0.9, generator=torch.Generator(x.device).manual_seed(0))
