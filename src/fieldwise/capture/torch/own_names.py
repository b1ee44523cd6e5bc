"""What a model that was read from a file calls its values and ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from fieldwise.capture.torch.memory import Memory


@runtime_checkable
class NamesItsValues(Protocol):
    """A model that was read from a file, in which its values have names."""

    def noted_values(self) -> Mapping[str, Tensor]:
        """The tensors of the run that is being recorded, by name; the names to prefer first."""

    def lost_values(self) -> Mapping[str, str]:
        """The values that this run could not tell, and why."""

    def analysed(self) -> AbstractContextManager[None]:
        """In which a run returns what a recorded run returns, and not what only data decide."""

    def operators(self) -> Mapping[str, str]:
        """What the file calls the op that a child runs, by the path of the child."""

    def learned(self) -> Mapping[str, Sequence[Tensor]]:
        """The model's parameters that a child reads, by the path of the child."""


@dataclass(frozen=True, slots=True)
class OwnNames:
    """What a model itself calls its values, by their numbers, and those that are not recorded."""

    by_value: Mapping[int, tuple[str, ...]] | None
    lost: Mapping[str, str]

    @property
    def first(self) -> dict[int, str]:
        """The name of each."""
        return {value: names[0] for value, names in (self.by_value or {}).items()}

    def others(self) -> Mapping[str, tuple[str, ...]] | None:
        """By its name, what else a value is called; None where values are named after modules."""
        if self.by_value is None:
            return None
        return {first: tuple(rest) for first, *rest in self.by_value.values()}


def own_names(memory: Memory, model: nn.Module) -> OwnNames:
    """Those of a model that has just been recorded."""
    if not isinstance(model, NamesItsValues):
        return OwnNames(None, {})
    found: dict[int, tuple[str, ...]] = {}
    for name, tensor in model.noted_values().items():
        value = memory.value_of(tensor)
        if value is not None:
            found[value] = (*found.get(value, ()), name)
    return OwnNames(found, model.lost_values())


def analysed(model: nn.Module) -> AbstractContextManager[None]:
    """In which a model returns what was recorded of it."""
    return model.analysed() if isinstance(model, NamesItsValues) else nullcontext()


def part_of(model: nn.Module) -> str:
    """What a sentence calls a part of a model: a node of a file, else a module."""
    return "node" if isinstance(model, NamesItsValues) else "module"


def operators_of(model: nn.Module) -> Mapping[str, str]:
    """What a file calls the ops of its nodes, by their paths; of other models, nothing."""
    return model.operators() if isinstance(model, NamesItsValues) else {}


def learned_by(model: nn.Module) -> Mapping[str, Sequence[Tensor]]:
    """The parameters that nodes of a file read, by their paths; of other models, nothing."""
    return model.learned() if isinstance(model, NamesItsValues) else {}
