"""What a model was written to, as lines for people and as plain data (docs/json.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fieldwise.tile.amounts import size_text
from fieldwise.views.json import document, entry
from fieldwise.written import counted

if TYPE_CHECKING:
    from fieldwise.folding import ProgramCheck, RunTimes, Saved, TakenSizes, Verification


def text(saved: Saved) -> str:
    """Line by line."""
    return "\n".join(_lines(saved))


def _lines(saved: Saved) -> Iterator[str]:
    for path, nbytes in zip(saved.paths, saved.nbytes, strict=True):
        yield f"wrote {path}, {size_text(nbytes)}"
    yield f"  parameters  {_change(*saved.parameters)}"
    if saved.macs is not None:
        yield f"  MACs a run  {_change(*saved.macs)}"
    before, after = saved.weight_bytes
    yield f"  weights     {size_text(before)} before, {size_text(after)} now"
    if saved.times is not None:
        yield f"  time        {_times(saved.times)}"
    if saved.loaded is not None:
        yield f"  loaded      into a copy of the model: {_compared(saved.loaded, 'folded')}"
    if saved.program is not None:
        yield from _program(saved.program)
    for note in saved.notes:
        yield f"  note        {note}"
    for number, line in enumerate(saved.loader):
        yield f"  {'' if number else 'load it':<11} {line}"


def _change(before: int, after: int) -> str:
    if before == after:
        return f"{after:,}, as before"
    return f"{before:,} before, {after:,} now"


def _times(times: RunTimes) -> str:
    if times.before is None or times.after is None:
        return f"not measured: {times.note}"
    return (
        f"{1e3 * times.before:.2f} ms before, {1e3 * times.after:.2f} ms now, medians of "
        f"{counted(times.runs, 'run')} in turns on {times.device}, "
        f"{counted(times.threads, 'thread')}"
    )


def _program(check: ProgramCheck) -> Iterator[str]:
    for axis in check.axes:
        why = "" if axis.why is None else f": {axis.why}"
        yield f"  {axis.input} axis {axis.axis}: {_rule(axis)}{why}"
    found = check.verify
    if found is None:
        yield f"  compared    nothing: {check.note}"
        return
    shapes = ", ".join(" and ".join(map(_shape, run)) for run in check.shapes)
    yield f"  compared    on {shapes}: {_compared(found, 'unfolded')}"


def _compared(found: Verification, of: str) -> str:
    note = "" if found.note is None else f"; {found.note}"
    return (
        f"{counted(found.compared, 'number')}, {found.verdict}, relative error {found.max_rel:.1e} "
        f"({of} {found.unfolded_rel:.1e}){note}"
    )


def _rule(axis: TakenSizes) -> str:
    return f"{axis.rule} alone" if axis.fixed else f"size {axis.rule}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def data(saved: Saved) -> dict[str, object]:
    """What was written, with an entry per file."""
    return document(**fields(saved))


def fields(saved: Saved) -> dict[str, object]:
    """The same as a part of another document."""
    check = saved.program
    return {
        "files": [
            {"path": str(path), "bytes": nbytes}
            for path, nbytes in zip(saved.paths, saved.nbytes, strict=True)
        ],
        "parameters": list(saved.parameters),
        "macs": None if saved.macs is None else list(saved.macs),
        "weight_bytes": list(saved.weight_bytes),
        "loaded": None if saved.loaded is None else entry(saved.loaded, *_VERIFIED),
        "program": None if check is None else _program_data(check),
        "times": None if saved.times is None else entry(saved.times, *_TIMES),
        "loader": list(saved.loader),
        "notes": list(saved.notes),
    }


def _program_data(check: ProgramCheck) -> dict[str, object]:
    return {
        "axes": [entry(axis, *_AXIS) for axis in check.axes],
        "shapes": [[list(shape) for shape in run] for run in check.shapes],
        "verify": None if check.verify is None else entry(check.verify, *_VERIFIED),
        "note": check.note,
    }


_TIMES = ("before", "after", "runs", "threads", "device", "note")
_AXIS = ("input", "axis", "size", "rule", "why")
_VERIFIED = ("max_abs", "max_rel", "unfolded_rel", "passed", "compared", "note")
