"""How many BatchNorm ops folding removes from real architectures, and whether it is right.

    python benchmarks/fold_zoo.py                  one model per family, an hour on two cores
    python benchmarks/fold_zoo.py 'timm:resnet*'   all models whose spec matches a glob

A family is what a module of timm or torchvision calls by one first word ('mixnet', 'tf_mixnet');
those that have a model with BatchNorm count.  Beside each other (see ``fold_tools``):

    fieldwise   fold(model, example), and with allow_graph=True
    torch.fx    torch.fx.experimental.optimization.fuse
    adjacency   a BatchNorm defined right after a convolution goes into it
    torchao     its pt2e folding, where torchao is installed

A run over the families writes docs/fold_zoo.md and docs/fold_zoo.csv.
"""

from __future__ import annotations

import csv
import multiprocessing
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from fold_tools import RIGHT, RIGHT_IN_SINGLE, Attempt, Result, measure

DOCS = Path(__file__).parents[1] / "docs"
WORKERS = 2
PER_WORKER = 8


# ------------------------------------------------------------------------------ the sample


def families() -> list[str]:
    """Of every family that has a model with BatchNorm, the smallest one."""
    smallest: dict[tuple[str, str], tuple[int, str]] = {}
    for module, spec in modules():
        if size := size_with_norms(spec):
            name = spec.split(":")[1]
            word = re.match(r"(?:legacy_|test_)?((?:tf_|quantized_)?[a-z]+)", name)
            family = module, word[1] if word else name
            smallest[family] = min(smallest.get(family, (size, spec)), (size, spec))
    return [spec for _, spec in smallest.values()]


def modules() -> Iterator[tuple[str, str]]:
    """(module that defines it, architecture), of both zoos."""
    import timm
    from torchvision import models

    for name in models.list_models():
        yield models.get_model_builder(name).__module__, f"torchvision:{name}"
    for module in timm.list_modules():
        yield from ((module, f"timm:{name}") for name in timm.list_models(module=module))


def size_with_norms(spec: str) -> int:
    """How many parameters it has; 0 for an architecture without BatchNorm.  Built without data."""
    from fieldwise.capture.specs import load_model

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = load_model(spec, weights=False).source
    except Exception:  # noqa: BLE001  (some are not built on the meta device)
        model = load_model(spec, weights=False).source
    means = (getattr(module, "running_mean", None) for module in model.modules())
    if not any(isinstance(mean, torch.Tensor) for mean in means):
        return 0
    return sum(parameter.numel() for parameter in model.parameters())


def run(chosen: Sequence[str]) -> Iterator[Result]:
    """The results as they come, from fresh processes so that memory is given back."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, context, max_tasks_per_child=PER_WORKER) as pool:
        futures = [pool.submit(measure, spec) for spec in chosen]
        for number, future in enumerate(as_completed(futures), 1):
            result = future.result()
            print(f"{number}/{len(chosen)} {line(result)}", flush=True)
            yield result


def line(result: Result) -> str:
    """One model on one line."""
    if result.failed:
        return f"{result.spec}: {result.failed}"
    parts = [
        f"{name} {tried.failed[:40] or f'{tried.removed} ({tried.error:.0e})'}"
        for name, tried in result.attempts.items()
    ]
    return f"{result.spec}: {result.ops} ops; {'; '.join(parts)}; {dict(result.stays)}"


# ------------------------------------------------------------------------------ the tables


def write(results: Sequence[Result]) -> None:
    """docs/fold_zoo.csv and docs/fold_zoo.md."""
    DOCS.mkdir(exist_ok=True)
    rows = [row(result) for result in results if not result.failed]
    with (DOCS / "fold_zoo.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (DOCS / "fold_zoo.md").write_text(markdown(results), encoding="utf-8")


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
    stays = "; ".join(f"{times} × {why}" for why, times in result.stays.most_common())
    totals = {"possible": result.possible, "done": result.done}
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
        f"Affine ops of any kind with an exact fold by our rules: "
        f"{sum(r.possible for r in measured)}; folded: {sum(r.done for r in measured)}.",
        "",
    ]
    failed = [result for result in results if result.failed]
    if failed:
        lines += ["## Not measured", "", *(f"- {r.spec}: {r.failed}" for r in failed), ""]
    lines += ["## Model by model", "", _header(names), "| --- " * (len(names) + 3) + "|"]
    lines += [_model_line(result, names) for result in measured]
    return "\n".join([*lines, ""])


def _tool_line(name: str, results: Sequence[Result]) -> str:
    wrong = sum(result.attempts[name].wrong for result in results)
    failed = sum(bool(result.attempts[name].failed) for result in results)
    outside = [result for result in results if not result.dense]
    return f"| {name} | {_share(name, results)} | {_share(name, outside)} | {wrong} | {failed} |"


def _share(name: str, results: Sequence[Result]) -> str:
    """Of the ops, those removed from models that are still right."""
    right = [r.attempts[name].removed for r in results if not r.attempts[name].wrong]
    return f"{100 * sum(right) / max(1, sum(result.ops for result in results)):.1f} %"


def _header(names: Sequence[str]) -> str:
    return f"| model | ops | {' | '.join(names)} | what stays |"


def _model_line(result: Result, names: Sequence[str]) -> str:
    stays = "; ".join(f"{times} × {why}" for why, times in result.stays.most_common(3))
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


def main(globs: Sequence[str]) -> int:
    """Run the benchmark; a run by globs prints its totals and writes nothing."""
    known = [spec for _, spec in modules()] if globs else families()
    chosen = [s for s in known if not globs or any(fnmatchcase(s, glob) for glob in globs)]
    results = sorted(run(chosen), key=lambda result: result.spec)
    if globs:
        print(markdown(results))
    else:
        write(results)
    bad = [result for result in results if result.failed or result.attempts["fieldwise"].wrong]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
