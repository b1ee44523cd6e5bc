"""What a stream of live data takes, as a table for people and as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from fieldwise.tile.amounts import size_text
from fieldwise.views.fitting import FittingColumn, FittingTable, Role
from fieldwise.views.json import document, entry, number
from fieldwise.views.names import shortened
from fieldwise.written import counted

if TYPE_CHECKING:
    from fieldwise.tile import LatencyReport, OutputLatency

_TITLES: Mapping[str, Role] = {
    "output": "name", "causal": "fixed", "rows per sample": "number", "looks ahead": "number",
    "sees back": "number", "latency": "number", "notes": "reason",
}  # fmt: skip
_LENGTHS = {
    "any": "chunks of any size; the total length need not be known",
    "multiple": "chunks of any size; the total length is a multiple of {grid}, whatever it is",
    "announced": "chunks of any size, once the total length is announced",
}


# -------------------------------------------------------------------- for people


def render(report: LatencyReport) -> RenderableType:
    """A row per output, then what a session takes, or what is in the way of one."""
    rows = [_cells(report, row) for row in report.rows]
    table = FittingTable(
        tuple(
            FittingColumn(title, tuple(row[at] for row in rows), role)
            for at, (title, role) in enumerate(_TITLES.items())
        )
    )
    return Group(Text(_title(report), "bold"), table, *map(Text, _lines(report)))


def _title(report: LatencyReport) -> str:
    shape = "x".join(map(str, report.shape))
    rate = "" if report.rate is None else f", {_short(report.rate)} samples per second"
    name = report.model or "latency"
    return f"{name}, {report.input} {shape} along axis {report.axis}{rate}"


def _cells(report: LatencyReport, row: OutputLatency) -> tuple[str, ...]:
    return (
        shortened(row.name),
        "yes" if row.causal else "no",
        str(row.per_sample),
        _samples(report, row.look_ahead),
        "all" if row.all_past else _samples(report, row.past),
        _samples(report, row.latency),
        _note(row),
    )


def _note(row: OutputLatency) -> str:
    if row.why is not None or row.latency is None or row.at_start is None:
        return row.why or ""
    return f"{row.at_start} at the start" if row.at_start > row.latency else ""


def _samples(report: LatencyReport, samples: Fraction | int | None) -> str:
    """A number of samples, and how long they take."""
    if samples is None:
        return "–"
    duration = report.milliseconds(samples)
    return str(samples) if duration is None else f"{samples} ({_short(duration)} ms)"


def _lines(report: LatencyReport) -> Iterator[str]:
    if report.lengths == "refused":
        yield "cannot be streamed along this axis:"
    else:
        yield f"streams  {_LENGTHS[report.lengths].format(grid=report.grid)}"
        yield f"grid     {counted(report.grid or 1, 'sample')}"
        yield f"state    {_state(report)}"
        yield f"cost     {_cost(report)}"
        if report.reasons:
            yield "not without knowing more of the length:"
    yield from (f"  {reason}" for reason in report.reasons)
    if report.remedy:
        yield report.remedy


def _state(report: LatencyReport) -> str:
    kept = f"{size_text(report.state_bytes or 0)} between chunks"
    growth = report.state_growth
    return f"{kept}, and {_short(growth)} B more with every sample" if growth else kept


def _cost(report: LatencyReport) -> str:
    per_sample = f"{_operations(report.flops_per_sample or Fraction(0))} per sample"
    per_second = report.flops_per_second
    return per_sample if per_second is None else f"{per_sample}, {_operations(per_second)}/s"


def _operations(count: Fraction) -> str:
    """Operations with a unit.

    >>> _operations(Fraction(2_500_000)), _operations(Fraction(3, 2))
    ('2.5 MFLOP', '1.5 FLOP')
    """
    amount, units = float(count), ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{_short(amount)} {units[0]}"


def _short(amount: Fraction | float) -> str:
    """A number with at most three decimals, without needless zeros.

    >>> _short(Fraction(1000, 3)), _short(44100.0), _short(0.5)
    ('333.333', '44100', '0.5')
    """
    return f"{float(amount):.3f}".rstrip("0").rstrip(".")


# -------------------------------------------------------------------- as data


def data(report: LatencyReport) -> dict[str, Any]:
    """The report, with an entry per output."""
    return document(
        **entry(report, "model", "input", "shape", "axis", "rate"),
        outputs=[_output(report, row) for row in report.rows],
        **entry(report, "lengths", "grid", "state_bytes", "state_growth"),
        **entry(report, "flops_per_sample", "flops_per_second"),
        reasons=[entry(reason, "module", "op", "why") for reason in report.reasons],
        **entry(report, "remedy"),
    )


def _output(report: LatencyReport, row: OutputLatency) -> dict[str, Any]:
    found = entry(
        row,
        "name",
        "causal",
        "per_sample",
        "look_ahead",
        "past",
        "all_past",
        "latency",
        "at_start",
        "why",
    )
    for name in ("look_ahead", "latency"):
        duration = report.milliseconds(getattr(row, name))
        found[f"{name}_ms"] = number(None if duration is None else float(duration))
    return found
