"""Steps grouped by the modules that ran them: what each run takes, gives, and may forget when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fieldwise.capture.torch.exported.steps import (
    ExportedProgram,
    ExportedStep,
    MadeValue,
    ResultNames,
    Template,
)
from fieldwise.capture.torch.overloads import describe


@dataclass(frozen=True, slots=True)
class ModuleBlock:
    """One run of a module.

    inputs:  names of the values that it is given, in the order of their first use
    outputs: names of the values that it makes and that are used after it
    """

    items: tuple[BlockItem, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlockItem:
    """A step, or the run of a module within this one; ``drops`` are not used after it.

    constant: whether a step makes something of constants alone
    """

    work: ExportedStep | ModuleCall
    drops: tuple[str, ...]
    constant: bool = False


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """A run of the module with this path."""

    path: str
    block: ModuleBlock


def blocks_of(program: ExportedProgram) -> ModuleBlock:
    """The program's steps as a run of its root."""
    return _Grouping(program).block(0, len(program.steps), 1)


class _Grouping:
    """Where each value is made and used last, counted in steps."""

    def __init__(self, program: ExportedProgram) -> None:
        self._steps = program.steps
        self._derived = _derived(program)
        self._made = {one.name: -1 for one in program.inputs}
        self._last = dict.fromkeys(self._made, -1)
        for number, step in enumerate(program.steps):
            self._last.update(dict.fromkeys(uses(step), number))
            for name in names_in(step.results):
                self._made[name] = self._last[name] = number
        kept = [*program.outputs, *(part for pair in program.mutations for part in pair)]
        self._last.update(dict.fromkeys(_made_in(kept), len(program.steps)))
        self._dying: list[list[str]] = [[] for _ in range(len(program.steps) + 1)]
        for name, number in self._last.items():
            self._dying[number].append(name)

    def block(self, start: int, end: int, depth: int) -> ModuleBlock:
        """The run of these steps, which lie within ``depth`` modules."""
        steps = self._steps[start:end]
        used = dict.fromkeys(name for step in steps for name in uses(step))
        inputs = tuple(name for name in used if self._made[name] < start)
        made = [name for step in steps for name in names_in(step.results)]
        outputs = tuple(name for name in made if self._last[name] >= end)
        items, present = [], set(inputs)
        while start < end:
            work, after = self._work(start, end, depth)
            given = work.block.outputs if isinstance(work, ModuleCall) else names_in(work.results)
            present.update(given)
            dying = (name for step in range(start, after) for name in self._dying[step])
            drops = tuple(name for name in dying if name in present)
            present.difference_update(drops)
            constant = isinstance(work, ExportedStep) and start not in self._derived
            items.append(BlockItem(work, drops, constant))
            start = after
        return ModuleBlock(tuple(items), inputs, outputs)

    def _work(self, start: int, end: int, depth: int) -> tuple[ExportedStep | ModuleCall, int]:
        """A step, or the run of a module that starts with it; and the number of the next step."""
        stack = self._steps[start].stack[: depth + 1]
        if len(stack) <= depth:
            return self._steps[start], start + 1
        after = start
        while after < end and self._steps[after].stack[: depth + 1] == stack:
            after += 1
        return ModuleCall(stack[-1][1], self.block(start, after, depth + 1)), after


def uses(step: ExportedStep) -> Iterator[str]:
    """The names of the values that a step is given."""
    return _made_in([*step.args, *step.kwargs.values()])


def names_in(results: ResultNames) -> Iterator[str]:
    """The names of what a step gives."""
    if isinstance(results, str):
        yield results
    elif results is not None:
        for part in results:
            yield from names_in(part)


def _made_in(templates: Iterable[Template]) -> Iterator[str]:
    for template in templates:
        if isinstance(template, MadeValue):
            yield template.name
        elif isinstance(template, list):
            yield from _made_in(template)


def _derived(program: ExportedProgram) -> set[int]:
    """The steps that are given a tensor that derives from an input."""
    names = {one.name for one in program.inputs if one.sizes is not None}
    found = set()
    for number, step in enumerate(program.steps):
        func = step.operator.overload
        if func is None:
            continue
        lends = describe(func).lends
        schema = zip(func._schema.arguments, step.args, strict=False)
        read = [value for argument, value in schema if argument.name not in lends]
        read += [value for name, value in step.kwargs.items() if name not in lends]
        if not names.isdisjoint(_made_in(read)):
            found.add(number)
            if any("Tensor" in str(result.type) for result in func._schema.returns):
                names.update(names_in(step.results))
    return found
