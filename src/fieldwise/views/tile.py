"""A tiling job, and the check of a description, as lines of text for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fieldwise.tile.amounts import size_text

if TYPE_CHECKING:
    from fieldwise.tile.interop.bioimageio import AxisCheck
    from fieldwise.tile.jobs import JobFile, JobPlan, JobReport
    from fieldwise.tile.jobs.caching import CachePlan

_LETTERS = {3: "NCL", 4: "NCHW", 5: "NCDHW", 6: "NCTDHW"}


def job_plan(plan: JobPlan) -> str:
    """The plan of a job as lines of text."""
    return "\n".join(_lines(plan, "job", "the input", [f"'{out.name}'" for out in plan.outputs]))


def job(report: JobReport) -> str:
    """A job as lines of text: the files that it reads and writes, and its plan."""
    source, *results = (f"{file.path} ({file.axes})" for file in (report.source, *report.results))
    said = [line for file in report.results for line in _calibration(file)]
    lines = _lines(report.plan, report.model, source, results, said)
    return "\n".join([*lines, *(_way(one, report) for one in report.compared), *_why(report)])


def _calibration(file: JobFile) -> list[str]:
    """What a result says beside its values, and what of the input's it does not."""
    kept = [f"  keeps   {file.about}"] if file.about is not None else []
    return [*kept, *(f"  lost    {one}" for one in file.lost)]


def _lines(
    plan: JobPlan, title: str, source: str, results: Sequence[str], said: Sequence[str] = ()
) -> list[str]:
    return [
        title,
        f"  reads   {source}, {'x'.join(map(str, plan.shape))}",
        *(
            f"  writes  {path}, {'x'.join(map(str, out.shape))} {out.dtype}"
            for path, out in zip(results, plan.outputs, strict=True)
        ),
        *said,
        f"  engine  {plan.engine}, {_step(plan)}",
        *(f"  axis {_letter(plan, axis.axis)}  {axis}" for axis in plan.axes),
        f"  pieces  {_pieces(plan)}",
        *(
            [f"  kept    at most {size_text(plan.kept_bytes)} on disk from strip to strip"]
            if plan.kept_bytes
            else []
        ),
        f"  memory  at most {size_text(plan.peak_bytes)} for rows and weights, and on the "
        "processor for what torch's kernels hold; torch itself comes on top",
        *(f"  note    {note}" for note in plan.notes),
    ]


def _way(one: CachePlan, report: JobReport) -> str:
    """What a way to compute the job takes, in a line."""
    if one.plan is None:
        return f"  cache   {one.cache}: {one.why_not}"
    plan = one.plan
    kept = f"{size_text(plan.kept_bytes)} on disk, " if plan.kept_bytes else ""
    taken = " (taken)" if one.cache == report.plan.cache else ""
    return (
        f"  cache   {one.cache}{taken}: {plan.work or 1:.2f} times the operations, at most "
        f"{size_text(plan.peak_bytes)} at once, {kept}{plan.reread:.2f} times the input is read"
    )


def _why(report: JobReport) -> list[str]:
    """Why the way is taken, where it costs least of several; it may have been asked for."""
    planned = sorted((one for one in report.compared if one.plan), key=lambda one: one.cost)
    if len(planned) < _SEVERAL or planned[0].cache != report.plan.cache:
        return []
    best, second = planned[:_SEVERAL]
    more = second.cost / max(best.cost, 1) - 1
    return [
        f"  cost    {best.cache} is cheapest, {second.cache} costs {more:.2%} more, where a byte "
        f"that is moved again counts as {_per_byte()} operations"
    ]


def _per_byte() -> int:
    from fieldwise.tile.jobs.caching import PER_BYTE

    return PER_BYTE


_SEVERAL = 2


def _step(plan: JobPlan) -> str:
    if plan.engine == "halo":
        return "the model as it is, on overlapping crops"
    strips = f", in strips of {_letter(plan, plan.axes[0].axis)}" if plan.axes else ""
    return f"{plan.step} rows of {_letter(plan, plan.along)} at a time{strips}"


def _letter(plan: JobPlan, dim: int) -> str:
    return _LETTERS.get(len(plan.shape), "")[dim:][:1] or str(dim)


def _pieces(plan: JobPlan) -> str:
    number = len(plan.pieces)
    if number == 1:
        return "1"
    return f"{number}, each recorded when it is on disk; {plan.reread:.2f} times the input is read"


def render_checks(checks: Sequence[AxisCheck], *, source: str) -> str:
    """What a description declares for tiling beside what the network needs, a line per axis."""
    lines = [source]
    for one in checks:
        sizes = f"step {one.step}" if one.step else "one size"
        lines.append(
            f"  {one.output}, {one.axis}: halo {one.halo} declared, {one.needed} needed "
            f"({one.good} on the grid); {sizes}, stride {one.grid}"
        )
        lines += [f"    wrong: {what}" for what in one.wrong]
    if any(one.wrong for one in checks):
        return "\n".join([*lines, "  tiles by this description have seams"])
    return "\n".join([*lines, "  tiles by this description have no seams"])
