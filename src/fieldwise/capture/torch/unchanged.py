"""Whether a model is still what was captured: a graph holds for one model in one state.

A graph refers to the model's own parameters, so in-place training shows in what is run of it.  What
was computed of them while it was recorded (a normalised weight), which modules and branches ran and
in which mode, is as it was then.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any

from torch import Tensor, nn

from fieldwise.capture.torch.tree import named_modules


class ModelMark:
    """A model as it is now: its modules, tensors, hooks, modes and plain attributes.

    values: whether what its tensors hold counts too, as far as torch counts writes (not those
            through ``.data``)

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout())
    >>> mark = ModelMark(net.eval())
    >>> mark.holds()
    True
    >>> net[0] = nn.Conv2d(3, 4, 5)
    >>> mark.holds()
    False
    """

    def __init__(self, model: nn.Module, *, values: bool = False) -> None:
        self._model, self._values = model, values
        modules = [module for _, module in named_modules(model)]
        own = [vars(module) for module in modules]
        self._tables = [*own, *chain.from_iterable(map(_tables, modules))]
        self._lengths = list(map(len, self._tables))
        self._filled = [table for table in self._tables[len(own) :] if table]
        self._parts = list(self._held())
        self._plain = [(itemgetter(*_plain_names(one)), one) for one in own]
        self._attributes = list(self._facts())
        self._tensors = [part for part in self._parts if isinstance(part, Tensor)]
        self._counted = [one for one in self._tensors if values and not one.is_inference()]
        self._kinds, self._writes = (list(map(get, of)) for get, of in self._asked())

    def holds(self) -> bool:
        """Whether the model is what it was."""
        return (
            list(map(len, self._tables)) == self._lengths
            and all(map(is_, self._held(), self._parts))
            and list(self._facts()) == self._attributes
            and [list(map(get, of)) for get, of in self._asked()] == [self._kinds, self._writes]
        )

    def __deepcopy__(self, memo: dict[int, object]) -> ModelMark:
        """Of the copy of the model: torch counts the writes to copied tensors from 0 again."""
        twin = ModelMark(copy.deepcopy(self._model, memo), values=self._values)
        if not self.holds():
            twin._lengths = []
        return twin

    def _held(self) -> Iterator[object]:
        """Modules, tensors and hooks, which are compared by identity."""
        return chain.from_iterable(table.values() for table in self._filled)

    def _facts(self) -> Iterator[object]:
        """Plain attributes; None where one of them is gone."""
        for get, table in self._plain:
            try:
                yield get(table)
            except KeyError:
                yield None

    def _asked(self) -> Sequence[tuple[Callable[[Tensor], object], Sequence[Tensor]]]:
        """Of what kind tensors are, and how often they have been written to."""
        return ((_KIND, self._tensors), (_VERSION, self._counted))


_KIND, _VERSION = attrgetter("dtype", "device", "shape"), attrgetter("_version")


def _tables(module: nn.Module) -> Iterator[Mapping[Any, object]]:
    yield module._modules
    yield module._parameters
    yield module._buffers
    yield module._forward_pre_hooks
    yield module._forward_hooks


def _plain_names(attributes: Mapping[str, object]) -> tuple[str, ...]:
    """Of those that are plain; every module has one, ``training``."""
    return tuple(name for name, one in attributes.items() if isinstance(one, _PLAIN))


_PLAIN = (bool, int, float, complex, str, bytes, type(None))
