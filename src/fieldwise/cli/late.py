"""What of torch takes a second to import, and a command needs a function or two of: imported late.

``torch.fx.experimental.symbolic_shapes`` brings sympy; torch's shape checks ask it about plain
numbers and truth values.  ``torch._dynamo`` brings the compiler, triton and torch.distributed;
it is told what not to compile, and torchvision takes one function of it when it is imported
(``ops/roi_align.py``).  Stand-ins take their places.  They know those few functions; whatever else
is asked of them is answered by the module itself, which is imported then and takes its place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from operator import and_, or_
from types import ModuleType
from typing import Any

Answer = Callable[..., object]
"""What a function gives where that is known without its module, else NotImplemented."""


def import_late() -> None:
    """From now on they are imported when they are needed; for a process that is one command."""
    for finder in _FINDERS:
        if finder.root not in sys.modules and finder not in sys.meta_path:
            sys.meta_path.insert(0, finder)


class _Finder(MetaPathFinder, Loader):
    """Finds stand-ins for a module and some below it, until more is asked of one of them.

    root:  the module, a package if it is not the only one
    known: per module, what its functions answer
    """

    def __init__(self, root: str, known: Mapping[str, Mapping[str, Answer]]) -> None:
        self.root, self._known = root, known

    def find_spec(self, name: str, *_options: object) -> ModuleSpec | None:
        if name in self._known:
            return ModuleSpec(name, self, is_package=name == self.root and len(self._known) > 1)
        if name.startswith(f"{self.root}."):
            self.real(name)
            return ModuleSpec(name, self)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A stand-in, or the module itself if that is there by now."""
        there = sys.modules.get(spec.name)
        return there or _StandIn(spec.name, self, self._known[spec.name])

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to be done."""

    def real(self, name: str) -> ModuleType:
        """The module itself, in its place from now on as is all that is below the root."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            for each in self._known:
                sys.modules.pop(each, None)
        return import_module(name)


class _StandIn(ModuleType):
    """Stands for a module, some of whose functions are known."""

    def __init__(self, name: str, finder: _Finder, known: Mapping[str, Answer]) -> None:
        super().__init__(name)
        self.__dict__["_finder"] = finder
        self.__dict__.update({each: self._function(each, known[each]) for each in known})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._finder.real(self.__name__), name)

    def _function(self, name: str, answer: Answer) -> Callable[..., object]:
        def function(*args: object, **kwargs: object) -> object:
            known = answer(*args, **kwargs)
            if known is not NotImplemented:
                return known
            return getattr(self._finder.real(self.__name__), name)(*args, **kwargs)

        return function


def _of_plain(answer: Answer) -> Answer:
    """An answer that is known of numbers, truth values and shapes without symbols."""

    def known(*args: object) -> object:
        return answer(*args) if all(map(_is_plain, args)) else NotImplemented

    return known


def _is_plain(value: object) -> bool:
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return all(isinstance(part, int) for part in parts)


def _are_equal(x: object, y: object) -> bool:
    return tuple(x) == tuple(y) if isinstance(x, Sequence) and isinstance(y, Sequence) else x == y


def _not_compiled(function: object = None, *_options: object, **_named: object) -> object:
    """Where nothing is compiled, what is not to be compiled stays as it is."""
    return NotImplemented if function is None else function


_THEMSELVES = (
    "expect_true", "guard_bool", "guard_int", "guard_or_false", "guard_or_true",
    "guard_size_oblivious", "guarding_hint_or_throw", "statically_known_true",
)  # fmt: skip
_SHAPES: Mapping[str, Answer] = {
    **dict.fromkeys(_THEMSELVES, _of_plain(lambda value, *_: value)),
    "sym_and": _of_plain(lambda *values: reduce(and_, values)),
    "sym_or": _of_plain(lambda *values: reduce(or_, values)),
    "sym_eq": _of_plain(_are_equal),
    "is_nested_int": _of_plain(lambda _: False),
    "has_guarding_hint": _of_plain(lambda _: True),
    "free_unbacked_symbols": _of_plain(lambda _: set()),
}
_FINDERS = (
    _Finder(
        "torch.fx.experimental.symbolic_shapes",
        {"torch.fx.experimental.symbolic_shapes": _SHAPES},
    ),
    _Finder(
        "torch._dynamo",
        {
            "torch._dynamo": {"disable": _not_compiled},
            "torch._dynamo.utils": {"is_compile_supported": lambda _: NotImplemented},
        },
    ),
)
