"""The model under test: a float64 copy, its inputs, and what its modules return."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.capture import check_made
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.own_names import NamesItsValues, part_of
from fieldwise.capture.torch.running import InDouble, copied, doubled, is_inexact, run
from fieldwise.capture.torch.tree import map_tensors, named_state, named_tensors, tensors_in
from fieldwise.errors import UnsuitableError, UsageError, did_you_mean, said_by
from fieldwise.graph.names import listed_globs
from fieldwise.shift.generic import generic, settle
from fieldwise.shift.measurement.motion import Expectations, Motion
from fieldwise.shift.measurement.translations import Amount, translated

_ROUNDING = 1e-11

ReturnedValues = dict[tuple[bool, str], Tensor]
Judgement = TypeVar("Judgement")


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured: a float64 copy of a model on noise like its example, and what it returns.

    paths:     of the modules whose values are looked at
    reference: what the model returns
    unrelated: the same of another input
    """

    call: ModelCall
    paths: tuple[str, ...]
    reference: ReturnedValues
    unrelated: ReturnedValues

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example: object,
        layers: str | Sequence[str],
        *,
        randomise: bool,
        seed: int,
    ) -> Subject:
        """A copy of a model; ``randomise``: of which all weights and statistics are drawn.

        layers: globs of module paths.  Raises UsageError for one that names no module, and where
        the model does not run in float64.
        """
        given = ModelCall.of(model, example)
        check_made(named_state(model))
        copy = generic(model, seed=seed) if randomise else doubled(copied(model).cpu()).eval()
        paths = _chosen(copy, layers)
        call = ModelCall(copy, noise(given.example, seed=seed))
        if randomise:
            settle(copy, lambda: returned(call, paths))
        other = ModelCall(copy, noise(given.example, seed=seed + 1))
        return cls(call, paths, returned(call, paths), returned(other, paths))

    def run(self, inputs: object) -> ReturnedValues:
        """What the model returns for other inputs."""
        return returned(ModelCall(self.call.model, inputs), self.paths)


@dataclass(frozen=True, eq=False, slots=True)
class MeasuredValue:
    """A value to be looked at along one axis of the input.

    key: whether it is an output, and its name; of: the graph's name for it
    """

    key: tuple[bool, str]
    of: str
    axis: int
    value: Tensor
    unrelated: Tensor

    @property
    def name(self) -> str:
        """Of the output, or the path of the module that returned it."""
        return self.key[1]


def judge_values(
    subject: Subject,
    expectations: Expectations,
    axes: Sequence[int],
    run: Callable[[int], ReturnedValues],
    judge: Callable[[MeasuredValue, ReturnedValues], Judgement | None],
) -> tuple[list[Judgement], list[Judgement]]:
    """What is judged of outputs and of layers, axis by axis: of all that the shifted input changes.

    run: gives what becomes of the values along an axis; judge: None for a value that is left out
    """
    outputs, layers = list[Judgement](), list[Judgement]()
    for axis in axes:
        after = run(axis)
        for key, value in subject.reference.items():
            is_output, name = key
            of = expectations.value(name, is_output=is_output)
            if of is None:
                continue
            found = judge(MeasuredValue(key, of, axis, value, subject.unrelated[key]), after)
            if found is not None:
                (outputs if is_output else layers).append(found)
    return outputs, layers


def returned(call: ModelCall, paths: Sequence[str]) -> ReturnedValues:
    """The outputs of a run, and what the modules of these paths returned; complex ones as pairs.

    Raises UnsuitableError where the model does not run in float64.
    """
    found: dict[str, list[list[Tensor]]] = defaultdict(list)

    def keep(path: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _args: object, output: object) -> None:
            found[path].append([tensor.clone() for tensor in tensors_in(output)])

        return hook

    hooks = [call.model.get_submodule(path).register_forward_hook(keep(path)) for path in paths]
    try:
        with InDouble():
            output = run(call.model, call.example)
    except RuntimeError as error:
        raise UnsuitableError(
            f"The model failed in float64 ({said_by(error)}); check the input's shape, and "
            f"that the model runs in that precision, which a decision needs."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    values = {(True, name): tensor for name, tensor in _outputs(call, output)}
    values |= {(False, name): tensor for name, tensor in _spelled(found)}
    return {key: _as_pairs(value) for key, value in values.items()}


def _outputs(call: ModelCall, output: object) -> list[tuple[str, Tensor]]:
    """The tensors of an output, named as the graph of the model names its outputs."""
    found = list(named_tensors(output))
    if not isinstance(call.model, NamesItsValues):
        return found
    names = call.graph().output_names
    if len(names) != len(found):
        return found
    return [(name, tensor) for name, (_, tensor) in zip(names, found, strict=True)]


def _as_pairs(value: Tensor) -> Tensor:
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def noise(example: object, *, seed: int) -> object:
    """The like of an example, standard normal in float64 or complex128; integers are kept."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor) -> Tensor:
        if is_inexact(tensor):
            kind = torch.complex128 if tensor.is_complex() else torch.float64
            return torch.randn(tuple(tensor.shape), generator=generator, dtype=kind)
        return torch.zeros_like(tensor, device="cpu") if tensor.is_meta else tensor

    return map_tensors(draw, example)


def scale(
    value: Tensor, unrelated: Tensor, motion: Motion, spatial: Sequence[int]
) -> tuple[Motion, float]:
    """What an error of a value is measured against, and how the value moves after all.

    Its spatial deviation: the root mean square without the spatial mean.  A value that should not
    move, or is the same everywhere, is measured by how far it moves to an unrelated input.  What
    is no more than rounding counts as 0.
    """
    if motion.dim is not None:
        deviation = _seen(value - value.mean(tuple(spatial), keepdim=True), value)
        if deviation:
            return motion, deviation
    return Motion(None), _seen(value - unrelated, value)


def rms(value: Tensor) -> float:
    """The root mean square."""
    return float(value.abs().square().mean().sqrt())


def _seen(difference: Tensor, value: Tensor) -> float:
    found = rms(difference)
    return found if found > _ROUNDING * float(value.abs().max()) else 0.0


def _chosen(model: nn.Module, globs: str | Sequence[str]) -> tuple[str, ...]:
    paths, globs = [path for path, _ in model.named_modules() if path], listed_globs(globs)
    part = part_of(model)
    for glob in globs:
        if not any(fnmatchcase(path, glob) for path in paths):
            remedy = did_you_mean(glob, paths, otherwise=f"use a {part}'s path.")
            raise UsageError(
                f"No {part} is called '{glob}', and a measurement reads what {part}s return; "
                f"{remedy}"
            )
    return tuple(path for path in paths if any(fnmatchcase(path, glob) for glob in globs))


def _spelled(returned: Mapping[str, list[list[Tensor]]]) -> list[tuple[str, Tensor]]:
    """Named as the graph's values are: 'relu#2' for a second run, 'lstm[0]' for one of several."""
    found = []
    for path, runs in returned.items():
        for number, tensors in enumerate(runs, 1):
            name = path if len(runs) == 1 else f"{path}#{number}"
            for position, tensor in enumerate(tensors):
                found.append((name if len(tensors) == 1 else f"{name}[{position}]", tensor))
    return found


def shifted(inputs: object, amount: Amount, axis: int, shape: tuple[int, ...]) -> object:
    """Every real or complex tensor of the inputs' rank moved by ``amount`` along ``axis``."""

    def shift(tensor: Tensor) -> Tensor:
        moves = is_inexact(tensor) and tensor.dim() == len(shape)
        return translated(tensor, amount, axis) if moves else tensor

    return map_tensors(shift, inputs)
