"""Cases that nobody here wrote: torch's own sample inputs for every op and every module.

A case is a module whose inputs are tensors of a sample, in one of several forms: all floating
tensors as inputs; the first one alone, the others as constants; the in-place variant on a copy of
the first.  Everything else of the sample stays as it is.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from fieldwise.capture.torch.capture import named_tensors
from fieldwise.capture.torch.tree import map_tensors
from fieldwise.testing.running import (
    apart,
    coarse,
    doubled,
    is_whole,
    near,
    normal,
    resampled,
    uniform,
)

SAMPLES = 4
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.int64, torch.bool)


@dataclass(frozen=True)
class Case:
    """One sample of one op in one form.

    name:   'op#sample:form'
    model:  in double precision where the op runs in it
    inputs: its inputs
    apart:  why nothing is asked of it ('random', 'sparse', …); empty for most
    """

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    apart: str = ""


class Applied(nn.Module):
    """A call of which some tensors are inputs; the others are constants."""

    def __init__(self, function: Callable[..., Any], call: Any, places: Sequence[int]) -> None:
        super().__init__()
        self.function, self.call, self.places = function, call, list(places)

    def forward(self, *inputs: Tensor) -> Any:
        tensors = dict(zip(self.places, inputs, strict=True))
        args, kwargs = _replaced(self.call, lambda number, old: tensors.get(number, old))
        return self.function(*args, **kwargs)


class InPlace(Applied):
    """The same on a copy of the first tensor, which is changed."""

    def forward(self, *inputs: Tensor) -> Any:
        return super().forward(inputs[0].clone(), *inputs[1:])


def _replaced(call: Any, change: Callable[[int, Tensor], Any]) -> Any:
    numbers = iter(range(10**6))
    return map_tensors(lambda tensor: change(next(numbers), tensor), call)


# -------------------------------------------------------------------- of the samples


@cache
def sources() -> dict[str, Callable[[int], Iterator[Case]]]:
    """By name, what makes the cases of an op or module, given how many samples are wanted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
        from torch.testing._internal.common_modules import module_db
    found: dict[str, Callable[[int], Iterator[Case]]] = {}
    for op in op_db:
        name = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
        assert name not in found, name
        found[name] = _op_maker(name, op)
    for info in module_db:
        found[f"module.{info.name.removeprefix('nn.')}"] = _module_maker(info)
    return found


def _op_maker(name: str, op: Any) -> Callable[[int], Iterator[Case]]:
    def make(samples: int) -> Iterator[Case]:
        with seeded():
            chosen = _chosen(_samples(op), samples)
            if not chosen:
                yield Case(f"{name}#0:all", nn.Identity(), (), "no samples")
            for number, sample in enumerate(chosen):
                call = ((sample.input, *sample.args), dict(sample.kwargs))
                yield from _forms(f"{name}#{number}", op.op, call)
                if op.inplace_variant is not None:
                    yield from _forms(f"{name}#{number}", op.inplace_variant, call, in_place=True)
                if op.method_variant is not None and not number:
                    yield from _forms(f"{name}#{number}", op.method_variant, call, of="method")

    return make


def _module_maker(info: Any) -> Callable[[int], Iterator[Case]]:
    def make(samples: int) -> Iterator[Case]:
        with seeded():
            dtype = next(d for d in DTYPES if d in info.dtypes)
            given = info.module_inputs_func(
                info, device="cpu", dtype=dtype, requires_grad=False, training=False
            )
            kept = [one for one in given if one.forward_input is not None]
            for number, one in enumerate(_spread(kept, samples)):
                made = one.constructor_input
                module = info.module_cls(*made.args, **made.kwargs).eval()
                call = (tuple(one.forward_input.args), dict(one.forward_input.kwargs))
                if isinstance(module, LazyModuleMixin):
                    module(*call[0], **call[1])  # gives its parameters their shapes
                _randomise(module)
                yield from _forms(f"module.{info.name.removeprefix('nn.')}#{number}", module, call)

    return make


def _samples(op: Any) -> list[Any]:
    """Those in the first supported type of numbers.

    Fourier transforms get complex ones: by real ones some cosines are zero.
    """
    from torch.testing._internal.opinfo.core import SpectralFuncInfo

    supported = op.supported_dtypes("cpu")
    wanted = (torch.complex64, *DTYPES) if isinstance(op, SpectralFuncInfo) else DTYPES
    dtype = next((d for d in (*wanted, *sorted(supported, key=str)) if d in supported), None)
    try:
        with _undistracted():
            return list(op.sample_inputs("cpu", dtype, requires_grad=False)) if dtype else []
    except IndexError:  # torch's own sampler fails without a GPU
        return []


