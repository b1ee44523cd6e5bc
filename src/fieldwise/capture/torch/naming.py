"""From numbered drafts to the named graph: values are called after the modules that made them.

A value that a module made and returned bears the module's path ('layer4.2.conv3'); another bears
the path of the innermost module and its op ('layer4.2/add').  Where a module ran more than once
its run is added ('relu#2'), likewise where one run makes several values of one op ('add#2').
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fieldwise.graph.ir import Call, Graph, Node, Read, Shape, Value


@dataclass(frozen=True, slots=True)
class Draft:
    """A node before its values have names."""

    op: str
    operands: tuple[int, ...]
    results: tuple[int, ...]
    reads: tuple[tuple[Read, ...], ...]
    module: str
    call: int
    parameters: tuple[str, ...]
    source: Call | None


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
) -> Graph:
    """The graph with every value named."""
    names = _names(drafts, inputs, scopes)
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
        )
        for draft in drafts
    )
    return Graph(
        inputs=tuple(name for name, _ in inputs),
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
        output_names=tuple(name for name, _ in outputs),
    )


def _names(
    drafts: Sequence[Draft],
    inputs: Sequence[tuple[str, int]],
    scopes: Mapping[str, Sequence[Scope]],
) -> dict[int, str]:
    names = {value: name for name, value in inputs}
    used = set(names.values())
    modules = {path for path in scopes if path}
    for draft in drafts:
        runs = scopes.get(draft.module, ())
        path = draft.module if len(runs) <= 1 else f"{draft.module}#{draft.call}"
        returned = runs[draft.call - 1].returned if draft.module and runs else ()
        for position, value in enumerate(draft.results):
            if len(returned) == 1 and returned[0] == value:
                stem = path
            else:
                stem = f"{path}/{draft.op}" if path or draft.op in modules else draft.op
                if len(draft.results) > 1:
                    stem = f"{stem}[{position}]"
            names[value] = _unused(stem, used)
    return names


def _unused(stem: str, used: set[str]) -> str:
    """The stem, or the first of 'stem#2', 'stem#3', … that no value has yet."""
    name, number = stem, 1
    while name in used:
        number += 1
        name = f"{stem}#{number}"
    used.add(name)
    return name
