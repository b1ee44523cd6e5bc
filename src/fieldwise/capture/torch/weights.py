"""Weights of a model: a file's entries matched with the model's, and told apart by a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fieldwise.capture.state_names import NameMatch, first_names, match_names
from fieldwise.capture.torch.tree import named_state
from fieldwise.capture.torch.weight_files import State, read_states
from fieldwise.errors import UsageError, did_you_mean
from fieldwise.written import counted

WITHIN = "::"
"""What stands between a file of weights and the place in it, where several could be meant."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What a model was given from a file.

    path:   the file
    place:  where the weights stand in it; '' for its top
    others: where others stand that would have fitted too
    match:  which entry became which; what was left over
    kept:   integer buffers that the file lacks and that stay as the model made them
    count:  entries of the model
    """

    path: Path
    place: str
    others: tuple[str, ...]
    match: NameMatch
    kept: tuple[str, ...]
    count: int

    def __str__(self) -> str:
        """What was found where, for the user; '' where every name is as the model has it."""
        match, said = self.match, []
        if self.place:
            said.append(f"under '{self.place}'")
        if match.prefix:
            said.append(f"without the prefix '{match.prefix}'")
        if match.added:
            said.append(f"with '{match.added}' before each name")
        if match.wrappers:
            said.append(f"without {' and '.join(f'{name!r}' for name in match.wrappers)} in names")
        if self.kept:
            indices = counted(len(self.kept), "integer buffer")
            said.append(f"{indices} as the model makes them ({first_names(self.kept)})")
        if match.left_over:
            some = counted(len(match.left_over), "entry", "entries")
            said.append(f"{some} of the file left over ({first_names(match.left_over)})")
        if self.others:
            one = f"{self.path}{WITHIN}{self.others[0]}"
            others = ", ".join(f"'{place}'" for place in self.others)
            said.append(f"{others} would fit too, and {one} names it")
        if not said:
            return ""
        return f"weights of {str(self.path)!r}: {self.count} entries, {'; '.join(said)}"


class OtherModelError(UsageError):
    """The weights in a file are not those of this model: names or shapes differ."""


def load_weights(model: nn.Module, path: Path) -> LoadedWeights:
    """Give the model the weights in a file, which must have all of them, and say what was found.

    path: .safetensors, an index of several (.safetensors.index.json), or what torch.save wrote
          (.pt, .pth, .ckpt, .bin); behind '::' the place in it, 'best.ckpt::ema'

    Names may have a prefix in common (``module.``, ``model.``, ``_orig_mod.``, or any other).
    Integer buffers, which nobody trains, may be missing.  Entries may be left over if they are
    integers too, or of parts that the model does not have (the head of a loss).

    Raises UsageError where it cannot be read, and OtherModelError, with the first names that
    differ, where it does not fit.
    """
    file = str(path).partition(WITHIN)[0]
    states = find_states(path)
    wanted = _entries(model)
    fits = {where: match_names([*wanted], [*state]) for where, state in states.items()}
    missing = {where: _needed(wanted, found) for where, found in fits.items()}
    best = min(fits, key=lambda where: len(missing[where]))
    state, match = states[best], fits[best]
    _check(Path(file), model, wanted, state, match, missing[best])
    model.load_state_dict(
        {name: state[match.names[name]] for name in wanted if name in match.names}, strict=False
    )
    others = [where for where in fits if where != best and not missing[where]]
    same_shapes = [where for where in others if not _misfits(wanted, states[where], fits[where])]
    kept = tuple(name for name in match.missing if _is_integer(wanted[name]))
    return LoadedWeights(Path(file), best, tuple(same_shapes), match, kept, len(wanted))


def find_states(path: Path) -> dict[str, State]:
    """The weights in a file, by the place where they stand; behind '::' the place that is meant.

    Raises UsageError where the file cannot be read, or has none there.
    """
    file, _, place = str(path).partition(WITHIN)
    states = read_states(Path(file))
    if not place:
        return states
    chosen = {one: states[one] for one in states if f"{one}.".startswith(f"{place}.")}
    if not chosen:
        known = [one for one in states if one]
        has = f"it has {first_names(known)}." if known else "it has weights at its top alone."
        remedy = did_you_mean(place, known, otherwise=has)
        raise UsageError(f"{file!r} has no weights under {place!r}; {remedy}")
    return chosen


def differences(model: nn.Module, states: Mapping[str, State]) -> tuple[int, set[SizePair]]:
    """How many entries keep a model from the weights that fit it best, and which sizes differ.

    A model without differences takes these weights.  Of sizes first the model's, then the file's.
    """
    wanted = _entries(model)
    children = [name for name, _ in model.named_children()]
    found = []
    for state in states.values():
        match = match_names([*wanted], [*state])
        inside = [name for name in match.within(children) if not _is_integer(state[name])]
        pairs = [(wanted[name].shape, state[own].shape) for name, own in match.names.items()]
        unlike = [pair for pair in pairs if pair[0] != pair[1]]
        count = len(_needed(wanted, match)) + len(inside) + len(unlike)
        sizes = {
            (of_model, of_file)
            for one, other in unlike
            if len(one) == len(other)
            for of_model, of_file in zip(one, other, strict=True)
            if of_model != of_file
        }
        found.append((count, sizes))
    return min(found, key=lambda one: one[0])


SizePair = tuple[int, int]
"""The size of a dimension in the model, and in the file."""


def _entries(model: nn.Module) -> dict[str, Tensor]:
    return {name: held for name, held in model.state_dict().items() if isinstance(held, Tensor)}


def _needed(wanted: Mapping[str, Tensor], match: NameMatch) -> list[str]:
    """What is missing and would be wrong: no integers, and not what another name stands for too."""
    held = {_memory(tensor) for name, tensor in wanted.items() if name in match.names}
    return [
        name
        for name in match.missing
        if not _is_integer(wanted[name]) and _memory(wanted[name]) not in held
    ]


def _memory(tensor: Tensor) -> tuple[object, ...]:
    if tensor.is_meta:
        return (id(tensor),)
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.device


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def _misfits(wanted: Mapping[str, Tensor], state: State, match: NameMatch) -> list[str]:
    """Entries of another shape, in words."""
    return [
        f"'{name}' is {_shape(state[own])} in the file and {_shape(wanted[name])} in the model"
        for name, own in match.names.items()
        if state[own].shape != wanted[name].shape
    ]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _check(
    path: Path,
    model: nn.Module,
    wanted: Mapping[str, Tensor],
    state: State,
    match: NameMatch,
    missing: list[str],
) -> None:
    """Raise an error where the model would not be the one that the file was written from."""
    if missing:
        beside = f" It has {first_names(match.left_over)} instead." if match.left_over else ""
        raise OtherModelError(
            f"{str(path)!r} lacks {len(missing)} of the {counted(len(wanted), 'entry', 'entries')} "
            f"of the model: {first_names(missing)}.{beside} Give this model's weights."
        )
    if misfits := _misfits(wanted, state, match):
        more = f", and {len(misfits) - 1} more differ" if len(misfits) > 1 else ""
        raise OtherModelError(f"{str(path)!r} is of another model: {misfits[0]}{more}.")
    empty = [name for name, own in match.names.items() if not _has_values(state[own])]
    if empty:
        raise UsageError(
            f"{str(path)!r} holds {first_names(empty)} without plain values (on the meta device, "
            "sparse or quantised); write them as dense tensors."
        )
    children = [name for name, _ in model.named_children()]
    inside = [n for n in match.within(children) if not _is_integer(state[n])]
    if inside:
        raise OtherModelError(
            f"{str(path)!r} has {counted(len(inside), 'entry', 'entries')} that the model lacks in "
            f"parts that it has: {first_names(inside)}; it is of another model. Give this model's "
            "weights, or a file without these entries."
        )


def _has_values(tensor: Tensor) -> bool:
    return not (tensor.is_meta or tensor.is_quantized) and tensor.layout == torch.strided


def digest_of_state(model: nn.Module) -> str:
    """A digest of the parameters and buffers: names, types, shapes, values."""
    digest = hashlib.sha256()
    for name, tensor in named_state(model):
        digest.update(f"{name} ".encode())
        add_tensor(digest.update, tensor)
    return digest.hexdigest()


def add_tensor(add: Callable[[bytes | memoryview], None], tensor: Tensor) -> None:
    """Give a digest the type, shape and values of a tensor."""
    add(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    if tensor.is_meta:
        return
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    add(flat.view(torch.uint8).numpy().data)
