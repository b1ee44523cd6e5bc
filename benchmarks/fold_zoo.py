"""How many BatchNorm ops folding removes from real architectures, and whether it is right.

    python benchmarks/fold_zoo.py                  one model per family, an hour on two cores
    python benchmarks/fold_zoo.py --resume         the same, without what was measured already
    python benchmarks/fold_zoo.py 'timm:resnet*'   all models whose spec matches a glob

A family is what a module of timm or torchvision calls by one first word ('mixnet', 'tf_mixnet');
those that have a model with BatchNorm count.  Beside each other (see ``fold_tools``):

    fieldwise   fold(model, example), and with allow_graph=True
    torch.fx    torch.fx.experimental.optimization.fuse
    adjacency   a BatchNorm defined right after a convolution goes into it
    torchao     its pt2e folding, where torchao is installed

Every model has a process and 900 seconds of its own.  A run over the families keeps its
results in build/fold_zoo.jsonl as they come, and writes docs/fold_zoo.md and docs/fold_zoo.csv.
Exit code 1 where fieldwise is wrong, fails, or leaves an exact fold undone.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from fold_tables import markdown, row
from fold_tools import Result, measure

DOCS = Path(__file__).parents[1] / "docs"
KEPT = Path(__file__).parents[1] / "build" / "fold_zoo.jsonl"
WORKERS = 2
SECONDS = 900


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
    """The results as they come."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(measured_apart, spec) for spec in chosen]
        for number, future in enumerate(as_completed(futures), 1):
            result = future.result()
            print(f"{number}/{len(chosen)} {line(result)}", flush=True)
            yield result


def measured_apart(spec: str) -> Result:
    """One model in a process of its own, which may hang or die without harm to the others."""
    command = [sys.executable, __file__, "--one", spec]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Result(spec, failed=f"no answer after {SECONDS} s")
    lines = [text for text in done.stdout.splitlines() if text.startswith('{"spec"')]
    if lines:
        return Result.from_json(lines[-1])
    said = (done.stderr.strip().splitlines() or [""])[-1]
    return Result(spec, failed=f"its process ended with {done.returncode}: {said[:160]}")


def kept() -> dict[str, Result]:
    """What an earlier run measured; failures are measured again."""
    if not KEPT.exists():
        return {}
    found = map(Result.from_json, KEPT.read_text(encoding="utf-8").splitlines())
    return {result.spec: result for result in found if not result.failed}


def line(result: Result) -> str:
    """One model on one line."""
    if result.failed:
        return f"{result.spec}: {result.failed}"
    parts = [
        f"{name} {tried.failed[:40] or f'{tried.removed} ({tried.error:.0e})'}"
        for name, tried in result.attempts.items()
    ]
    return f"{result.spec}: {result.ops} ops; {'; '.join(parts)}; {dict(result.stays)}"


def main() -> int:
    """Run the benchmark; a run by globs prints its totals and writes nothing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("globs", nargs="*")
    parser.add_argument("--resume", action="store_true", help="keep what was measured already")
    parser.add_argument("--one", metavar="SPEC", help="measure one model and print it as JSON")
    options = parser.parse_args()
    if options.one:
        print(measure(options.one).to_json())
        return 0
    results = chosen(options.globs) if options.globs else every_family(resume=options.resume)
    return 0 if all(map(good, results)) else 1


def chosen(globs: Sequence[str]) -> list[Result]:
    """Models by globs, printed."""
    specs = [spec for _, spec in modules() if any(fnmatchcase(spec, glob) for glob in globs)]
    results = sorted(run(specs), key=lambda result: result.spec)
    print(markdown(results))
    return results


def every_family(*, resume: bool) -> list[Result]:
    """One model per family, kept and written."""
    found = kept() if resume else {}
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("w", encoding="utf-8") as file:
        file.writelines(f"{result.to_json()}\n" for result in found.values())
        file.flush()
        for result in run([spec for spec in families() if spec not in found]):
            found[result.spec] = result
            print(result.to_json(), file=file, flush=True)
    results = sorted(found.values(), key=lambda result: result.spec)
    write(results)
    return results


def write(results: Sequence[Result]) -> None:
    """docs/fold_zoo.csv and docs/fold_zoo.md."""
    DOCS.mkdir(exist_ok=True)
    rows = [row(result) for result in results if not result.failed]
    names = list(dict.fromkeys(name for one in rows for name in one))
    with (DOCS / "fold_zoo.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (DOCS / "fold_zoo.md").write_text(markdown(results), encoding="utf-8")


def good(result: Result) -> bool:
    """Whether fieldwise does on this model what it promises."""
    if result.failed:
        return False
    tried = result.attempts["fieldwise"], result.attempts["fieldwise, graph"]
    return result.done == result.possible and not any(one.wrong or one.failed for one in tried)


if __name__ == "__main__":
    sys.exit(main())
