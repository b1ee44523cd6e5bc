"""The JSON of an exported program as steps, every field checked.

Of the file's description of values only the sizes and types of inputs are believed; what a step
makes is found by running it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from fieldwise.capture.torch.exported.fields import Field
from fieldwise.capture.torch.exported.operators import Operator, find_operator
from fieldwise.capture.torch.exported.refusal import foreign, malformed, too_large
from fieldwise.capture.torch.exported.sizes import Size
from fieldwise.capture.torch.exported.tensors import DTYPES, RANKS, STRIDED
from fieldwise.capture.torch.exported.trees import Tree

FORMAT = 8  # the major number of torch's schema
_MOST_STEPS, _MOST_VALUES, _DEEPEST, _LONGEST_LIST = 50_000, 200_000, 8, 100_000
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Made:
    """A value that an input or an earlier step gives."""

    name: str


@dataclass(frozen=True, slots=True)
class State:
    """A parameter, buffer or constant, by its path."""

    path: str


Template = Any
"""What an argument is made from: ``Made``, ``State``, a plain value, or a list of these."""

Results = str | None | tuple["Results", ...]
"""The names of what a step gives, nested as that is."""

Frame = tuple[str, str]
"""A running module: which of its runs this is, and its path."""


@dataclass(frozen=True, slots=True)
class Autocast:
    """A region in which torch casts operands by itself."""

    device: str
    dtype: torch.dtype | None
    enabled: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One call: what is called, with what, what it gives, and within which modules."""

    operator: Operator
    args: tuple[Template, ...]
    kwargs: Mapping[str, Template]
    results: Results
    stack: tuple[Frame, ...]
    casts: tuple[Autocast, ...]


