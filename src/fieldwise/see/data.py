"""The model of a page: all that it shows or computes from, as plain data of integers and text.

Nothing is drawn here.  ``docs/see.md`` describes the fields; ``SCHEMA`` changes with their form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm, prod
from typing import Any

from fieldwise.field import FieldReport
from fieldwise.field.products import DigitLayout
from fieldwise.field.report import AxisField, Row
from fieldwise.field.rows import of_units
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Read
from fieldwise.see.encode import Encoder, Plain
from fieldwise.see.notes import Notes, folds_as_data, shift_as_data
from fieldwise.tile.crops.grid import whole_strides

SCHEMA = 1
"""The version of a page's data."""
NO_NOTES = Notes()


def network(report: FieldReport, *, name: str, notes: Notes = NO_NOTES) -> dict[str, Plain]:
    """One network: its values, what each reads, the rows of its report, and the notes.

    >>> from fieldwise import receptive_fields
    >>> from fieldwise.capture.layers import layers_graph
    >>> made = network(receptive_fields(layers_graph("conv3/2 conv3")), name="two layers")
    >>> [value["name"] for value in made["values"]]
    ['input', 'conv3/2', 'conv3']
    >>> made["values"][2]["reads"], made["values"][2]["form"]
    ([[1, 1]], 2)
    >>> made["maps"][made["forms"][2]["of"][0][0][0][1]], made["sets"][2]
    ([2, [2]], [0, 7])
    """
    encoder = Encoder()
    numbers = {value: number for number, value in enumerate(report.values)}
    reads = _reads(report.graph)
    values = [_value(report, value, numbers, reads, encoder) for value in numbers]
    rows = [_row(row, numbers[row.name]) for row in report.rows]
    return {
        "name": name,
        "input": {"name": report.input.name, "shape": list(report.input.shape)},
        "axes": list(report.axes),
        "outputs": [numbers[value] for value in report.graph.outputs if value in numbers],
        "values": values,
        "rows": rows,
        "lost": [[value, why] for value, why in report.not_analysed.items()],
        "folds": folds_as_data(notes.folds),
        "shift": shift_as_data(notes.shift, numbers),
        **encoder.tables(),
    }


def _value(
    report: FieldReport,
    name: str,
    numbers: Mapping[str, int],
    reads: Mapping[str, Sequence[tuple[str, Read]]],
    encoder: Encoder,
) -> dict[str, Plain]:
    value, place, closed = report.graph.values[name], report.roles(name), report.closed(name)
    state = closed.state
    seen = of_units(state.products, state.layout, frozenset(place.unit))
    return {
        "name": name,
        "shape": list(value.shape),
        "unit": list(place.unit),
        "batch": list(place.batch),
        "channel": list(place.channel),
        "bytes": prod(value.shape) * _width(value.dtype),
        "reads": [] if name == report.input.name else [
            [numbers[operand], encoder.path(read)]
            for operand, read in reads[name]
            if operand in numbers
        ],
        "form": encoder.form(state.layout, seen),
        "along": [_along(state.layout, axis) for axis in report.axes],
        "grid": [lcm(*whole_strides(closed, place)) for place in range(len(report.axes))],
    }  # fmt: skip


def _along(layout: DigitLayout, axis: int) -> int | None:
    """The dimension that follows an axis of the input and nothing else; None where none does."""
    found = [
        dim
        for dim, digits in enumerate(layout)
        if any(stem >> axis & 1 for size, stem in digits if size > 1 or len(digits) == 1)
    ]
    alone = len(found) == 1 and all(stem == 1 << axis for _, stem in layout[found[0]])
    return found[0] if alone else None


def _reads(graph: Graph) -> Mapping[str, Sequence[tuple[str, Read]]]:
    """Per value that a node makes, what it reads: operands, and how each is read."""
    return {
        name: [(node.operands[read.operand], read) for read in reads]
        for node in graph.nodes
        for name, reads in zip(node.results, node.reads, strict=True)
    }


def _row(row: Row, value: int) -> dict[str, Plain]:
    found: dict[str, Plain] = {
        "value": value,
        "name": row.name,
        "op": row.op,
        "axes": [_axis(axis) for axis in row.axes],
    }
    optional = {
        "module": row.module,
        "aliases": list(row.aliases),
        "why": row.why,
        "misaligned": row.misaligned,
        "sized": row.at_this_size,
        "pieces": len(row.pieces),
        "local": None if row.local is None else [_axis(axis) for axis in row.local],
        "of_unit": None if row.of_unit is None else list(row.of_unit),
    }
    return found | {key: said for key, said in optional.items() if said}


def _axis(axis: AxisField) -> dict[str, Plain]:
    said: dict[str, Any] = {
        "extent": axis.extent,
        "least": axis.least,
        "count": None if axis.count == axis.extent else axis.count,
        "stride": _number(axis.stride),
        "start": axis.start,
        "ahead": _number(axis.look_ahead),
        "clipped": axis.clipped,
        "period": None if axis.period == 1 else axis.period,
        "full_by": axis.full_by,
    }
    found = {key: number for key, number in said.items() if number is not None}
    flags = {"full": axis.full, "past": axis.past, "future": axis.future}
    return found | {key: 1 for key, holds in flags.items() if holds}


def _number(value: Fraction | None) -> int | str | None:
    if value is None:
        return None
    return value.numerator if value.denominator == 1 else str(value)


def _width(dtype: str) -> int:
    """Bytes of an element: what the digits of its type's name say.

    >>> [_width(name) for name in ("float32", "bfloat16", "complex64", "bool", "float8_e4m3fn")]
    [4, 2, 8, 1, 1]
    """
    digits = dtype.partition("_")[0].lstrip("abcdefghijklmnopqrstuvwxyz")
    return max(int(digits) // 8, 1) if digits.isdecimal() else 1
