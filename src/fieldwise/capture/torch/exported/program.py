"""The JSON of an exported program, every field checked.

Of the file's description of values only the sizes and types of inputs are believed; what a step
makes is found by running it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fieldwise.capture.torch.exported.arguments import (
    CONSTANTS,
    SMALLER,
    find_known,
    plain,
    read_argument,
)
from fieldwise.capture.torch.exported.fields import Field
from fieldwise.capture.torch.exported.graph import GraphReader
from fieldwise.capture.torch.exported.refusal import foreign, malformed, too_large
from fieldwise.capture.torch.exported.sizes import Size
from fieldwise.capture.torch.exported.steps import ExportedProgram, ExportedState, Input, Template
from fieldwise.capture.torch.exported.tensors import DTYPES, RANKS, STRIDED
from fieldwise.capture.torch.exported.trees import Tree

FORMAT = 8  # the major number of torch's schema
_MOST_TEXT = 1_000_000  # characters of different symbolic sizes
_MOST_ELEMENTS = 2**31  # of an input


def read_program(document: Field) -> ExportedProgram:
    """The program of models/model.json.  Raises UnreadableError for what is none."""
    version = document["schema_version"]["major"].integer()
    if version != FORMAT:
        raise malformed(f"format {version}, where fieldwise reads format {FORMAT}")
    module = document["graph_module"]
    graph, signature = module["graph"], module["signature"]
    _check_expressions(document)
    reader = GraphReader()
    inputs, buffers = _inputs(reader, graph, signature)
    reader.read(graph, (), 0)
    outputs, mutations = _outputs(reader.scope, graph, signature)
    entries = list(module["module_call_graph"].items())
    root = _root(entries)
    program = ExportedProgram(
        inputs=inputs,
        steps=tuple(reader.steps),
        outputs=outputs,
        mutations=mutations,
        takes=Tree.parse(root["in_spec"].text(1_000_000)),
        returns=Tree.parse(root["out_spec"].text(1_000_000)),
        ranges=_ranges(document),
        modules=tuple(_path(entry["fqn"]) for entry in entries if entry["fqn"].value),
        buffers=buffers,
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
    texts = set(_expressions(document.value))
    if sum(map(len, texts)) > _MOST_TEXT:
        raise too_large(f"its sizes take more than {_MOST_TEXT:,} characters", SMALLER)
    for text in sorted(texts):
        Size.parse(text)


def _expressions(root: object) -> Iterator[str]:
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


def _inputs(
    reader: GraphReader, graph: Field, signature: Field
) -> tuple[tuple[Input, ...], frozenset[str]]:
    """The inputs that a caller gives, and the paths of buffers; the reader learns all names."""
    given, specs = list(graph["inputs"].items()), list(signature["input_specs"].items())
    if len(given) != len(specs):
        raise malformed("its inputs do not fit its signature")
    found: list[Input] = []
    buffers: set[str] = set()
    for argument, spec in zip(given, specs, strict=True):
        kind, inner = spec.choice()
        if kind == "user_input":
            one = _input(graph, argument, len(found))
            found.append(replace(one, name=reader.make(one.name)))
        elif kind == "constant_input":
            value = _constant(inner["value"])
            found.append(Input(reader.name(f"constant {len(found)}"), None, value))
        elif kind in _STATES:
            path = inner[_STATES[kind]].text()
            reader.define(_tensor_name(argument), ExportedState(path))
            if kind == "buffer":
                buffers.add(path)
        else:
            raise foreign(kind)
    return tuple(found), frozenset(buffers)


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
        usual = tuple(number for _, number in sizes)
        if math.prod(usual) > _MOST_ELEMENTS:
            told = "x".join(map(str, usual))[:60]
            raise too_large(f"its input is {told}", "export it on a smaller one.")
        return Input(name, tuple(size for size, _ in sizes), usual, dtype)
    if kind == "as_sym_int":
        name = inner["as_name"].text()
        return Input(name, None, _size(graph["sym_int_values"][name])[1])
    return Input(f"input {number}", None, _constant(argument))


def _constant(value: Field) -> object:
    kind, inner = value.choice()
    if kind not in CONSTANTS:
        raise foreign(kind)
    return plain(kind, inner)


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
        value = read_argument(argument, scope)
        if kind == "user_output":
            outputs.append(value)
        elif kind == "user_input_mutation":
            mutations.append((find_known(scope, inner["user_input_name"]), value))
        elif kind in ("buffer_mutation", "parameter_mutation"):
            path = inner[kind.removesuffix("_mutation") + "_name"].text()
            mutations.append((ExportedState(path), value))
        else:
            raise foreign(kind)
    return tuple(outputs), tuple(mutations)