@dataclass(frozen=True, slots=True)
class Input:
    """An input: a tensor of these sizes, or a value that stands in the file.

    sizes: of a tensor; None for another value
    usual: the sizes it was exported with, or the value
    """

    name: str
    sizes: tuple[Size, ...] | None
    usual: Any
    dtype: torch.dtype | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """An exported program.

    takes, returns: how inputs and outputs are nested
    mutations:      what is written after the last step, and where
    ranges:         of named sizes
    modules:        the paths of its modules, in order
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Template, ...]
    mutations: tuple[tuple[Template, Template], ...]
    takes: Tree
    returns: Tree
    ranges: Mapping[str, tuple[int | None, int | None]]
    modules: tuple[str, ...]


def read_program(document: Field) -> Program:
    """The program of models/model.json.  Raises UnreadableError for what is none."""
    version = document["schema_version"]["major"].integer()
    if version != FORMAT:
        raise malformed(f"format {version}, where fieldwise reads format {FORMAT}")
    module = document["graph_module"]
    graph, signature = module["graph"], module["signature"]
    _check_expressions(document)
    reader = _Reader()
    inputs = _inputs(reader, graph, signature)
    reader.read(graph, (), 0)
    outputs, mutations = _outputs(reader.scope, graph, signature)
    entries = list(module["module_call_graph"].items())
    root = _root(entries)
    program = Program(
        inputs=inputs,
        steps=tuple(reader.steps),
        outputs=outputs,
        mutations=mutations,
        takes=Tree.parse(root["in_spec"].text(1_000_000)),
        returns=Tree.parse(root["out_spec"].text(1_000_000)),
        ranges=_ranges(document),
        modules=tuple(_path(entry["fqn"]) for entry in entries if entry["fqn"].value),
    )
    if program.takes.count != len(inputs) or program.returns.count != len(outputs):
        raise malformed("its inputs and outputs do not fit their nesting")
    return program


def _root(entries: list[Field]) -> Field:
    for entry in entries:
        if entry["fqn"].text() == "":
            return entry["signature"]
    raise malformed("module_call_graph has no root")


def _path(text: Field) -> str:
    """The path of a module, whichever of its runs is meant."""
    return text.text().partition("@")[0]


def _ranges(document: Field) -> dict[str, tuple[int | None, int | None]]:
    def bound(limits: Field, name: str) -> int | None:
        found = limits.get(name)
        return None if found is None else found.integer()

    ranges = document.get("range_constraints")
    if ranges is None:
        return {}
    return {
        name: (bound(limits, "min_val"), bound(limits, "max_val"))
        for name, limits in ranges.members()
    }


# -------------------------------------------------------------------- sizes


def _check_expressions(document: Field) -> None:
    """Refuse a symbolic size that is more than arithmetic, wherever it stands."""
    for text in dict.fromkeys(_expressions(document.value)):
        Size.parse(text if isinstance(text, str) else repr(text))


def _expressions(root: Any) -> Iterator[Any]:
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "expr_str" in value:
                yield Field(value)["expr_str"].text(1_000_000)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _size(size: Field) -> tuple[Size, int]:
    """A size of an input, and what it was when it was exported."""
    kind, found = size.choice()
    if kind == "as_int":
        number = found.integer(0)
        return Size(number), number
    if kind != "as_expr":
        raise foreign(kind)
    return Size.parse(found["expr_str"].text(1_000_000)), found["hint"]["as_int"].integer(0)


# -------------------------------------------------------------------- inputs and outputs


def _inputs(reader: _Reader, graph: Field, signature: Field) -> tuple[Input, ...]:
    """The inputs that a caller gives; states are known to the reader by their paths."""
    given, specs = list(graph["inputs"].items()), list(signature["input_specs"].items())
    if len(given) != len(specs):
        raise malformed("its inputs do not fit its signature")
    found: list[Input] = []
    for argument, spec in zip(given, specs, strict=True):
        kind, inner = spec.choice()
        if kind == "user_input":
            one = _input(graph, argument, len(found))
            found.append(replace(one, name=reader.make(one.name)))
        elif kind == "constant_input":
            value = _constant(inner["value"])
            found.append(Input(reader.name(f"constant {len(found)}"), None, value))
        elif kind in _STATES:
            reader.define(_tensor_name(argument), State(inner[_STATES[kind]].text()))
        else:
            raise foreign(kind)
    return tuple(found)


_STATES = {
    "parameter": "parameter_name",
    "buffer": "buffer_name",
    "tensor_constant": "tensor_constant_name",
}


def _tensor_name(argument: Field) -> str:
    kind, inner = argument.choice()
    if kind != "as_tensor":
        raise foreign(kind)
    return inner["name"].text()


def _input(graph: Field, argument: Field, number: int) -> Input:
    kind, inner = argument.choice()
    if kind == "as_tensor":
        name = inner["name"].text()
        meta = graph["tensor_values"][name]
        sizes = [_size(size) for size in meta["sizes"].items()]
        dtype = DTYPES.get(meta["dtype"].integer())
        if dtype is None or meta["layout"].integer() != STRIDED or len(sizes) > RANKS:
            raise malformed(f"the input {name[:60]!r} is no plain dense tensor")
        return Input(name, tuple(s for s, _ in sizes), tuple(n for _, n in sizes), dtype)
    if kind == "as_sym_int":
        name = inner["as_name"].text()
        return Input(name, None, _size(graph["sym_int_values"][name])[1])
    if kind in ("as_int", "as_float", "as_bool", "as_none", "as_string"):
        return Input(f"input {number}", None, _PLAIN[kind](inner))
    raise foreign(kind)


def _constant(value: Field) -> Any:
    kind, inner = value.choice()
    if kind not in ("as_int", "as_float", "as_bool", "as_none", "as_string"):
        raise foreign(kind)
    return _PLAIN[kind](inner)


def _outputs(
    scope: Mapping[str, Template], graph: Field, signature: Field
) -> tuple[tuple[Template, ...], tuple[tuple[Template, Template], ...]]:
    made, specs = list(graph["outputs"].items()), list(signature["output_specs"].items())
    if len(made) != len(specs):
        raise malformed("its outputs do not fit its signature")
    outputs: list[Template] = []
    mutations: list[tuple[Template, Template]] = []
    for argument, spec in zip(made, specs, strict=True):
        kind, inner = spec.choice()
        value = _argument(argument, scope)
        if kind == "user_output":
            outputs.append(value)
        elif kind == "user_input_mutation":
            mutations.append((_known(scope, inner["user_input_name"]), value))
        elif kind in ("buffer_mutation", "parameter_mutation"):
            path = inner[kind.removesuffix("_mutation") + "_name"].text()
            mutations.append((State(path), value))
        else:
            raise foreign(kind)
    return tuple(outputs), tuple(mutations)


# -------------------------------------------------------------------- steps


class _Reader:
    """Reads graphs into one list of steps; what is nested in them becomes steps of its own."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.scope: dict[str, Template] = {}
        self._names = 0

    def name(self, text: str) -> str:
        """A name for a value, which no other has."""
        self._names += 1
        if self._names > _MOST_VALUES:
            raise too_large(f"it makes more than {_MOST_VALUES:,} values", _SMALLER)
        return f"{text}'{self._names}"

    def define(self, name: str, value: Template) -> None:
        """What a name of the file stands for from now on."""
        if name in self.scope:
            raise malformed(f"{name[:60]!r} is made twice")
        self.scope[name] = value

    def make(self, name: str) -> str:
        """A fresh value under a name of the file."""
        self.define(name, Made(name := self.name(name)))
        return name

    def read(self, graph: Field, casts: tuple[Autocast, ...], depth: int) -> None:
        """The steps of a graph, after those that have been read."""
        if depth > _DEEPEST:
            raise too_large("its graphs are nested too deeply", _SMALLER)
        for node in graph["nodes"].items():
            target = node["target"].text()
            if target in _REGIONS:
                self._region(node, target, casts, depth)
                continue
            operator = find_operator(target)
            if operator.ignored:
                continue
            args, kwargs = self._call(operator, node)
            results = _results(node["outputs"], self.make)
            self.steps.append(Step(operator, args, kwargs, results, _stack(node), casts))
            if len(self.steps) > _MOST_STEPS:
                raise too_large(f"it has more than {_MOST_STEPS:,} steps", _SMALLER)

    def _call(
        self, operator: Operator, node: Field
    ) -> tuple[tuple[Template, ...], dict[str, Template]]:
        given = [(one["name"].text(), one["arg"]) for one in node["inputs"].items()]
        values = [(name, _argument(argument, self.scope)) for name, argument in given]
        if operator.overload is None:
            return tuple(value for _, value in values), {}
        return _bound(operator.overload, values)

    def _region(self, node: Field, target: str, casts: tuple[Autocast, ...], depth: int) -> None:
        """Steps under a setting of torch: gradients, which nobody asks for here, or autocast."""
        arguments = [one["arg"] for one in node["inputs"].items()]
        place = next((n for n, one in enumerate(arguments) if "as_graph" in one.value), None)
        if place is None:
            raise malformed(f"{node.where} has no graph")
        settings = [_argument(one, self.scope) for one in arguments[:place]]
        operands = [_argument(one, self.scope) for one in arguments[place + 1 :]]
        inner = arguments[place]["as_graph"]["graph"]
        outer, self.scope = self.scope, {}
        names = [_tensor_or_size(one) for one in inner["inputs"].items()]
        if len(names) != len(operands):
            raise malformed(f"{node.where} does not fit its graph")
        for name, operand in zip(names, operands, strict=True):
            self.define(name, operand)
        self.read(inner, casts + _REGIONS[target](settings), depth + 1)
        values = [_argument(one, self.scope) for one in inner["outputs"].items()]
        self.scope = outer
        results = [name for one in node["outputs"].items() for name in _flat_names(one)]
        if len(results) != len(values):
            raise malformed(f"{node.where} does not fit its graph")
        for name, value in zip(results, values, strict=True):
            if name is not None:
                self.define(name, value)


