"""An ONNX graph as a torch module: a child per node, a forward that goes through the nodes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.onnx import translate as _translate  # noqa: F401  (fills the registry)
from fieldwise.capture.onnx.file import OnnxFile
from fieldwise.capture.onnx.graph import OnnxGraph, OnnxNode, reads_of
from fieldwise.capture.onnx.missing import NotAnalysed, find_missing
from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.refusal import NeedsDataError
from fieldwise.capture.onnx.registry import Translation, find_refusal, find_translation
from fieldwise.capture.onnx.run import ConstantsLimit, OnnxRun
from fieldwise.capture.onnx.told import Told
from fieldwise.capture.onnx.values import is_known
from fieldwise.capture.torch.capture import capture
from fieldwise.capture.torch.exported.allowance import MAX_CONSTANT
from fieldwise.errors import FieldwiseError, NodeFailsError, UsageError, did_you_mean, said_by

_FAILURES = (
    ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What torch and a translation raise at a node that does not fit its inputs."""
_SIZE = re.compile(r"torch\.Size\((\[[\d, ]*\])\)")


class NodeModule(nn.Module):
    """A node: it runs its translation, and its subgraphs are its children."""

    def __init__(self, node: OnnxNode, translation: Translation) -> None:
        super().__init__()
        self.node = node
        self.translation = translation
        for name, value in node.attributes.items():
            if isinstance(value, OnnxGraph):
                self._modules[name] = SubgraphModule(value)

    def forward(self, *inputs: object, outer: Mapping[str, object], run: OnnxRun) -> Any:
        """The outputs, in order; ``outer`` holds what subgraphs read."""
        call = NodeCall(self.node, self._modules, outer, run)
        counting = nullcontext() if self._modules else run.counting(inputs)
        try:
            with counting:
                return self.translation.function(call, *inputs)
        except (NeedsDataError, FieldwiseError):
            raise
        except _FAILURES as error:
            said = _SIZE.sub(r"\1", said_by(error))
            raise NodeFailsError(f"{_capital(self.node)} fails: {said}.") from error

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "translation"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.translation = _translation(self.node)


class OnnxGraphModule(nn.Module):
    """A graph: its constants under their names, and a child per node."""

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        self.graph = graph
        found = [(node, _translation(node)) for node in graph.nodes]
        learned = {
            node.inputs[place]
            for node, translation in found
            for place in translation.learned
            if place < len(node.inputs)
        }
        for name, tensor in graph.constants.items():
            if name in learned and tensor.is_floating_point():
                self._parameters[name] = nn.Parameter(tensor, requires_grad=False)
            else:
                self._buffers[name] = tensor
        for node, translation in found:
            self._modules[node.name] = NodeModule(node, translation)
        self._last_use = _last_uses(graph)

    def constants(self) -> dict[str, object]:
        """The values that stand in the file."""
        return {**self._parameters, **self._buffers}

    def run(
        self, values: dict[str, object], run: OnnxRun, *, keep: bool = False
    ) -> dict[str, object]:
        """All values of one run, or, unless they are to be kept, those that outputs need."""
        values.update(self.constants())
        for number, node in enumerate(self.graph.nodes):
            made = self._run_node(node, values, run)
            values.update(
                (name, one) for name, one in zip(node.outputs, made, strict=False) if name
            )
            if not keep:
                for name in self._last_use[number]:
                    values.pop(name, None)
        return values

    def _node(self, name: str) -> nn.Module:
        found = self._modules[name]
        assert found is not None
        return found

    def _run_node(
        self, node: OnnxNode, values: Mapping[str, object], run: OnnxRun
    ) -> Sequence[object]:
        missing = find_missing(values[name] for name in reads_of(node))
        if missing is not None:
            return (missing,) * len(node.outputs)
        if run.limit is not None:
            run.limit.count_node()
        inputs = [values[name] if name else None for name in node.inputs]
        outer = {name: values[name] for name in node.captures}
        try:
            made = self._node(node.name)(*inputs, outer=outer, run=run)
        except NeedsDataError as error:
            return (NotAnalysed(node, str(error)),) * len(node.outputs)
        found = made if isinstance(made, tuple) else (made,)
        for name in node.outputs[len(found) :]:
            if name:
                raise UsageError(f"{_capital(node)} fails: it has no output for '{name}'.")
        return found


