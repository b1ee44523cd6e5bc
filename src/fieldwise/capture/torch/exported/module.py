"""A program as a module: submodules by their old paths, a forward that goes through the steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fieldwise.capture.torch.exported.allowance import (
    Allowance,
    UnknownSizeError,
    check_count,
    on_meta,
    twin,
)
from fieldwise.capture.torch.exported.blocks import BlockItem, ModuleBlock, blocks_of
from fieldwise.capture.torch.exported.graph import MOST_DOTS
from fieldwise.capture.torch.exported.refusal import malformed, too_large
from fieldwise.capture.torch.exported.steps import (
    ExportedProgram,
    ExportedState,
    ExportedStep,
    MadeValue,
    ResultNames,
)
from fieldwise.capture.torch.overloads import map_arguments, tensors_of
from fieldwise.capture.torch.results import run_on_meta
from fieldwise.errors import NodeFailsError, UsageError
from fieldwise.graph.ir import Args, Kwargs
from fieldwise.written import counted

_MOST_MODULES = 20_000
_GROWTH = 1024  # from inputs and weights to a value
META = torch.device("meta")


class Part(nn.Module):
    """A module of an exported program: its parameters and buffers, and the runs it is told."""

    def forward(self, *inputs: object, block: ModuleBlock, run: ExportedRun) -> object:
        """One run, given by its parent; what it makes and others use."""
        values = dict(zip(block.inputs, inputs, strict=True))
        run.through(block, values)
        outputs = tuple(values[name] for name in block.outputs)
        return outputs[0] if len(outputs) == 1 else outputs


@dataclass(frozen=True, slots=True)
class Exported:
    """What an exported module carries out.

    name:    of the file, for errors
    limit:   of the constants that a run makes, in bytes
    largest: of a value that derives from the inputs as they were exported, in bytes
    """

    name: str
    program: ExportedProgram
    block: ModuleBlock
    limit: int
    largest: int

    def __deepcopy__(self, memo: dict[int, object]) -> Exported:
        return self


class ExportedModule(Part):
    """An exported program as a module.

    It takes inputs nested as they were exported, or one after the other.  Raises NodeFailsError
    for sizes that it was not exported for, UsageError where its constants are too large.
    """

    def __init__(self, exported: Exported) -> None:
        super().__init__()
        self._exported = exported

    def forward(self, *args: object, **kwargs: object) -> object:
        """What the program computes, nested as it was exported."""
        inputs = self._given(args, kwargs)
        self._check_sizes(inputs)
        names = (one.name for one in self._exported.program.inputs)
        return self._computed(ExportedRun(self), dict(zip(names, inputs, strict=True)))

    @property
    def input_dtypes(self) -> tuple[torch.dtype, ...]:
        """The types of the tensors that it takes."""
        return tuple(one.dtype for one in self._exported.program.inputs if one.dtype is not None)

    def _rehearse(self) -> None:
        """Run it without data, at the sizes it was exported with, to know early what it asks for.

        Raises UsageError for constants that are too large.  Whatever else goes wrong, and sizes
        that values decide, are told when the program is run, by whoever runs it.
        """
        inputs = {
            one.name: one.usual
            if one.sizes is None
            else torch.empty(one.usual, dtype=one.dtype, device=META)
            for one in self._exported.program.inputs
        }
        try:
            with torch.no_grad():
                self._computed(_Rehearsal(self), inputs)
        except Exception as error:
            if isinstance(error, UsageError) and not isinstance(error, UnknownSizeError):
                raise

    def _computed(self, run: ExportedRun, values: dict[str, object]) -> object:
        program = self._exported.program
        run.through(self._exported.block, values)
        for target, value in program.mutations:
            run.write(run.value(target, values), run.value(value, values))
        return program.returns.nested([run.value(one, values) for one in program.outputs])

    def _given(self, args: Args, kwargs: Kwargs) -> list[object]:
        """The leaves of the inputs; what stands in the file may be left out."""
        program = self._exported.program
        leaves = program.takes.leaves((args, dict(kwargs)))
        if leaves is not None:
            return leaves
        given = list(_flat((args, dict(kwargs))))
        wanted = [one for one in program.inputs if one.sizes is not None]
        if len(given) != len(wanted):
            raise ValueError(f"{self._exported.name!r} takes {counted(len(wanted), 'input')}")
        tensors = iter(given)
        return [one.usual if one.sizes is None else next(tensors) for one in program.inputs]

    def _check_sizes(self, inputs: list[Any]) -> None:
        """Raise NodeFailsError for a tensor that the program was not exported for."""
        wanted = zip(self._exported.program.inputs, inputs, strict=True)
        tensors = [(one.sizes, given) for one, given in wanted if one.sizes is not None]
        known: dict[str, int] = {}
        for sizes, tensor in tensors:
            if not isinstance(tensor, Tensor) or tensor.dim() != len(sizes):
                raise self._unfit(tensor, f"a tensor of {len(sizes)} dimensions")
            for size, actual in zip(sizes, tensor.shape, strict=True):
                if size.name:
                    known.setdefault(size.name, actual)
        for sizes, tensor in tensors:
            for dim, (size, actual) in enumerate(zip(sizes, tensor.shape, strict=True)):
                if size.at(known) not in (None, actual):
                    raise self._unfit(tensor, f"size {size.at(known)} along axis {dim}")
                low, high = self._exported.program.ranges.get(size.name or "", (None, None))
                if (low is not None and actual < low) or (high is not None and actual > high):
                    raise self._unfit(tensor, f"sizes {low} to {high} along axis {dim}")

    def _unfit(self, given: object, wanted: str) -> NodeFailsError:
        told = (
            "x".join(map(str, given.shape)) if isinstance(given, Tensor) else type(given).__name__
        )
        name = self._exported.name
        return NodeFailsError(
            f"{name!r} was exported for {wanted}, not for {told}; give an input of such a shape "
            "(--input), or export it again with dynamic_shapes."
        )


class ExportedRun:
    """One run of a program: what its steps are given, and what they may still allocate."""

    def __init__(self, module: ExportedModule) -> None:
        self.module = module
        self.name = module._exported.name
        self.allowance = Allowance(self.name, module._exported.limit)

    def through(self, block: ModuleBlock, values: dict[str, object]) -> None:
        """All steps of a block; ``values`` are those that it is given, and becomes what is left."""
        for item in block.items:
            work = item.work
            if isinstance(work, ExportedStep):
                _bind(work.results, self.step(work, item, values), values)
            else:
                inputs = [values[name] for name in work.block.inputs]
                part = self.module.get_submodule(work.path)
                made = part(*inputs, block=work.block, run=self)
                outputs = work.block.outputs
                values.update(zip(outputs, (made,) if len(outputs) == 1 else made, strict=True))
            for name in item.drops:
                del values[name]

    def step(self, step: ExportedStep, item: BlockItem, values: Mapping[str, object]) -> object:
        """What one step gives."""
        args = tuple(self.value(one, values) for one in step.args)
        kwargs = {name: self.value(one, values) for name, one in step.kwargs.items()}
        func = step.operator.overload
        if func is None:
            return step.operator.function(*args)
        check_count(func, args, kwargs, self.name)
        if item.constant:
            self.allowance.charge(func, args, kwargs)
        if not step.casts:
            return self.call(func, args, kwargs)
        with ExitStack() as stack:
            for cast in step.casts:
                region = torch.autocast(cast.device, cast.dtype, cast.enabled, cache_enabled=False)
                stack.enter_context(region)
            return self.call(func, args, kwargs)

    def call(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """Call an operator."""
        return func(*args, **kwargs)

    def write(self, target: Any, value: object) -> None:
        """What the program leaves in a buffer."""
        target.copy_(value)

    def value(self, template: object, values: Mapping[str, object]) -> object:
        """What a template stands for."""
        if isinstance(template, MadeValue):
            return values[template.name]
        if isinstance(template, ExportedState):
            owner, _, name = template.path.rpartition(".")
            return getattr(self.module.get_submodule(owner), name)
        if isinstance(template, list):
            return [self.value(one, values) for one in template]
        return template


class _Rehearsal(ExportedRun):
    """A run on the meta device, of constants too."""

    def call(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """Call an operator where nothing is allocated."""
        args, kwargs = map_arguments(twin, args, on_meta(func, kwargs))
        made = run_on_meta(func, args, kwargs)
        for tensor in tensors_of((made,)):
            nbytes = tensor.numel() * tensor.element_size()
            if nbytes > self.module._exported.largest:
                raise UsageError(
                    f"{self.name!r} makes a value of {nbytes:,} bytes ({func}) from much smaller "
                    "inputs and weights; raise --max-constant if you trust it."
                )
        return made

    def write(self, target: object, value: object) -> None:
        """Nothing is written."""


def _bind(results: ResultNames, made: Any, values: dict[str, object]) -> None:
    if isinstance(results, str):
        values[results] = made
    elif results is not None:
        for part, one in zip(results, made, strict=True):
            _bind(part, one, values)


def _flat(tree: object) -> Iterator[object]:
    if isinstance(tree, Mapping):
        tree = tree.values()
    elif not isinstance(tree, list | tuple):
        yield tree
        return
    for part in tree:
        yield from _flat(part)


# -------------------------------------------------------------------- building it


def build(
    name: str,
    program: ExportedProgram,
    weights: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
    limit: int,
) -> ExportedModule:
    """The module of a program, its tensors by their paths; see ``Exported``.

    Raises UnreadableError for paths that cannot be those of modules and tensors, and where a
    tensor is missing.
    """
    given = sum(t.untyped_storage().nbytes() for t in (*weights.values(), *constants.values()))
    given += sum(math.prod(one.usual) * one.dtype.itemsize for one in program.inputs if one.dtype)
    largest = max(limit, _GROWTH * given)
    module = ExportedModule(Exported(name, program, blocks_of(program), limit, largest))
    paths = dict.fromkeys(program.modules)
    paths.update(dict.fromkeys(path for step in program.steps for _, path in step.stack))
    parts: dict[str, nn.Module] = {"": module}
    for path in paths:
        _part(parts, path)
    for path, tensor in (*weights.items(), *constants.items()):
        owner, _, attribute = path.rpartition(".")
        place = _part(parts, owner)
        if not attribute or hasattr(place, attribute):
            raise malformed(f"a tensor is called {path[:60]!r}")
        if isinstance(tensor, nn.Parameter):
            place.register_parameter(attribute, tensor)
        elif path not in weights and path not in program.buffers:
            setattr(place, attribute, tensor)
        else:
            place.register_buffer(attribute, tensor, persistent=path in weights)
    missing = [path for path in _states(program) if path not in weights and path not in constants]
    if missing:
        raise malformed(f"the tensor {missing[0][:60]!r} is missing")
    return module


def _part(parts: dict[str, nn.Module], path: str) -> nn.Module:
    """The module with this path, made with those around it where there is none."""
    if path in parts:
        return parts[path]
    owner, _, child = path.rpartition(".")
    if path.count(".") > MOST_DOTS or len(parts) > _MOST_MODULES:
        raise too_large("it has too many modules", "export a smaller model.")
    place = _part(parts, owner)
    if not child or hasattr(place, child):
        raise malformed(f"a module is called {path[:60]!r}")
    parts[path] = Part()
    place.add_module(child, parts[path])
    return parts[path]


def _states(program: ExportedProgram) -> Iterator[str]:
    waiting: list[object] = [
        *program.outputs,
        *(part for pair in program.mutations for part in pair),
    ]
    for step in program.steps:
        waiting += [*step.args, *step.kwargs.values()]
    while waiting:
        template = waiting.pop()
        if isinstance(template, ExportedState):
            yield template.path
        elif isinstance(template, list):
            waiting += template