_SMALLER = "export a smaller model, or name a package.module:factory."


def _autocast(settings: list[Any]) -> tuple[Autocast, ...]:
    device, dtype, enabled = [*settings, None, None, None][:3]
    if device not in ("cpu", "cuda") or type(enabled) is not bool:
        raise malformed("an autocast region")
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise malformed("an autocast region")
    return (Autocast(device, dtype, enabled),)


_REGIONS: Mapping[str, Callable[[list[Any]], tuple[Autocast, ...]]] = {
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


def _stack(node: Field) -> tuple[Frame, ...]:
    """The running modules, from the root; each lies within the one before it."""
    text = node["metadata"].get("nn_module_stack")
    frames: list[Frame] = [("", "")]
    if text is None:
        return tuple(frames)
    for item in text.text(10_000).split(";"):
        key, _, rest = item.partition(",")
        path = rest.partition(",")[0].partition("@")[0]
        if not path:
            continue
        before = frames[-1][1]
        if (before and not path.startswith(f"{before}.")) or path.count(".") > _MOST_DOTS:
            break
        frames.append((key, path))
    return tuple(frames)


_MOST_DOTS = 60


def _results(outputs: Field, make: Callable[[str], str]) -> Results:
    found = tuple(_result(output, make) for output in outputs.items())
    return found[0] if len(found) == 1 else found


def _result(output: Field, make: Callable[[str], str]) -> Results:
    kind, inner = output.choice()
    if kind in ("as_tensors", "as_sym_ints"):
        return tuple(make(_name(one)) for one in inner.items())
    return None if kind == "as_none" else make(_tensor_or_size(output))


def _flat_names(output: Field) -> list[str | None]:
    kind, inner = output.choice()
    if kind == "as_tensors":
        return [_name(one) for one in inner.items()]
    return [None if kind == "as_none" else _tensor_or_size(output)]


def _tensor_or_size(value: Field) -> str:
    kind, inner = value.choice()
    if kind not in ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
        raise foreign(kind)
    return _name(inner)


def _name(inner: Field) -> str:
    return (inner.get("name") or inner["as_name"]).text()


# -------------------------------------------------------------------- arguments


def _known(scope: Mapping[str, Template], name: Field) -> Template:
    if name.text() not in scope:
        raise malformed(f"{name.value[:60]!r} is used before it is made")
    return scope[name.value]


def _argument(argument: Field, scope: Mapping[str, Template]) -> Template:
    kind, inner = argument.choice()
    if kind in _PLAIN:
        return _PLAIN[kind](inner)
    if kind in _PLAIN_LISTS:
        return [_PLAIN_LISTS[kind](one) for one in _few(inner)]
    if kind == "as_tensor":
        return _known(scope, inner["name"])
    if kind == "as_tensors":
        return [_known(scope, one["name"]) for one in _few(inner)]
    if kind == "as_optional_tensor":
        return _argument(inner, scope)
    if kind == "as_optional_tensors":
        return [_argument(one, scope) for one in _few(inner)]
    if kind in _SYMBOLIC:
        return _symbolic(inner, scope)
    if kind in _SYMBOLIC_LISTS:
        return [_symbolic(one, scope) for one in _few(inner)]
    raise foreign(kind)


def _few(items: Field) -> Iterator[Field]:
    if isinstance(items.value, list) and len(items.value) > _LONGEST_LIST:
        raise too_large(f"{items.where} has more than {_LONGEST_LIST:,} elements", _SMALLER)
    return items.items()


def _symbolic(value: Field, scope: Mapping[str, Template]) -> Template:
    kind, inner = value.choice()
    if kind == "as_name":
        return _known(scope, inner)
    if kind not in ("as_int", "as_float", "as_bool"):
        raise foreign(kind)
    return _PLAIN[kind](inner)


def _scalar_type(value: Field) -> torch.dtype:
    found = DTYPES.get(value.integer())
    if found is None:
        raise foreign(value.value)
    return found


def _memory_format(value: Field) -> torch.memory_format:
    found = _MEMORY_FORMATS.get(value.integer())
    if found is None:
        raise foreign(value.value)
    return found


def _layout(value: Field) -> torch.layout:
    if value.integer() != STRIDED:
        raise foreign(value.value)
    return torch.strided


def _device(value: Field) -> torch.device:
    value["type"].text()
    return _CPU


_PLAIN: Mapping[str, Callable[[Field], Any]] = {
    "as_none": lambda value: None,
    "as_int": Field.integer,
    "as_float": Field.number,
    "as_bool": Field.flag,
    "as_string": Field.text,
    "as_complex": lambda value: complex(value["real"].number(), value["imag"].number()),
    "as_scalar_type": _scalar_type,
    "as_memory_format": _memory_format,
    "as_layout": _layout,
    "as_device": _device,
}
_PLAIN_LISTS: Mapping[str, Callable[[Field], Any]] = {
    "as_ints": Field.integer,
    "as_floats": Field.number,
    "as_bools": Field.flag,
    "as_strings": Field.text,
}
_SYMBOLIC = ("as_sym_int", "as_sym_float", "as_sym_bool")
_SYMBOLIC_LISTS = ("as_sym_ints", "as_sym_floats", "as_sym_bools")
