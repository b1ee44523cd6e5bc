"""The measurements of fold_zoo.py as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fold_subjects import RIGHT, RIGHT_IN_SINGLE
from fold_tools import Attempt, Result

GOAL = 93.0


def row(result: Result) -> dict[str, Any]:
    """One model as a line of the CSV."""
    tried = {
        f"{name}: {key}": value
        for name, each in result.attempts.items()
        for key, value in (
            ("removed", each.removed),
            ("error", "" if each.failed else f"{each.error:.1e}"),
            ("failed", each.failed),
        )
    }
    stays = "; ".join(f"{times} × {why}" for why, times in Counter(result.stays).most_common())
    totals = {"possible": result.possible, "done": result.done, "merged": result.merged}
    return {"model": result.spec, "ops": result.ops, **tried, **totals, "stays": stays}


def markdown(results: Sequence[Result]) -> str:
    """Totals per tool, the goals, and every model on a line."""
    measured = [result for result in results if not result.failed and result.ops]
    names = list(measured[0].attempts) if measured else []
    lines = [
        "# Folding the zoo",
        "",
        f"`python benchmarks/fold_zoo.py` on {date.today()}, {versions()}: {len(measured)} models, "
        f"one per family, {sum(r.ops for r in measured)} BatchNorm ops. Random weights and "
        f"statistics, float64 (float32 where a forward insists on it); a model is wrong where its "
        f"output is off by more than {RIGHT:.0e} ({RIGHT_IN_SINGLE:.0e}) relative.",
        "",
        "| tool | ops removed | outside DenseNets | wrong models | models it fails on |",
        "| --- | --- | --- | --- | --- |",
        *(_tool_line(name, measured) for name in names),
        "",
        "Ops removed: of all BatchNorm ops, those that no longer run in a model that is still "
        "right.",
        "",
        f"Affine ops of any kind and parallel branches with an exact fold by our rules: "
        f"{sum(r.possible for r in measured)}; folded: {sum(r.done for r in measured)}, of which "
        f"{sum(r.merged for r in measured)} are branches that became part of a convolution.",
        "",
        *_goals(results, measured),
        "",
        "## Why BatchNorm ops stay",
        "",
        "| ops | models | reason |",
        "| --- | --- | --- |",
        *_reason_lines(measured),
        "",
    ]
    failed = [result for result in results if result.failed]
    if failed:
        lines += ["## Not measured", "", *(f"- {r.spec}: {r.failed}" for r in failed), ""]
    lines += ["## Model by model", "", _header(names), "| --- " * (len(names) + 3) + "|"]
    lines += [_model_line(result, names) for result in measured]
    return "\n".join([*lines, ""])


def _goals(results: Sequence[Result], measured: Sequence[Result]) -> Iterator[str]:
    """Each goal, and what was reached."""
    ours = [result.attempts["fieldwise"] for result in measured]
    failed = sum(bool(one.failed) for one in (*results, *ours))
    undone = sum(result.possible - result.done for result in measured)
    outside = _percent("fieldwise", [result for result in measured if not result.dense])
    for goal, reached, met in (
        ("no wrong model", f"{sum(t.wrong for t in ours)}", not any(t.wrong for t in ours)),
        ("no untraceable model", f"{failed}", failed == 0),
        ("every exact fold done", f"{undone} undone", undone == 0),
        (f"{GOAL:.0f} % of the ops outside DenseNets", f"{outside:.1f} %", outside >= GOAL),
    ):
        yield f"- {'met' if met else '**missed**'}: {goal} ({reached})"


def _reason_lines(results: Sequence[Result]) -> Iterator[str]:
    ops: Counter[str] = Counter()
    models: Counter[str] = Counter()
    for result in results:
        ops.update(result.stays)
        models.update(result.stays.keys())
    yield from (f"| {times} | {models[why]} | {why} |" for why, times in ops.most_common())


def _tool_line(name: str, results: Sequence[Result]) -> str:
    wrong = sum(result.attempts[name].wrong for result in results)
    failed = sum(bool(result.attempts[name].failed) for result in results)
    outside = [result for result in results if not result.dense]
    return f"| {name} | {_share(name, results)} | {_share(name, outside)} | {wrong} | {failed} |"


def _share(name: str, results: Sequence[Result]) -> str:
    return f"{_percent(name, results):.1f} %"


def _percent(name: str, results: Sequence[Result]) -> float:
    """Of the ops, those removed from models that are still right."""
    right = [r.attempts[name].removed for r in results if not r.attempts[name].wrong]
    return 100 * sum(right) / max(1, sum(result.ops for result in results))


def _header(names: Sequence[str]) -> str:
    return f"| model | ops | {' | '.join(names)} | what stays |"


def _model_line(result: Result, names: Sequence[str]) -> str:
    stays = "; ".join(f"{times} × {why}" for why, times in Counter(result.stays).most_common(3))
    cells = [_cell(result.attempts[name]) for name in names]
    return f"| {result.spec} | {result.ops} | {' | '.join(cells)} | {stays} |"


def _cell(tried: Attempt) -> str:
    if tried.failed:
        return tried.failed.split(":")[0]
    return f"{tried.removed} **wrong**, {tried.error:.0e}" if tried.wrong else str(tried.removed)


def versions() -> str:
    """Of everything that is measured."""
    found = []
    for package in ("fieldwise", "torch", "torchvision", "timm", "torchao"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)