class SubgraphModule(OnnxGraphModule):
    """A graph within a node of control flow."""

    def forward(
        self, inputs: Sequence[object], outer: Mapping[str, object], run: OnnxRun
    ) -> list[object]:
        """The outputs of a subgraph, given its inputs and what it reads of the graph around it."""
        values = dict(outer)
        values.update(zip((one.name for one in self.graph.inputs), inputs, strict=False))
        values = self.run(values, run)
        return [values[name] for name in self.graph.outputs]


class OnnxModule(OnnxGraphModule):
    """An ONNX model as a module: inputs in the order of the file, or by name.

    Parameters, buffers and children bear the names of the file: those of its initialisers and
    nodes.  An output that cannot be told without data is left out while a run is recorded, and in
    runs that stand beside one (see ``analysed``).
    """

    def __init__(self, file: OnnxFile, max_constant: int = MAX_CONSTANT) -> None:
        super().__init__(file.graph)
        self.file = file
        self.max_constant = max_constant
        self.name = str(file.path)
        self._noted: dict[str, object] | None = None
        self._told = Told(file.graph.outputs)
        self._tells = False

    @contextmanager
    def analysed(self) -> Iterator[None]:
        """Inside, a run returns what a recorded run returns, and not what only data decide."""
        before, self._tells = self._tells, True
        try:
            yield
        finally:
            self._tells = before

    def _working(self, values: Mapping[str, object]) -> torch.dtype:
        """The precision in which it works: what has become of FLOAT in the file."""
        single = torch.float32
        constants = self.constants()
        named = {n: constants[n] for n, one in self.graph.constants.items() if one.dtype == single}
        named |= {one.name: values[one.name] for one in self.graph.inputs if one.dtype == single}
        return next((one.dtype for one in named.values() if isinstance(one, Tensor)), single)

    def forward(self, *args: object, **kwargs: object) -> object:
        """The outputs: one tensor, or a tuple in the order of the file."""
        given = self._given(args, kwargs)
        if not all(is_known(one) for one in given.values()):
            self._noted = self._values(given, recorded=True)
            names = self._answers(self._noted)
            self._told.note(given, names)
            return _returned(self._noted, names)
        names = self._told_of(given) if self._tells else tuple(self.graph.outputs)
        inner = not set(names) <= set(self.graph.outputs)
        return _returned(self._values(given, keep=inner), names)

    def _values(
        self, given: Mapping[str, object], *, recorded: bool = False, keep: bool = False
    ) -> dict[str, object]:
        """All values of a run that is recorded, or of which all are to be kept."""
        limit = ConstantsLimit(self.name, self.max_constant) if recorded else None
        try:
            run = OnnxRun(self._working(given), limit)
            return self.run(dict(given), run, keep=recorded or keep)
        except UsageError as error:
            raise self._explained(error, given) from error

    def _told_of(self, given: Mapping[str, object]) -> tuple[str, ...]:
        """What a recorded run on inputs of these shapes returns, by name."""
        found = self._told.find(given)
        if found is None:
            empty = {n: x.to("meta") if isinstance(x, Tensor) else x for n, x in given.items()}
            with suppress(FieldwiseError):
                capture(self, empty)
            found = self._told.find(given)
        return found or tuple(self.graph.outputs)

    def _explained(self, error: UsageError, values: Mapping[str, object]) -> UsageError:
        """The error of a node, with what was given where that is not what the file says."""
        for one in self.graph.inputs:
            given = values[one.name]
            if isinstance(given, Tensor) and not one.takes(given.shape):
                return NodeFailsError(
                    f"{str(error).rstrip('.')}; the file says that its input '{one.name}' is "
                    f"{one}, and it was given {'x'.join(map(str, given.shape))}."
                )
        return error

    def _answers(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """The outputs that can be told, and where some cannot, how far the analysis came."""
        names = tuple(n for n in self.graph.outputs if not isinstance(values[n], NotAnalysed))
        return names if len(names) == len(self.graph.outputs) else (*names, *self._frontier(values))

    def _frontier(self, values: Mapping[str, object]) -> list[str]:
        """What nodes that cannot be told read: as far as the analysis came."""
        found = dict.fromkeys(
            name
            for node in self.graph.nodes
            if any(isinstance(values.get(one), NotAnalysed) for one in node.outputs)
            for name in reads_of(node)
            if isinstance(values[name], Tensor) and name not in self.graph.outputs
        )
        return [name for name in found if not is_known(values[name])]

    def _given(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        names = [one.name for one in self.graph.inputs]
        if len(args) > len(names):
            raise UsageError(f"{self.name!r} takes {len(names)} inputs, not {len(args)}")
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names:
                remedy = did_you_mean(name, names, otherwise=f"it has {', '.join(names)}.")
                raise UsageError(f"{self.name!r} has no input {name!r}; {remedy}")
            given[name] = value
        missing = [name for name in names if name not in given]
        if missing:
            raise UsageError(f"{self.name!r} needs its input {missing[0]!r}")
        return given

    @property
    def input_dtypes(self) -> tuple[torch.dtype, ...]:
        """The types of the tensors that it takes."""
        return tuple(one.dtype for one in self.graph.inputs)

    def given_values(self) -> dict[str, Any]:
        """The inputs of the file that were set to values, as arrays."""
        graph, constants = self.file.proto.graph, self.graph.constants
        there = {one.name for one in graph.initializer}
        there |= {one.values.name for one in graph.sparse_initializer}
        names = [one.name for one in graph.input if one.name not in there]
        return {name: constants[name].numpy() for name in names if name in constants}

    # ---------------------------------------------------------------- names

    def noted_values(self) -> dict[str, Tensor]:
        """After a recorded run: the tensors by the names of their values in the file."""
        noted = self._noted or {}
        order = dict.fromkeys((*self.graph.outputs, *noted))
        return {name: noted[name] for name in order if isinstance(noted.get(name), Tensor)}  # type: ignore[misc]

    def lost_values(self) -> dict[str, str]:
        """After a recorded run: the values behind what cannot be told without data, and why."""
        return {
            n: str(one) for n, one in (self._noted or {}).items() if isinstance(one, NotAnalysed)
        }

    def operators(self) -> dict[str, str]:
        """What the file calls the op of each node, by the path of its module."""
        return {
            path: module.node.kind
            for path, module in self.named_modules()
            if isinstance(module, NodeModule)
        }

    def learned(self) -> dict[str, list[Tensor]]:
        """The parameters that each node reads, by the path of its module."""
        own = dict(self.named_parameters())
        return {
            path: [own[name] for name in module.node.inputs if name in own]
            for path, module in self.named_modules()
            if isinstance(module, NodeModule)
        }

    def get_submodule(self, target: str) -> nn.Module:
        """A child by its path, in which a node's name may hold dots."""
        found = _found(self, target)
        return super().get_submodule(target) if found is None else found


def _returned(values: Mapping[str, object], names: Sequence[str]) -> object:
    return values[names[0]] if len(names) == 1 else tuple(values[name] for name in names)


def _found(module: nn.Module, path: str) -> nn.Module | None:
    if not path:
        return module
    for name, child in module._modules.items():
        if child is not None and path == name:
            return child
    for name, child in module._modules.items():
        if child is not None and child._modules and path.startswith(f"{name}."):
            found = _found(child, path[len(name) + 1 :])
            if found is not None:
                return found
    return None


def _translation(node: OnnxNode) -> Translation:
    found = find_translation(node.domain, node.op, node.version)
    if found is None:
        why = find_refusal(node.domain, node.op)
        if why is not None:
            raise UsageError(f"The {node} is not supported: {why}.")
        domain = f" of the domain {node.domain!r}" if node.domain else f" at version {node.version}"
        raise UsageError(
            f"{node.op}{domain} is not supported (node '{node.name}'); docs/onnx_ops.md lists what "
            "is."
        )
    return found


def _last_uses(graph: OnnxGraph) -> list[list[str]]:
    """Per node the values that nothing behind it reads."""
    uses: Counter[str] = Counter()
    drops: list[list[str]] = []
    for node in reversed(graph.nodes):
        names = [*reads_of(node), *(one for one in node.outputs if one)]
        drops.append([n for n in dict.fromkeys(names) if not uses[n] and n not in graph.outputs])
        uses.update(names)
    return drops[::-1]


def _capital(node: OnnxNode) -> str:
    text = str(node)
    return text[0].upper() + text[1:]
