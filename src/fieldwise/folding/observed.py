"""What a run shows of itself: numbers that two runs can be compared by.

An output of whole numbers or truth values says little: a weight that is off by a factor may leave
every ``argmax`` where it was.  So the real numbers that such are made of on the way are kept too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from fieldwise.capture.torch.running import is_inexact, run
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.graph.ir import Args, Kwargs

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Observed:
    """One run.

    tree:   the nested output
    values: its real tensors; complex ones as pairs of real numbers
    others: its integers and truth values, and whole numbers that come of rounding
    made:   where there are others, what any op made such of that makes nothing else
            (``argmax``, a comparison, ``round``)
    placed: the same of ops that hand numbers on as well (``max`` with its places); folding may
            scale what they read
    """

    tree: object
    values: Tensors
    others: Tensors = ()
    made: Tensors = ()
    placed: Tensors = ()

    @property
    def eps(self) -> float:
        """The precision of the values: the distance of 1 to the next number."""
        return max((torch.finfo(tensor.dtype).eps for tensor in self.numbers), default=0.0)

    @property
    def numbers(self) -> Tensors:
        """All that can be compared."""
        return (*self.values, *self.made, *self.placed)


def observed(model: nn.Module, inputs: object) -> Observed:
    """Run a model; a second time, where some of its outputs are whole numbers."""
    tree = run(model, inputs)
    outputs = [*tensors_in(tree)]
    if not any(map(_is_whole, outputs)):
        return Observed(tree, tuple(map(as_real, outputs)))
    watch = _Watch()
    with watch:
        run(model, inputs)
    rounded = bool(watch.made or watch.placed)
    is_other = [_is_whole(tensor) if rounded else not is_inexact(tensor) for tensor in outputs]
    return Observed(
        tree,
        tuple(as_real(t) for t, other in zip(outputs, is_other, strict=True) if not other),
        tuple(t.clone() for t, other in zip(outputs, is_other, strict=True) if other),
        tuple(watch.made),
        tuple(watch.placed),
    )


def _is_whole(tensor: Tensor) -> bool:
    return not is_inexact(tensor) or (
        tensor.is_floating_point() and tensor.numel() > 0 and torch.equal(tensor, tensor.round())
    )


def as_real(tensor: Tensor) -> Tensor:
    """A copy of real numbers; pairs of them for complex ones."""
    found = tensor.detach().resolve_conj().clone()
    return torch.view_as_real(found) if found.is_complex() else found


def alike(one: Sequence[Tensor], two: Sequence[Tensor]) -> bool:
    """Whether there are as many tensors, of the same shapes."""
    return [tensor.shape for tensor in one] == [tensor.shape for tensor in two]


class _Watch(TorchDispatchMode):
    """Keeps the numbers of which ops make integers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: list[Tensor] = []
        self.placed: list[Tensor] = []

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Args = (),
        kwargs: Kwargs | None = None,
    ) -> object:
        kwargs = kwargs or {}
        read = [as_real(tensor) for tensor in tensors_in((args, kwargs)) if is_inexact(tensor)]
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        kinds = {is_inexact(tensor) for tensor in tensors_in(result)}
        if name.rstrip("_") in _ROUNDING:
            self.made.extend(read)
        elif False in kinds and not _is_factory(name):
            (self.placed if True in kinds else self.made).extend(read)
        return result


def _is_factory(name: str) -> bool:
    """Whether an op looks at the shape of its operand alone."""
    return name.endswith("_like") or name.startswith("new_")


_ROUNDING = {"round", "floor", "ceil", "trunc", "sign", "heaviside", "floor_divide"}
