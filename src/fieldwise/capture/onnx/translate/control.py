"""Control flow whose course is known, sequences, and optional values."""

from __future__ import annotations

import torch
from torch import Tensor

from fieldwise.capture.onnx.missing import find_missing
from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates
from fieldwise.capture.onnx.values import integer, ints, known

_LONGEST = 1 << 16  # steps of a loop that is unrolled


@translates("If")
def _if(node: NodeCall, condition: Tensor) -> tuple[object, ...]:
    taken = bool(known(condition, "which branch is taken").reshape(-1)[0])
    return tuple(node.run_graph("then_branch" if taken else "else_branch", ()))


@translates("Loop")
def _loop(
    node: NodeCall, most: Tensor | None, condition: Tensor | None, *carried: object
) -> tuple[object, ...]:
    """Unrolled: its number of steps is known, and whether it goes on."""
    limit = None if most is None else integer(most, "how often it runs")
    going = condition is None or bool(known(condition, "whether it runs").reshape(-1)[0])
    states, rows, number = list(carried), [], 0
    while going and (limit is None or number < limit):
        if number >= _LONGEST:
            raise node.refusal(f"it runs more than {_LONGEST} times")
        first = torch.tensor(number, dtype=torch.int64)
        goes_on, *made = node.run_graph("body", (first, torch.tensor(True), *states))
        states, scanned = made[: len(carried)], made[len(carried) :]
        rows.append(scanned)
        going = bool(known(goes_on, "whether it goes on").reshape(-1)[0])  # type: ignore[arg-type]
        number += 1
    count = len(node.node.outputs) - len(carried)
    if not rows:
        return (*states, *(torch.zeros(0) for _ in range(count)))
    return (*states, *(_stacked(column, 0, False) for column in zip(*rows, strict=True)))


@translates("Scan", since=8)
def _scan_batches(node: NodeCall, lengths: Tensor | None, *inputs: Tensor) -> tuple[object, ...]:
    """Of version 8: for each batch by itself, all axes behind the batch."""
    if lengths is not None:
        raise node.refusal("its sequences have lengths")
    batches = [_scan(node, *(x[number] for x in inputs)) for number in range(inputs[0].shape[0])]
    return tuple(_stacked(column, 0, False) for column in zip(*batches, strict=True))


@translates("Scan", since=9)
def _scan(node: NodeCall, *inputs: Tensor) -> tuple[object, ...]:
    count = node.integer("num_scan_inputs", 1)
    states: list[object] = list(inputs[: len(inputs) - count])
    scanned = inputs[len(inputs) - count :]
    axes = node.integers("scan_input_axes", [0] * count) or []
    backwards = node.integers("scan_input_directions") or node.integers("directions") or [0] * count
    steps = scanned[0].shape[axes[0]]
    if steps > _LONGEST:
        raise node.refusal(f"it runs more than {_LONGEST} times")
    rows = []
    for number in range(steps):
        taken = [
            x.select(axis, steps - 1 - number if back else number)
            for x, axis, back in zip(scanned, axes, backwards, strict=True)
        ]
        made = node.run_graph("body", (*states, *taken))
        states = made[: len(states)]
        rows.append(made[len(states) :])
    columns = list(zip(*rows, strict=True))
    out_axes = node.integers("scan_output_axes", [0] * len(columns)) or []
    out_back = node.integers("scan_output_directions", [0] * len(columns)) or []
    found = [
        _stacked(column, axis, bool(back))
        for column, axis, back in zip(columns, out_axes, out_back, strict=True)
    ]
    return (*states, *found)


def _stacked(rows: object, axis: int, backwards: bool) -> object:
    items = list(rows)  # type: ignore[call-overload]
    missing = find_missing(items)
    if missing is not None:
        return missing
    return torch.stack(items[::-1] if backwards else items, axis)


# -------------------------------------------------------------------- sequences


@translates("SequenceEmpty")
def _sequence_empty(node: NodeCall) -> list[Tensor]:
    return []


@translates("SequenceConstruct")
def _sequence_construct(node: NodeCall, *items: Tensor) -> list[Tensor]:
    return list(items)


@translates("SequenceInsert")
def _sequence_insert(
    node: NodeCall, items: list[Tensor], item: Tensor, place: Tensor | None = None
) -> list[Tensor]:
    at = len(items) if place is None else integer(place, "its place")
    at += len(items) if at < 0 else 0
    return [*items[:at], item, *items[at:]]


@translates("SequenceErase")
def _sequence_erase(
    node: NodeCall, items: list[Tensor], place: Tensor | None = None
) -> list[Tensor]:
    at = len(items) - 1 if place is None else integer(place, "its place") % len(items)
    return [*items[:at], *items[at + 1 :]]


@translates("SequenceAt")
def _sequence_at(node: NodeCall, items: list[Tensor], place: Tensor) -> Tensor:
    return torch.ops.aten.alias.default(items[integer(place, "its place")])


@translates("SequenceLength")
def _sequence_length(node: NodeCall, items: list[Tensor]) -> Tensor:
    return torch.tensor(len(items), dtype=torch.int64)


@translates("SplitToSequence")
def _split_to_sequence(node: NodeCall, x: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
    axis = node.integer("axis", 0)
    if sizes is None:
        parts = list(x.split(1, axis))
        return parts if node.integer("keepdims", 1) else [one.squeeze(axis) for one in parts]
    found = ints(sizes, "its sizes")
    return list(x.split(found if sizes.dim() else found[0], axis))


@translates("ConcatFromSequence")
def _concat_from_sequence(node: NodeCall, items: list[Tensor]) -> Tensor:
    axis = node.integer("axis", 0)
    return torch.stack(items, axis) if node.integer("new_axis", 0) else torch.cat(items, axis)


@translates("SequenceMap")
def _sequence_map(node: NodeCall, items: list[Tensor], *more: object) -> tuple[list[object], ...]:
    rows = [
        node.run_graph("body", (one, *(x[place] if isinstance(x, list) else x for x in more)))
        for place, one in enumerate(items)
    ]
    return tuple(map(list, zip(*rows, strict=True)))


# -------------------------------------------------------------------- optional values


@translates("Optional")
def _optional(node: NodeCall, value: object = None) -> object:
    return value


@translates("OptionalGetElement")
def _optional_get(node: NodeCall, value: object = None) -> object:
    if value is None:
        raise node.refusal("it asks for a value that is not there")
    return torch.ops.aten.alias.default(value) if isinstance(value, Tensor) else value


@translates("OptionalHasElement")
def _optional_has(node: NodeCall, value: object = None) -> Tensor:
    return torch.tensor(value is not None)
