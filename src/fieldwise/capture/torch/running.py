"""Running a copy of a model, as every check by numbers does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fieldwise.capture.torch.example import placed
from fieldwise.capture.torch.keeping import generators, kept
from fieldwise.capture.torch.memory import is_strided
from fieldwise.capture.torch.own_names import analysed
from fieldwise.capture.torch.private import private, seeded
from fieldwise.graph.ir import Kwargs
from fieldwise.graph.tensors import TensorLike


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; tensors that deepcopy refuses are copied as they are.

    Those are what autograd made (old weight_norm), and sparse and nested ones.  Of what
    torch.compile made, the model inside.  Raises TypeError or RuntimeError for a model that cannot
    be copied.
    """
    model = getattr(model, "_orig_mod", model)
    own = (one for one in generators(model) if isinstance(one, torch.Generator))
    memo: dict[int, object] = {id(one): one.clone_state() for one in own}
    for module in model.modules():
        for held in (*vars(module).values(), *module._buffers.values()):
            if isinstance(held, Tensor) and not (held.is_leaf and is_strided(held)):
                memo[id(held)] = held.detach().clone()
    return copy.deepcopy(model, memo)


def doubled(model: nn.Module) -> nn.Module:
    """The module itself with its parameters and buffers in float64 and complex128."""
    return model._apply(in_double)


def is_inexact(tensor: TensorLike) -> bool:
    """Whether it holds real or complex numbers, rather than integers or truth values."""
    return tensor.dtype.is_floating_point or tensor.dtype.is_complex


def in_double(tensor: Tensor) -> Tensor:
    """Real numbers in float64, complex ones in complex128; other tensors as they are.

    ``Module.double`` and ``Tensor.double`` leave complex numbers alone, or take their real parts.

    >>> in_double(torch.zeros(1, dtype=torch.complex64)).dtype, in_double(torch.tensor(3)).dtype
    (torch.complex128, torch.int64)
    """
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor


class InDouble(TorchFunctionMode):
    """What a forward makes in complex64, or in no dtype that it names, is made in double precision.

    A model in double precision that writes into ``torch.zeros(..., dtype=torch.cfloat)`` would else
    compute in single precision after all, without a word; one that names a real dtype insists,
    and is told so by torch.  For this thread alone.

    >>> with InDouble():
    ...     torch.zeros(1).dtype, torch.zeros(1, dtype=torch.cfloat).dtype
    (torch.float64, torch.complex128)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[object] = (),
        kwargs: Kwargs | None = None,
    ) -> object:
        """The call with complex dtypes widened, and so what it made of no tensor."""
        wide = [_widened(arg) for arg in args]
        named = {name: _widened(arg) for name, arg in (kwargs or {}).items()}
        result = func(*wide, **named)
        given = (*wide, *named.values())
        is_made = isinstance(result, Tensor) and not any(
            isinstance(arg, (Tensor, torch.dtype)) for arg in given
        )
        return in_double(result) if is_made else result


def _widened(argument: object) -> object:
    is_complex = isinstance(argument, torch.dtype) and argument.is_complex
    return torch.complex128 if is_complex else argument


def run(model: nn.Module, inputs: object) -> object:
    """A forward run from the same random state each time; see ``forward``."""
    with seeded():
        return forward(model, inputs)


def forward(model: nn.Module, inputs: object, *, draws: bool = True, writes: bool = True) -> object:
    """One run without gradients, on a tensor, a tuple or a mapping; the model is kept as it was.

    So are the generators of the process: what the model seeds and draws comes from copies of them.

    What a module stores while it runs is of no use afterwards, and may be in its way: a cache for
    another size, or one that no gradient passes.

    draws:  whether it may draw random numbers at all; every op of those that do costs a little more
    writes: whether it may write into its parameters, whose content is put back then
    """
    args, kwargs = placed(inputs)
    with undisturbed(model, draws=draws, writes=writes):
        return model(*args, **kwargs)


@contextmanager
def undisturbed(model: nn.Module, *, draws: bool = True, writes: bool = True) -> Iterator[None]:
    """In which a model is called, so that nothing of it and of the process is changed by it.

    See ``forward``.
    """
    with (
        kept(model, parameters=writes),
        private() as own,
        own.dice if draws else nullcontext(),
        torch.no_grad(),
        analysed(model),
    ):
        yield
