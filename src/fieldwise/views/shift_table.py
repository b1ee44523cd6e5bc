"""Certificates of translation equivariance as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from fieldwise.views.fitting import FittingColumn, FittingTable, Role
from fieldwise.views.names import shortened

if TYPE_CHECKING:
    from fieldwise.shift import AxisCertificate, Breaker, Certificate
    from fieldwise.shift.measurement.equivariance import Measurement
    from fieldwise.shift.measurement.moved import Moved
    from fieldwise.shift.repair import Repaired

_NAMES = {3: "W", 4: "HW", 5: "DHW"}
_PROVEN: Mapping[str, Role] = {
    "value": "name", "axis": "fixed", "circular": "fixed", "interior": "fixed",
    "carried": "number", "because of": "reason",
}  # fmt: skip
_MEASURED: Mapping[str, Role] = {
    "measured": "name", "axis": "fixed", "shift": "number", "error": "number",
    "control": "number", "EQ-T dB": "number", "verdict": "fixed",
}  # fmt: skip
_SPOKEN = ("a shift by ", "positions ")
"""With what cells begin, and need not where room is short."""
_BREAKERS = 3
_CHANGES = 12


def render(
    outputs: Sequence[Certificate],
    layers: Sequence[Certificate],
    *,
    model: str,
    rank: int,
    measurement: Measurement | None = None,
    repaired: Repaired | None = None,
) -> RenderableType:
    """A row per value and axis, with what breaks it; then what was measured and repaired.

    rank: of the input, whose axes are called D, H and W
    """
    rows = [
        (shortened(certificate.name), axis_name(axis.axis, rank), *_theorems(certificate, axis))
        for certificate in (*outputs, *layers)
        for axis in certificate.axes
    ]
    table = _table(rows, _PROVEN)
    parts: list[RenderableType] = [Text(model, "bold"), table]
    parts.extend(Text(line) for line in _conditions(outputs))
    if repaired is None:
        parts.extend(Text(line) for line in _remedies((*outputs, *layers)))
    if measurement is not None:
        parts.extend(measured(measurement, rank=rank))
    if repaired is not None:
        parts.extend(map(Text, repairs(repaired)))
    return Group(*parts)


def measured(measurement: Measurement, *, rank: int) -> list[RenderableType]:
    """What was measured, a row per value and axis, and what should be known of it."""
    return [_measured(measurement, rank), *map(Text, _notes(measurement, rank))]


def axis_name(axis: int, rank: int) -> str:
    """H, W or D for the spatial axes of (batch, channels, *spatial), else the number.

    >>> axis_name(2, 4), axis_name(2, 5), axis_name(1, 2)
    ('H', 'D', '1')
    """
    names = _NAMES.get(rank, "")
    return names[axis - 2] if 2 <= axis < 2 + len(names) else str(axis)


def _theorems(certificate: Certificate, axis: AxisCertificate) -> tuple[str, str, str, str]:
    circular, interior = axis.circular, axis.interior
    proven = "undecided" if axis.undecided else "broken"
    if circular.holds:
        proven = f"a shift by {circular.period} {_movement(circular.step)}"
    within = "none"
    if interior.range is not None:
        within = f"positions {_positions(interior.range)} of {_length(certificate, axis)}"
    carried = "" if interior.carried is None else _positions(interior.carried)
    return proven, within, carried, _breakers(axis)


def _positions(span: tuple[int, int]) -> str:
    return f"{span[0]}..{span[1] - 1}"


def _movement(step: int | None) -> str:
    if step is None:
        return "moves parts of it apart"
    return f"moves it by {step}" if step else "leaves it as it is"


def _length(certificate: Certificate, axis: AxisCertificate) -> int:
    moves = axis.interior.moves
    return certificate.shape[moves[0].dim] if moves else axis.size


def _breakers(axis: AxisCertificate) -> str:
    reasons = [f"{shortened(breaker.node)}: {breaker.why}" for breaker in _named(axis)]
    more = len(axis.broken_by or axis.emptied_by) - len(reasons)
    whose = "" if axis.broken_by or not reasons else "the interior: "
    return whose + "; ".join([*reasons, f"and {more} more"] if more else reasons)


def _conditions(certificates: Sequence[Certificate]) -> list[str]:
    found = (
        f"if {condition}"
        for certificate in certificates
        for axis in certificate.axes
        for condition in axis.circular.conditions
    )
    return list(dict.fromkeys(found))


def _remedies(certificates: Sequence[Certificate]) -> list[str]:
    """What repairs those that break the circular theorem, each reason once."""
    found = {
        breaker.why: breaker.remedy
        for certificate in certificates
        for axis in certificate.axes
        for breaker in axis.broken_by[:_BREAKERS]
        if breaker.remedy
    }
    return [f"to repair '{why}': {remedy}" for why, remedy in found.items()]


def _named(axis: AxisCertificate) -> Sequence[Breaker]:
    return (axis.broken_by or axis.emptied_by)[:_BREAKERS]


def _measured(measurement: Measurement, rank: int) -> FittingTable:
    rows = [_moved(moved, rank) for moved in (*measurement.outputs, *measurement.layers)]
    return _table(rows, _MEASURED)


def _table(rows: Sequence[Sequence[str]], titles: Mapping[str, Role]) -> FittingTable:
    return FittingTable(
        tuple(
            FittingColumn(
                title,
                tuple(row[at] for row in rows),
                role,
                brief=tuple(_brief(row[at]) for row in rows),
            )
            for at, (title, role) in enumerate(titles.items())
        )
    )


def _brief(cell: str) -> str:
    """The cell where room is short.

    >>> _brief("a shift by 32 moves it by 1")
    '32 moves it by 1'
    """
    return next((cell.removeprefix(words) for words in _SPOKEN if cell.startswith(words)), cell)


def _notes(measurement: Measurement, rank: int) -> list[str]:
    return [
        f"{moved.name} along {axis_name(moved.axis, rank)}: {moved.note}"
        for moved in (*measurement.outputs, *measurement.layers)
        if moved.note
    ]


def _moved(moved: Moved, rank: int) -> tuple[str, ...]:
    return (
        shortened(moved.name),
        axis_name(moved.axis, rank),
        str(moved.shift),
        f"{moved.error:.1e}",
        f"{moved.control:.1e}",
        f"{moved.eq_t:.0f}",
        moved.verdict,
    )


def repairs(repaired: Repaired) -> list[str]:
    """What was changed, and whether that is a repair, a line each."""
    lines = [
        f"{change.module or 'the model'}: {change.op}: {change.what}"
        for change in repaired.changes[:_CHANGES]
    ]
    more = len(repaired.changes) - len(lines)
    if more:
        lines.append(f"and {more} more, all in --format json")
    if not repaired.changes:
        lines.append("nothing to change was found")
    return [*lines, _outcome(repaired), *(f"in the way: {why}" for why in repaired.why_not)]


def _outcome(repaired: Repaired) -> str:
    verdict = "repaired" if repaired.done else "NOT repaired"
    if repaired.before is not None:
        before, after = repaired.before.eq_t, repaired.measurement.eq_t
        return f"{verdict}: EQ-T {after:.1f} dB, before {before:.1f} dB"
    worst = max(repaired.measurement.outputs, key=lambda moved: moved.error, default=None)
    at = "" if worst is None else f" at a shift of {worst.shift}"
    return f"{verdict}: error {repaired.measurement.error:.1e}{at}"