@contextmanager
def _undistracted() -> Iterator[None]:
    """Without what torch does for each sample that its own test suite alone needs.

    It looks through the frames of all callers for a test case, and notes the frames of each seeding
    for devices that are not there: under pytest this takes ten times as long as the samples.
    """
    from torch.testing._internal import common_utils
    from torch.testing._internal.opinfo import core

    with (
        patch.object(common_utils, "extract_test_fn", lambda: None),
        patch.object(core, "extract_test_fn", lambda: None),
        patch("torch.manual_seed", torch.default_generator.manual_seed),
    ):
        yield


def _chosen(samples: Sequence[Any], most: int) -> list[Any]:
    """Some samples, spread over those that differ in shapes or arguments."""
    unlike = {_signature(sample): sample for sample in reversed(samples)}
    return _spread(list(reversed(unlike.values())), most)


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of these, evenly, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(n * (len(items) - 1) / max(1, most - 1))] for n in range(most)]


def _signature(sample: Any) -> str:
    return repr(
        map_tensors(
            lambda t: (tuple(t.shape), t.dtype), ((sample.input, *sample.args), dict(sample.kwargs))
        )
    )


def _randomise(module: nn.Module) -> None:
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
            elif tensor.is_complex():
                tensor.copy_(torch.randn_like(tensor))


class seeded:  # noqa: N801 - used like a function
    """The generators of a sampler, each time the same."""

    def __enter__(self) -> None:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)

    def __exit__(self, *_: object) -> None:
        pass


# -------------------------------------------------------------------- of the forms


def _forms(
    name: str, function: Any, call: Any, *, in_place: bool = False, of: str = ""
) -> Iterator[Case]:
    tensors = [tensor for _, tensor in named_tensors(call)]
    moving = [n for n, t in enumerate(tensors) if t.is_floating_point() or t.is_complex()]
    places = moving or list(range(len(tensors)))
    if in_place:
        if places and places[0] == 0:
            yield _case(f"{name}:in-place", function, call, places, InPlace)
        return
    yield _case(f"{name}:{of or 'all'}", function, call, places, Applied)
    if len(places) > 1 and not of:
        yield _case(f"{name}:first", function, call, places[:1], Applied)


def _case(name: str, function: Any, call: Any, places: Sequence[int], kind: type[Applied]) -> Case:
    """The case in double precision; in the sample's own where it does not run in that."""
    found = None
    for change in (lambda tree: doubled(_generic(tree, places)), doubled, lambda tree: tree):
        given = change(call)
        body = function
        if isinstance(function, nn.Module):
            body = function if change(torch.ones(1)).dtype is torch.float32 else doubled(function)
        tensors = [tensor.detach() for _, tensor in named_tensors(given)]
        inputs = tuple(tensors[place].clone() for place in places)
        case = Case(name, kind(body, given, places).eval(), inputs)
        why = set_apart(case)
        if not why:
            return case
        found = found or Case(name, case.model, inputs, why)
        if not why.startswith("does not run"):
            return found
    assert found is not None
    return found


def _generic(call: Any, places: Sequence[int]) -> Any:
    """Floating constants without zeros: what multiplies by nothing shows nothing."""
    return _with_others(
        call,
        _floating_constants(call, places),
        lambda tensor: torch.where(tensor == 0, torch.full_like(tensor, 0.37), tensor),
    )


def variants(case: Case) -> list[nn.Module]:
    """The model of a case with other values in its floating constants, if it has any.

    In all of them, and in one at a time: beside labels as they are two vectors may be alike.
    """
    model = case.model
    assert isinstance(model, Applied)
    dice = torch.Generator().manual_seed(5)
    constants = _floating_constants(model.call, model.places)
    chosen = [constants] * 3 + ([{n} for n in sorted(constants)] if len(constants) > 1 else [])
    calls = [
        _with_others(model.call, numbers, lambda t, like=like: like(t, t.shape, dice))
        for numbers in chosen
        for like in (resampled, uniform, normal, coarse)
    ]
    if len(list(named_tensors(model.call))) == len(model.places):
        return []
    return [type(model)(model.function, call, model.places).eval() for call in calls]


def others(case: Case) -> list[nn.Module]:
    """The model of a case with other whole numbers and truth values in its constants.

    Of numbers that are no tensors a zero is replaced, by which nothing else may come through.
    """
    model = case.model
    assert isinstance(model, Applied)
    dice = torch.Generator().manual_seed(6)

    def changed(number: int, tensor: Tensor) -> Tensor:
        if number in model.places or not is_whole(tensor):
            return tensor
        if tensor.dtype is torch.bool:
            return torch.rand(tensor.shape, generator=dice) < 0.5
        one_alone = tensor.unique().numel() == 1
        return near(tensor, dice) if one_alone else resampled(tensor, tensor.shape, dice)

    constants = [t for n, (_, t) in enumerate(named_tensors(model.call)) if n not in model.places]
    found = _without_zeros(model.call)
    if found is None and not any(is_whole(t) and t.layout is torch.strided for t in constants):
        return []
    calls = [_replaced(model.call if found is None else found, changed) for _ in range(8)]
    return [type(model)(model.function, call, model.places).eval() for call in calls]


