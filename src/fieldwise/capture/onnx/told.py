"""What recorded runs of a file have returned, for runs that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor


class Told:
    """By the shapes of the inputs, the names of the values that a recorded run has returned.

    Copies of a module share it, and what else is put back after a run stays here.
    """

    __slots__ = ("_names", "_outputs")

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = tuple(outputs)
        self._names = dict[tuple[object, ...], tuple[str, ...]]()

    def __deepcopy__(self, memo: dict[int, object]) -> Told:
        return self

    def note(self, given: Mapping[str, object], names: tuple[str, ...]) -> None:
        """What a recorded run on these inputs returns."""
        self._names[_shapes(given)] = names

    def find(self, given: Mapping[str, object]) -> tuple[str, ...] | None:
        """What was returned for inputs of these shapes; None where that is not known.

        Where no run so far has left an output out, none does.
        """
        if self._names and all(names == self._outputs for names in self._names.values()):
            return self._outputs
        return self._names.get(_shapes(given))


def _shapes(given: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(map(_shape, given.values()))


def _shape(value: object) -> object:
    """Of a tensor, or of each in a sequence; numbers stand for themselves."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return tuple(map(_shape, value)) if isinstance(value, (list, tuple)) else value
