"""Merged branches in the modules of a model: what computes a branch makes way.

Where a module is no more than a sum of branches that all went into one of them, and children that
run one after the other, those are what is left of it: the convolution, then the children.
Elsewhere the user's forward adds the branches up, and one that went elsewhere adds zeros.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor, nn

from fieldwise.folding.layers import Layer, spans, strides
from fieldwise.folding.modules import REMEDY, Impossible, Modules
from fieldwise.folding.plan import Branch, Merge, Plan
from fieldwise.folding.refusal import Stays, listed
from fieldwise.folding.replace import Homes, has_weight_hook, inherit
from fieldwise.folding.wiring import GraphWiring


class Zeros(nn.Module):
    """What a convolution gives that another one took: zeros of its shape, without memory.

    channels: it makes; spans, steps: per axis, of its window and between its outputs
    dense:    in memory of their own, because someone writes to them

    >>> import torch
    >>> Zeros(8, spans=(3, 1), steps=(2, 1))(torch.ones(1, 4, 9, 9)).shape
    torch.Size([1, 8, 4, 9])
    """

    def __init__(
        self, channels: int, *, spans: tuple[int, ...], steps: tuple[int, ...], dense: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.spans, self.steps, self.dense = channels, spans, steps, dense

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """Zeros, in the dtype and on the device of the input."""
        axes = len(self.spans)
        sizes = [
            (size - span) // step + 1
            for size, span, step in zip(input.shape[-axes:], self.spans, self.steps, strict=True)
        ]
        shape = (*input.shape[: -axes - 1], self.channels, *sizes)
        return input.new_zeros(shape) if self.dense else input.new_zeros(()).expand(shape)


@dataclass(frozen=True, slots=True)
class EmptiedBlock:
    """A module of which a convolution is left, and then some children, by name."""

    path: str
    rest: tuple[str, ...]


class Branches:
    """The merges of a plan, and which modules they concern."""

    def __init__(self, modules: Modules, made: Plan) -> None:
        self.modules = modules
        self.graph = modules.graph
        self.wiring = GraphWiring(modules.graph)
        self.wiring.gone = {
            fold.candidate.number for fold in made.folds if not fold.candidate.forward_only
        }
        self.merges = [(merge, self._block(merge)) for merge in made.merges]

    # ---------------------------------------------------------------- what can be done

    def impossible(self) -> Iterator[Impossible]:
        """The branches that changing modules cannot merge."""
        for merge, block in self.merges:
            for branch in merge.branches:
                try:
                    self.modules.check_layer(merge.host)
                    if block is None:
                        self._check_silent(branch)
                except Stays as answer:
                    yield Impossible((branch.number, "merge"), f"{answer.because}; {REMEDY}")

    def _block(self, merge: Merge) -> EmptiedBlock | None:
        try:
            return self._checked_block(merge)
        except Stays:
            return None

    def _checked_block(self, merge: Merge) -> EmptiedBlock:
        """The module that the sum of branches is computed in, if that is what it does first.

        Raises Stays where it does more.
        """
        path = self.graph.nodes[merge.top].module
        inside = [n for n, node in enumerate(self.graph.nodes) if _is_in(node.module, path)]
        if not path or not merge.is_whole or merge.sign < 0:
            raise Stays(f"'{path}' adds something else")
        self._check_simple(path)
        self._check_first([n for n in inside if n <= merge.top], merge)
        rest = self._rest(path, merge.top, [n for n in inside if n > merge.top])
        first = self._host_path(path, merge.host)[0]
        if first in rest:
            raise Stays(f"'{path}' runs '{first}' before and after its sum")
        self._check_dropped(path, merge.host, rest)
        self._check_inner_values(path, inside)
        return EmptiedBlock(path, rest)

    def _check_simple(self, path: str) -> None:
        """A module runs once, on one tensor, and returns one."""
        runs = self.graph.scopes.get(path, ())
        parameters = inspect.signature(self.modules.by_path[path].forward).parameters
        if len(runs) != 1 or len(runs[0]) != 1 or len(parameters) != 1:
            raise Stays(f"'{path}' is not run once, on one value, for one value")

    def _check_first(self, numbers: list[int], merge: Merge) -> None:
        """Up to the sum nothing runs but the branches, and they read one value from outside."""
        layers = {one.layer.number for one in merge.branches if one.layer is not None}
        known = {merge.host.number, *layers, *merge.sums}
        for number in numbers:
            if number not in known and not self.wiring.is_copy(number):
                raise Stays(f"'{self.wiring.name(number)}' runs beside the branches")
            for operand in self.graph.nodes[number].operands:
                given = self.wiring.producer.get(operand) not in numbers
                if given and self.wiring.origin(operand) != merge.origin:
                    raise Stays(f"'{self.wiring.name(number)}' reads '{operand}'")

    def _rest(self, path: str, top: int, numbers: list[int]) -> tuple[str, ...]:
        """The children that run after a sum, each on what the one before returned."""
        value = self.graph.nodes[top].results[0]
        names: list[str] = []
        child_of = {n: self.graph.nodes[n].module[len(path) + 1 :].split(".")[0] for n in numbers}
        for name, group in groupby(numbers, key=lambda number: child_of[number]):
            run = list(group)
            read = {o for n in run for o in self.graph.nodes[n].operands}
            given = {o for o in read if self.wiring.producer.get(o) not in run}
            if any(self.wiring.origin(one) != self.wiring.origin(value) for one in given):
                raise Stays(f"'{self.wiring.name(run[0])}' reads more than the sum")
            if name:
                self._check_simple(f"{path}.{name}")
                names.append(name)
                value = self.graph.scopes[f"{path}.{name}"][0][0]
            elif not all(map(self.wiring.is_copy, run)):
                raise Stays(f"the forward of '{path}' does more than to add")
        if self.wiring.origin(self.graph.scopes[path][0][0]) != self.wiring.origin(value):
            raise Stays(f"'{path}' returns something else")
        if len(set(names)) < len(names):
            raise Stays(f"'{path}' runs a child twice")
        return tuple(names)

    def _host_path(self, path: str, host: Layer) -> list[str]:
        """The names that lead from a module to the one that runs the host alone."""
        where = host.node.module
        if where == path or self.modules.own[where] != [host.number]:
            raise Stays(f"'{where}' does more than to convolve")
        if self.modules.owner(host) != where:
            raise Stays(f"'{host.name}' has its weight elsewhere")
        return where[len(path) + 1 :].split(".")

    def _check_dropped(self, path: str, host: Layer, rest: tuple[str, ...]) -> None:
        """Nobody watches the modules that go."""
        kept = (host.node.module, *(f"{path}.{name}" for name in rest))
        for where, module in self.modules.by_path.items():
            gone = _is_in(where, path) and where != path
            if gone and not any(_is_in(where, one) for one in kept) and _has_hooks(module):
                raise Stays(f"'{where}' has hooks")

    def _check_inner_values(self, path: str, inside: list[int]) -> None:
        returned = self.graph.scopes[path][0][0]
        here = set(inside)
        for number in inside:
            for value in self.graph.nodes[number].results:
                others = set(self.wiring.readers[value]) - here
                if value != returned and (others or value in self.graph.outputs):
                    raise Stays(f"'{value}' is also read outside '{path}'")

    def _check_silent(self, branch: Branch) -> None:
        """A module can give zeros instead of the branch."""
        if branch.layer is None:
            raise Stays(f"the forward of '{branch.node.module}' adds '{branch.value}' itself")
        path = branch.node.module
        module = self.modules.by_path[path]
        if path == "" or self.modules.own[path] != [branch.number]:
            raise Stays(f"the forward of '{path}' does more than to convolve")
        if len(self.graph.scopes.get(path, ())) != 1 or has_weight_hook(module):
            raise Stays(f"'{path}' cannot make way for zeros")
        users = {
            n
            for name, _ in (*module.named_parameters(path), *module.named_buffers(path))
            for n in self.modules.users[name]
        }
        if others := sorted(users - {branch.number}):
            raise Stays(f"{listed([self.wiring.name(n) for n in others])} reads its weights too")

    # ---------------------------------------------------------------- doing it

    def whole(self) -> list[Merge]:
        """The merges whose sums are not computed any more."""
        return [merge for merge, block in self.merges if block is not None]

    def silent(self) -> dict[str, set[str]]:
        """The modules that are to give zeros, and those that only hand the zeros on."""
        return {
            branch.node.module: self._way(branch)
            for merge, block in self.merges
            if block is None
            for branch in merge.branches
        }

    def _way(self, branch: Branch) -> set[str]:
        """The modules between a convolution and the sum, once affine ops are gone."""
        modules, number = set(), self.wiring.producer[branch.value]
        while number != branch.number:
            modules.add(self.graph.nodes[number].module)
            number = self.wiring.producer[self.wiring.source(number)]
        return modules - {""} | {branch.node.module}

    def is_dropped(self, number: int) -> bool:
        """Whether a node runs in a module of which a convolution is left, before the sum."""
        where = self.graph.nodes[number].module
        return any(
            block is not None and number < merge.top and _is_in(where, block.path)
            for merge, block in self.merges
        )

    def carry_out(self, copy: nn.Module, homes: Homes, written: set[str]) -> None:
        """Change the copy, whose convolutions have their new weights already.

        written: the modules whose zeros are written to
        """
        for merge, block in self.merges:
            if block is not None:
                _shorten(copy, homes, block, merge.host.node.module)
                continue
            for branch in merge.branches:
                path = branch.node.module
                assert branch.layer is not None
                zeros = _zeros(branch.layer, dense=path in written)
                old = copy.get_submodule(path)
                inherit(zeros, old)
                homes.replace(old, zeros)


def _is_in(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _zeros(layer: Layer, *, dense: bool) -> Zeros:
    channels = int(layer.weight.shape[0])
    return Zeros(channels, spans=spans(layer), steps=strides(layer), dense=dense)


def _shorten(copy: nn.Module, homes: Homes, block: EmptiedBlock, host: str) -> None:
    """Leave of a module one convolution, under the names that it has, and what runs after it."""
    old, inner = copy.get_submodule(block.path), copy.get_submodule(host)
    first, *names = host[len(block.path) + 1 :].split(".")
    for name in reversed(names):
        inner = nn.Sequential(OrderedDict({name: inner}))
        inner.training = old.training
    rest = {name: old.get_submodule(name) for name in block.rest}
    left = nn.Sequential(OrderedDict({first: inner, **rest}))
    inherit(left, old)
    homes.replace(old, left)
