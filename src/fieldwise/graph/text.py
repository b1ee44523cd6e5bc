"""The text form of a graph: one line per node, the same for equal graphs.

A line reads ``%result = op(%operand, …) : shape [module] reads``.  The reads say, in index
notation, which indices of an operand the result's index (i0, i1, …) depends on:

    i2                     the same index
    2i2+{-1..1}            a window of three, two apart
    i2//2+[{-1..0}|{0..1}] period two: the first set where i2 is even, the second where it is odd
    0, {0, 3}              these, always
    :                      the whole dimension
    ?                      nobody knows, so everything
    table(i2)              a row per index
    ~wrap                  what happens beyond the border, where it is not dropped
    ...                    every dimension at the same index
    where i1 in {0..63}    other result indices read nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fieldwise.axes import AnySet, AxisMap, Border, Tailed, Within
from fieldwise.graph.ir import (
    Along,
    Coord,
    Fixed,
    Node,
    Read,
    Separable,
    Shape,
    Step,
    Value,
    Whole,
)

ValuesByName = Mapping[str, Value]
"""The values of a graph by name."""


def graph_lines(
    inputs: Sequence[str],
    nodes: Sequence[Node],
    outputs: Sequence[tuple[str, str]],
    values: ValuesByName,
) -> list[str]:
    """The lines of a graph; outputs are pairs of the user's key ('' for none) and a name."""
    rows = [_cells(node, values) for node in nodes]
    return [
        f"inputs  {', '.join(_declared(values[name]) for name in inputs)}",
        *_aligned(rows),
        f"outputs {', '.join(f'{key}=%{name}' if key else f'%{name}' for key, name in outputs)}",
    ]


def _cells(node: Node, values: ValuesByName) -> tuple[str, ...]:
    run = f" #{node.call}" if node.call > 1 else ""
    return (
        f"{_names(node.results)} = {node.op}({_names(node.operands)})",
        f": {', '.join(_type(values[name]) for name in node.results)}",
        f"[{node.module}{run}]" if node.module else "",
        _reads(node, values),
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The cells in columns; the first two stand close, a cell too wide pushes only its own row."""
    widths = [min(max(map(len, column)), 60) for column in zip(*rows, strict=True)]
    return [
        f"{left:{widths[0]}} {shape:{widths[1]}}  {module:{widths[2]}}  {reads}".rstrip()
        for left, shape, module, reads in rows
    ]


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"%{name}" for name in names)


def _declared(value: Value) -> str:
    return f"%{value.name} : {_type(value)}"


def _type(value: Value) -> str:
    shape = _shape(value.shape)
    return shape if value.dtype == "float32" else f"{shape} {value.dtype}"


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


# -------------------------------------------------------------------- reads


def _reads(node: Node, values: ValuesByName) -> str:
    per_result = [
        " ∪ ".join(_read(read, node, values[result].shape, values) for read in reads) or "nothing"
        for result, reads in zip(node.results, node.reads, strict=True)
    ]
    if len(per_result) == 1:
        return per_result[0]
    named = zip(node.results, per_result, strict=True)
    return "; ".join(f"%{result}: {text}" for result, text in named)


def _read(read: Read, node: Node, result_shape: Shape, values: ValuesByName) -> str:
    operand = node.operands[read.operand]
    hops = read.forward(values[operand].shape, result_shape)
    steps = (_step(step, after) for step, _, after in hops)
    return f"%{operand}{''.join(steps)}"


def _step(step: Step, after: Shape) -> str:
    if not isinstance(step, Separable):
        return f".reshape({_shape(after)})"
    if not step.where and len(step.coords) == len(after) and step.is_identity:
        return "[...]"
    index = ", ".join(_coord(coord) for coord in step.coords)
    limits = " and ".join(f"i{dim} in {_set(indices)}" for dim, indices in step.where)
    return f"[{index} where {limits}]" if limits else f"[{index}]"


def _coord(coord: Coord) -> str:
    if isinstance(coord, Whole):
        return ":"
    if isinstance(coord, Fixed):
        return str(coord.indices.first) if coord.indices.count == 1 else _set(coord.indices)
    if not isinstance(coord, Along):
        return "?"
    border = "" if coord.border is Border.DROP else f"~{coord.border.value}"
    law = coord.map.law if isinstance(coord.map, Within) else coord.map
    if not isinstance(law, AxisMap):
        return f"table(i{coord.dim}){border}"
    return _map(law, f"i{coord.dim}") + border


def _map(axis_map: AxisMap[AnySet], index: str) -> str:
    factor = {1: "", -1: "-"}.get(axis_map.advance, str(axis_map.advance))
    if axis_map.period > 1:
        phases = "|".join(_abridged([_set(offset) for offset in axis_map.offsets]))
        turn = f"{index}//{axis_map.period}"
        return f"{factor}({turn})+[{phases}]" if factor else f"{turn}+[{phases}]"
    offset = axis_map.offsets[0]
    if axis_map.advance == 0:
        return _set(offset)
    if isinstance(offset, Tailed) or offset.count != 1:
        return f"{factor}{index}+{_set(offset)}"
    return f"{factor}{index}{offset.first:+d}" if offset.first else f"{factor}{index}"


def _set(indices: AnySet) -> str:
    if isinstance(indices, Tailed):
        return str(indices)
    runs = [str(lo) if hi == lo + 1 else f"{lo}..{hi - 1}" for lo, hi in indices.runs()]
    return f"{{{', '.join(_abridged(runs))}}}"


def _abridged(parts: list[str], most: int = 8) -> list[str]:
    return parts if len(parts) <= most else [*parts[: most - 2], "…", parts[-1]]
