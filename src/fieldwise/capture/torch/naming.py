"""From numbered drafts to the named graph: values are called after the modules that made them.

A value that a module made and returned bears the module's path ('layer4.2.conv3'); another bears
the path of the innermost module and its op ('layer4.2/add').  Where a module ran more than once
its run is added ('relu#2'), likewise where one run makes several values of one op ('add#2').
The path of a module is never another value's name: an op at the root that is called like one
becomes '/relu'.  Where a model has names of its own for its values (one that was read from a file),
they bear those, and what a node of it makes between them is a step of it ('/act/Gelu, step 1').
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Call, Node, Read, Shape, Value
from fieldwise.graph.names import step_name


class Draft(NamedTuple):
    """A node before its values have names."""

    op: str
    operands: tuple[int, ...]
    results: tuple[int, ...]
    reads: tuple[tuple[Read, ...], ...]
    module: str
    call: int
    parameters: tuple[str, ...]
    source: Call | None
    operator: str = ""


@dataclass(slots=True)
class Scope:
    """One run of a module: the values it returned."""

    returned: tuple[int, ...] = ()


def finish(
    drafts: Sequence[Draft],
    shapes: Sequence[Shape],
    dtypes: Sequence[str],
    inputs: Sequence[tuple[str, int]],
    outputs: Sequence[tuple[str, int]],
    scopes: Mapping[str, Sequence[Scope]],
    given: Mapping[int, str] | None = None,
) -> Graph:
    """The graph with every value named; ``given`` are the model's own names for some."""
    names = _names(drafts, inputs, scopes, given or {})
    nodes = tuple(
        Node(
            op=draft.op,
            operands=tuple(names[value] for value in draft.operands),
            results=tuple(names[value] for value in draft.results),
            reads=draft.reads,
            module=draft.module,
            call=draft.call,
            parameters=draft.parameters,
            source=draft.source,
            operator=draft.operator,
        )
        for draft in drafts
    )
    return Graph(
        inputs=tuple(names[value] for _, value in inputs),
        nodes=nodes,
        outputs=tuple(names[value] for _, value in outputs),
        values={name: Value(name, shapes[value], dtypes[value]) for value, name in names.items()},
        scopes={
            path: tuple(
                tuple(names[value] for value in run.returned if value in names) for run in runs
            )
            for path, runs in scopes.items()
            if path
        },
        output_names=tuple((given or {}).get(value, name) for name, value in outputs),
    )


def _names(
    drafts: Sequence[Draft],
    inputs: Sequence[tuple[str, int]],
    scopes: Mapping[str, Sequence[Scope]],
    given: Mapping[int, str],
) -> dict[int, str]:
    """A name per value; the names of modules are kept for what modules return."""
    modules = {spelled for path, runs in scopes.items() for spelled in _spellings(path, len(runs))}
    names, steps = dict(given), Counter[str]()
    taken = modules.union(given.values())
    for name, value in inputs:
        if value not in names:
            names[value] = _free(_at_root(name, modules), taken)
    for draft in drafts:
        runs = scopes.get(draft.module, ())
        path = spelling(draft.module, draft.call, len(runs))
        returned = runs[draft.call - 1].returned if draft.module and runs else ()
        for position, value in enumerate(draft.results):
            if value in given:
                continue
            if returned == (value,):
                names[value] = path
                continue
            if draft.operator:
                steps[path] += 1
                names[value] = _free(step_name(path, steps[path]), taken)
                continue
            part = f"[{position}]" if len(draft.results) > 1 else ""
            stem = f"{path}/{draft.op}" if path else _at_root(draft.op, modules)
            names[value] = _free(f"{stem}{part}", taken)
    return names


def _at_root(name: str, modules: Set[str]) -> str:
    return f"/{name}" if name in modules else name


def spelling(path: str, run: int, runs: int) -> str:
    """How a run of a module is called: with its number where there are several."""
    return path if runs <= 1 else f"{path}#{run}"


def _free(stem: str, taken: set[str]) -> str:
    """The stem, numbered from 2 where it is taken; taken from now on."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}#{number}"
    taken.add(name)
    return name


def _spellings(path: str, runs: int) -> list[str]:
    return [path, *(spelling(path, run, runs) for run in range(1, runs + 1))] if path else []
