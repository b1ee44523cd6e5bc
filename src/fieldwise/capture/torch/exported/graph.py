"""The nodes of a graph as steps; regions within it become steps of the same list."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from fieldwise.capture.torch.exported.arguments import (
    SMALLER,
    inner_name,
    read_argument,
    value_name,
)
from fieldwise.capture.torch.exported.fields import Field
from fieldwise.capture.torch.exported.operators import Operator, find_operator
from fieldwise.capture.torch.exported.refusal import malformed, too_large
from fieldwise.capture.torch.exported.steps import (
    Autocast,
    ExportedStep,
    MadeValue,
    ResultNames,
    RunningModule,
    Template,
)

MOST_DOTS = 60
_MOST_STEPS, _MOST_VALUES, _DEEPEST = 30_000, 200_000, 8


class GraphReader:
    """Reads graphs into one list of steps; what is nested in them becomes steps of its own."""

    def __init__(self) -> None:
        self.steps: list[ExportedStep] = []
        self.scope: dict[str, Template] = {}
        self._names = 0

    def name(self, text: str) -> str:
        """A name for a value, which no other has."""
        self._names += 1
        if self._names > _MOST_VALUES:
            raise too_large(f"it makes more than {_MOST_VALUES:,} values", SMALLER)
        return f"{text}'{self._names}"

    def define(self, name: str, value: Template) -> None:
        """What a name of the file stands for from now on."""
        if name in self.scope:
            raise malformed(f"{name[:60]!r} is made twice")
        self.scope[name] = value

    def make(self, name: str) -> str:
        """A fresh value under a name of the file; its own name."""
        fresh = self.name(name)
        self.define(name, MadeValue(fresh))
        return fresh

    def read(self, graph: Field, casts: tuple[Autocast, ...], depth: int) -> None:
        """The steps of a graph, after those that have been read."""
        if depth > _DEEPEST:
            raise too_large("its graphs are nested too deeply", SMALLER)
        nodes = list(graph["nodes"].items())
        if len(self.steps) + len(nodes) > _MOST_STEPS:
            raise too_large(f"it has more than {_MOST_STEPS:,} steps", SMALLER)
        for node in nodes:
            target = node["target"].text()
            if target in _REGIONS:
                self._region(node, target, casts, depth)
                continue
            operator = find_operator(target)
            if operator.ignored:
                continue
            args, kwargs = self._call(operator, node)
            results = _results(node["outputs"], self.make)
            self.steps.append(ExportedStep(operator, args, kwargs, results, _stack(node), casts))

    def _call(
        self, operator: Operator, node: Field
    ) -> tuple[tuple[Template, ...], dict[str, Template]]:
        given = [(one["name"].text(), one["arg"]) for one in node["inputs"].items()]
        values = [(name, read_argument(argument, self.scope)) for name, argument in given]
        if operator.overload is None:
            return tuple(value for _, value in values), {}
        return _bound(operator.overload, values)

    def _region(self, node: Field, target: str, casts: tuple[Autocast, ...], depth: int) -> None:
        """Steps under a setting of torch: gradients, which nobody asks for here, or autocast."""
        arguments = [one["arg"] for one in node["inputs"].items()]
        place = next((n for n, one in enumerate(arguments) if "as_graph" in one.value), None)
        if place is None:
            raise malformed(f"{node.where} has no graph")
        settings = [read_argument(one, self.scope) for one in arguments[:place]]
        operands = [read_argument(one, self.scope) for one in arguments[place + 1 :]]
        inner = arguments[place]["as_graph"]["graph"]
        outer, self.scope = self.scope, {}
        names = [value_name(one) for one in inner["inputs"].items()]
        if len(names) != len(operands):
            raise malformed(f"{node.where} does not fit its graph")
        for name, operand in zip(names, operands, strict=True):
            self.define(name, operand)
        self.read(inner, casts + _REGIONS[target](settings), depth + 1)
        values = [read_argument(one, self.scope) for one in inner["outputs"].items()]
        self.scope = outer
        results = [name for one in node["outputs"].items() for name in _flat_names(one)]
        if len(results) != len(values):
            raise malformed(f"{node.where} does not fit its graph")
        for result, value in zip(results, values, strict=True):
            if result is not None:
                self.define(result, value)


def _autocast(settings: list[object]) -> tuple[Autocast, ...]:
    device, dtype, enabled = [*settings, None, None, None][:3]
    if device not in ("cpu", "cuda") or type(enabled) is not bool:
        raise malformed("an autocast region")
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise malformed("an autocast region")
    return (Autocast(device, dtype, enabled),)


_REGIONS: Mapping[str, Callable[[list[object]], tuple[Autocast, ...]]] = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled": lambda settings: (),
    "torch.ops.higher_order.wrap_with_autocast": _autocast,
}


def _bound(
    func: torch._ops.OpOverload, given: list[tuple[str, Template]]
) -> tuple[tuple[Template, ...], dict[str, Template]]:
    """The arguments as the schema has them; what is not given keeps its default."""
    values = dict(given)
    schema = func._schema.arguments
    if len(values) != len(given) or not values.keys() <= {one.name for one in schema}:
        raise malformed(f"the arguments of {func}")
    positional = [one for one in schema if not one.kwarg_only]
    while positional and positional[-1].name not in values:
        positional.pop()
    if any(one.name not in values and not one.has_default_value() for one in positional):
        raise malformed(f"the arguments of {func}")
    args = tuple(values.get(one.name, one.default_value) for one in positional)
    return args, {
        one.name: values[one.name] for one in schema if one.kwarg_only and one.name in values
    }


def _stack(node: Field) -> tuple[RunningModule, ...]:
    """The running modules, from the root; each lies within the one before it."""
    text = node["metadata"].get("nn_module_stack")
    frames: list[RunningModule] = [("", "")]
    if text is None:
        return tuple(frames)
    for item in text.text(10_000).split(";"):
        key, _, rest = item.partition(",")
        path = rest.partition(",")[0].partition("@")[0]
        if not path:
            continue
        before = frames[-1][1]
        if (before and not path.startswith(f"{before}.")) or path.count(".") > MOST_DOTS:
            break
        frames.append((key, path))
    return tuple(frames)


def _results(outputs: Field, make: Callable[[str], str]) -> ResultNames:
    found = tuple(_result(output, make) for output in outputs.items())
    return found[0] if len(found) == 1 else found


def _result(output: Field, make: Callable[[str], str]) -> ResultNames:
    kind, inner = output.choice()
    if kind in ("as_tensors", "as_sym_ints"):
        return tuple(make(inner_name(one)) for one in inner.items())
    return None if kind == "as_none" else make(value_name(output))


def _flat_names(output: Field) -> list[str | None]:
    kind, inner = output.choice()
    if kind == "as_tensors":
        return [inner_name(one) for one in inner.items()]
    return [None if kind == "as_none" else value_name(output)]
