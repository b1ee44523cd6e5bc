"""Addressing values: by their own name, or by the module that returned them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import chain, count

from fieldwise.errors import UsageError, did_you_mean
from fieldwise.graph.graph import Graph


def distinct(names: Iterable[str]) -> Iterator[str]:
    """The names, each as it is, or with '#2', '#3' … behind it where it was met before.

    >>> list(distinct(["a.b", "a", "a.b"]))
    ['a.b', 'a', 'a.b#2']
    """
    taken: set[str] = set()
    for name in names:
        numbered = (f"{name}#{number}" for number in count(2))
        chosen = next(spelled for spelled in chain((name,), numbered) if spelled not in taken)
        taken.add(chosen)
        yield chosen


_STEP = ", step "


def step_name(node: str, number: int) -> str:
    """What a value within a node of a file is called, for which the file has no name."""
    return f"{node}{_STEP}{number}"


def called(graph: Graph, value: str) -> str:
    """What a sentence calls a value: where it is a step within a node of a file, that node.

    >>> called(Graph((), (), (), {}, spelled={}), step_name("/act/Gelu", 2))
    '/act/Gelu'
    """
    if graph.spelled is None or value in graph.spelled:
        return value
    return value.rpartition(_STEP)[0] or value


def aliases(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Per value, what else stands for it: module paths ('relu#2' for a second run), output keys.

    Of a model from a file, in which values have names, what else the file calls them.
    """
    return names_by_module(graph) if graph.spelled is None else dict(graph.spelled)


def names_by_module(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Per value, the modules that returned it ('relu#2' for a second run), then output keys."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, runs in graph.scopes.items():
        for number, returned in enumerate(runs, 1):
            spelled = path if len(runs) == 1 else f"{path}#{number}"
            for position, value in enumerate(returned):
                name = spelled if len(returned) == 1 else f"{spelled}[{position}]"
                if name != value:
                    found[value].append(name)
    taken = {name for names in found.values() for name in names} | set(graph.values)
    for key, value in zip(graph.output_names, graph.outputs, strict=False):
        if key not in taken and not key.isdecimal():
            found[value].append(key)
    return {value: tuple(names) for value, names in found.items()}


def resolve(graph: Graph, name: str) -> str:
    """The value that a name stands for.

    Raises UsageError for an unknown name (with close ones), and for the path of a module that
    ran several times or returned several values (with the names that say which).
    """
    if name in graph.values:
        return name
    spelled = (*names_by_module(graph).items(), *aliases(graph).items())
    by_alias = {alias: value for value, names in spelled for alias in names}
    if name in by_alias:
        return by_alias[name]
    if name in graph.scopes:
        raise UsageError(_ambiguous(graph, name))
    known = [*graph.values, *by_alias]
    remedy = did_you_mean(name, known, otherwise="the report lists every name.")
    raise UsageError(f"No value or {graph.part} is called '{name}'; {remedy}")


def listed_globs(globs: str | Sequence[str]) -> Sequence[str]:
    """Globs, of which a single one may be given as it is.

    >>> listed_globs("layer*"), listed_globs(["conv1", "fc"])
    (('layer*',), ['conv1', 'fc'])
    """
    return (globs,) if isinstance(globs, str) else globs


def matching(graph: Graph, globs: str | Sequence[str]) -> tuple[str, ...]:
    """The values whose name, or one of whose module paths, matches a glob; in order.

    Raises UsageError for a glob that matches nothing.
    """
    return tuple(matched(graph, globs))


def matched(graph: Graph, globs: str | Sequence[str]) -> dict[str, str]:
    """What ``matching`` finds, with the name by which each value was asked for, as far as one was.

    Of several names that match, the value's own is taken.  What is a name is no pattern: names of
    an ONNX file may hold brackets and stars.
    """
    spelled = names(graph)
    chosen: dict[str, str] = {}
    for glob in listed_globs(globs):
        found = _first_names(spelled, glob, _is_called) or _first_names(spelled, glob, fnmatchcase)
        chosen = (found or {resolve(graph, glob): glob}) | chosen
    return {value: chosen[value] for value in graph.values if value in chosen}


def names(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Per value, all that stands for it, its own name first."""
    spelled, modules = aliases(graph), names_by_module(graph)
    return {
        value: (value, *dict.fromkeys((*spelled.get(value, ()), *modules.get(value, ()))))
        for value in graph.values
    }


def _first_names(
    spelled: Mapping[str, Sequence[str]], glob: str, fits: Callable[[str, str], bool]
) -> dict[str, str]:
    """Per value that has one, the first of its names that fits a glob."""
    found = (
        (value, next((name for name in known if fits(name, glob)), None))
        for value, known in spelled.items()
    )
    return {value: name for value, name in found if name is not None}


def _is_called(name: str, asked: str) -> bool:
    """Whether it is this name, or that of one run of a module of this name."""
    return asked in (name, name.split("#")[0])


def _ambiguous(graph: Graph, path: str) -> str:
    runs, part = graph.scopes[path], graph.part.capitalize()
    if len(runs) > 1:
        return (
            f"{part} '{path}' ran {len(runs)} times; "
            f"ask for {_listed([f'{path}#{k}' for k in range(1, len(runs) + 1)][:4])}."
        )
    if not runs or not runs[0]:
        return f"{part} '{path}' returned nothing that depends on the input."
    return (
        f"{part} '{path}' returned {len(runs[0])} values; "
        f"ask for {_listed([f'{path}[{k}]' for k in range(len(runs[0]))][:4])}."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