def _without_zeros(tree: Any, most: float = 0.7) -> Any:
    """Nested arguments with other numbers for zeros that are no whole numbers; None: no such.

    Those of one level differ, since between two bounds that are alike nothing comes through.
    """
    if isinstance(tree, float):
        return most if tree == 0 else None
    if isinstance(tree, dict):
        found = {n: _without_zeros(one, most + k) for k, (n, one) in enumerate(tree.items())}
        some = any(item is not None for item in found.values())
        return {n: tree[n] if found[n] is None else found[n] for n in tree} if some else None
    if type(tree) in (list, tuple):
        items = [_without_zeros(item, most + k) for k, item in enumerate(tree)]
        if all(item is None for item in items):
            return None
        return type(tree)(old if new is None else new for old, new in zip(tree, items, strict=True))
    return None


def _floating_constants(call: Any, places: Sequence[int]) -> set[int]:
    """The numbers of the tensors that are no inputs, and hold no whole numbers."""
    return {
        number
        for number, (_, tensor) in enumerate(named_tensors(call))
        if number not in places and tensor.layout is torch.strided and tensor.is_floating_point()
    }


def _with_others(call: Any, numbers: Container[int], change: Callable[[Tensor], Tensor]) -> Any:
    return _replaced(call, lambda n, tensor: change(tensor) if n in numbers else tensor)


def set_apart(case: Case) -> str:
    """Why nothing can be asked of a case; empty if all can."""
    if not case.inputs:
        return "no input"
    if any(x.layout is not torch.strided or x.is_nested or x.is_quantized for x in case.inputs):
        return "sparse or nested"
    if any(x.dtype.is_floating_point and x.dtype.itemsize < 2 for x in case.inputs):
        return "float8"
    runs = []
    start = time.process_time()
    for seed in (1, 2):
        torch.default_generator.manual_seed(seed)
        try:
            # Some ops of torch's list set the seed themselves, so as to seem to be no random ones.
            with torch.no_grad(), patch("torch.manual_seed", lambda _: torch.default_generator):
                runs.append(list(named_tensors(case.model(*(x.clone() for x in case.inputs)))))
        except Exception as error:  # noqa: BLE001 - torch's samples include what fails
            return f"does not run: {type(error).__name__}"
    if time.process_time() - start > 2:
        return "slow"
    tensors = [tensor for _, tensor in runs[0]]
    if any(t.layout is not torch.strided or t.is_nested for t in tensors):
        return "sparse or nested"
    if _differ(*runs) or _shows_memory(case):
        return "random"
    return ""


def _shows_memory(case: Case) -> bool:
    """Whether a result holds what nobody has written: such memory is filled with NaN for once."""
    inputs = [x.clone() for x in case.inputs]
    if any(bool(x.isnan().any()) for x in inputs):
        return False
    before = dict(named_tensors(case.model(*inputs)))
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.no_grad():
            after = dict(named_tensors(case.model(*(x.clone() for x in case.inputs))))
    except RuntimeError:
        return False
    finally:
        torch.use_deterministic_algorithms(False)
    return any(bool((after[name].isnan() & ~out.isnan()).any()) for name, out in before.items())


def _differ(one: Sequence[tuple[str, Tensor]], two: Sequence[tuple[str, Tensor]]) -> bool:
    return len(one) != len(two) or any(
        a.shape != b.shape or (a.numel() > 0 and bool(apart(a, b).max() > 0))
        for (_, a), (_, b) in zip(one, two, strict=True)
    )


# -------------------------------------------------------------------- what may be folded


class Between(nn.Module):
    """An op between a batch norm and a layer, or the other way round."""

    def __init__(self, before: nn.Module, op: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.op, self.after = before, op, after

    def forward(self, x: Tensor, *rest: Tensor) -> Any:
        return self.after(self.op(self.before(x), *rest))


def between(case: Case) -> Iterator[nn.Module]:
    """Networks in which a batch norm may pass the op on its way to a convolution."""
    answer = case.model(*case.inputs)
    outputs = [tensor for _, tensor in named_tensors(answer)] if isinstance(answer, Tensor) else []
    x = case.inputs[0]
    if not all(t.numel() for t in (x, *outputs)):
        return
    if not (3 <= x.dim() <= 5 and len(outputs) == 1 and 3 <= outputs[0].dim() <= 5):
        return
    if x.dtype is not torch.float64 or outputs[0].dtype is not torch.float64:
        return
    torch.manual_seed(0)
    norms = [_NORMS[t.dim()](t.shape[1]) for t in (x, outputs[0])]
    layers = [_LAYERS[t.dim()](t.shape[1], t.shape[1], 1) for t in (x, outputs[0])]
    for module in (*norms, *layers):
        _randomise(module)
    yield Between(norms[0], case.model, layers[1]).double().eval()
    yield Between(layers[0], case.model, norms[1]).double().eval()


_NORMS: dict[int, Any] = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_LAYERS: dict[int, Any] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
