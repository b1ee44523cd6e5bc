"""Every op and module of torch, on torch's own samples, by every verb.

    python benchmarks/ops.py [GLOB ...] [--verb field,shift,streamed,tiled] [--samples 4]
                             [--workers 2] [--seconds 20] [--results FILE] [--page]

Each answer is held against a measurement of the op itself (see ``fieldwise.testing``).  A whole run
writes docs/ops.csv, a row per case, and of it docs/ops.md: op by verb with the kinds of what the op
reads, totals by verdict, and every wrong answer and bare exception.  With a FILE of results a run
goes on where an earlier one was stopped.  ``--page`` runs nothing and writes the page of the CSV.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import random
import resource
import signal
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date
from fnmatch import fnmatchcase
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
VERBS = ("field", "shift", "streamed", "tiled", "fold")
MEMORY = 12 << 30


@dataclass(frozen=True, slots=True)
class Result:
    """One case by one verb; see ``fieldwise.testing.Outcome`` for the verdicts.

    verdict: also 'random', 'no input', … for a case that is set apart, 'slow' for one that was not
             done in time, and 'crashed' for one that ended its process
    """

    case: str
    verb: str
    verdict: str
    why: str = ""
    compared: int = 0

    @property
    def op(self) -> str:
        return self.case.split("#")[0]


class TooSlow(BaseException):
    """No ordinary exception: nothing on the way may take it for the model's own failure."""


# -------------------------------------------------------------------- one case


def judge(case: Any, verb: str) -> Result:
    """The verdict on one case."""
    if case.apart:
        return Result(case.name, verb, case.apart.split(":")[0], case.apart)
    outcome = _JUDGES[verb](case)
    return Result(
        case.name, verb, outcome.verdict, " ".join(outcome.why.split())[:200], outcome.compared
    )


def _field(case: Any) -> Any:
    from benchmarks.ops_cases import others, variants
    from fieldwise.testing.fields import field_outcome

    return field_outcome(case.model, case.inputs, variants=variants(case), others=others(case))


def _shift(case: Any) -> Any:
    from fieldwise.testing.outcome import worst
    from fieldwise.testing.shifts import shift_outcome

    sizes = case.inputs[0].shape
    return worst(
        shift_outcome(case.model, case.inputs, axis) for axis in range(len(sizes))
        if sizes[axis] >= 2
    )  # fmt: skip


def _streamed(case: Any) -> Any:
    from fieldwise.testing.outcome import worst
    from fieldwise.testing.tiles import streamed_outcome

    found = []
    for axis in _long_axes(case):
        outcome = streamed_outcome(case.model, case.inputs, axis)
        if outcome.verdict == "refused":
            outcome = streamed_outcome(case.model, case.inputs, axis, global_ops="multipass")
        found.append(outcome)
    return worst(found)


def _tiled(case: Any) -> Any:
    from fieldwise.testing.outcome import worst
    from fieldwise.testing.tiles import tiled_outcome

    return worst(tiled_outcome(case.model, case.inputs, axis) for axis in _long_axes(case))


def _fold(case: Any) -> Any:
    from benchmarks.ops_cases import between
    from fieldwise.testing.folds import fold_outcome
    from fieldwise.testing.outcome import worst

    return worst(fold_outcome(model, case.inputs) for model in between(case))


def _long_axes(case: Any) -> list[int]:
    """Counted from the end."""
    sizes = case.inputs[0].shape
    return [axis - len(sizes) for axis in range(len(sizes)) if sizes[axis] >= 3]


_JUDGES: dict[str, Callable[[Any], Any]] = {
    "field": _field,
    "shift": _shift,
    "streamed": _streamed,
    "tiled": _tiled,
    "fold": _fold,
}


# -------------------------------------------------------------------- many cases, in processes


@dataclass(frozen=True, slots=True)
class Settings:
    verbs: tuple[str, ...]
    samples: int
    seconds: int


def work(pipe: Connection, settings: Settings) -> None:
    """Take names of ops, send a result per case and verb; first of all say which is begun."""
    import torch

    from benchmarks.ops_cases import sources

    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # torch's own warnings
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _give_up)
    while True:
        name, done = pipe.recv()
        for case in sources()[name](settings.samples):
            for verb in settings.verbs:
                if (case.name, verb) in done:
                    continue
                pipe.send((case.name, verb))
                pipe.send(_in_time(case, verb, settings.seconds))
        pipe.send(None)


def _in_time(case: Any, verb: str, seconds: int) -> Result:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return judge(case, verb)
    except TooSlow:
        return Result(case.name, verb, "slow", f"no answer after {seconds} s of processor time")
    except Exception as error:  # noqa: BLE001 - the check itself failed, which must not be lost
        return Result(case.name, verb, "unchecked", f"{type(error).__name__}: {error}"[:400])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _give_up(*_: object) -> None:
    raise TooSlow


class Worker:
    """A process that judges one op after the other; it is replaced when it hangs or dies.

    op:      what it is at; None when it is done, and then ``results`` are complete
    begun:   the case and verb that it is at
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.op: str | None = None
        self.begun: tuple[str, str] | None = None
        self.results: list[Result] = []
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.settings), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, op: str) -> None:
        """Begin an op."""
        self.op, self.results = op, []
        self._send()

    def _send(self) -> None:
        self.begun = None
        self.pipe.send((self.op, {(result.case, result.verb) for result in self.results}))

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def take(self) -> None:
        """One message: what is begun, a result, or None when the op is done."""
        try:
            message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.replace("crashed")
            return
        if message is None:
            self.op = None
        elif isinstance(message, Result):
            self.results.append(message)
            self.begun = None
        else:
            self.begun = message

    def replace(self, why: str) -> None:
        """Note what became of the case that was begun; a new process goes on behind it."""
        self.stop()
        case, verb = self.begun or (f"{self.op}#samples", "field")
        self.results.append(Result(case, verb, why, f"the process {why}"))
        self._start()
        if self.begun is None:
            self.op = None
        else:
            self._send()


def run(ops: Sequence[str], settings: Settings, workers: int) -> Iterator[list[Result]]:
    """The results as they come, those of an op together."""
    waiting = list(reversed(ops))
    pool = [Worker(settings) for _ in range(min(workers, len(ops)))]
    for worker in pool:
        worker.give(waiting.pop())
    try:
        while busy := [worker for worker in pool if worker.op is not None]:
            by_pipe: dict[Any, Worker] = {worker.pipe: worker for worker in busy}
            ready = wait(list(by_pipe), timeout=20 * settings.seconds + 60)
            for worker in [] if ready else busy:
                worker.replace("hung")
            for pipe in ready:
                worker = by_pipe[pipe]
                worker.take()
                if worker.op is None:
                    yield worker.results
                    if waiting:
                        worker.give(waiting.pop())
    finally:
        for worker in pool:
            worker.stop()


# -------------------------------------------------------------------- the page


def write(results: Sequence[Result], ops: int) -> None:
    """docs/ops.csv, a row per case, and docs/ops.md of so many ops and modules in all."""
    cases: dict[str, dict[str, Result]] = defaultdict(dict)
    for result in results:
        cases[result.case][result.verb] = result
    with (DOCS / "ops.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("case", *VERBS, "why"))
        for case, found in sorted(cases.items()):
            verdicts = (found[verb].verdict if verb in found else "" for verb in VERBS)
            writer.writerow((case, *verdicts, _SEPARATOR.join(_whys(found.values()))))
    write_page(ops, f"on {date.today()}, {_versions()}")


def _whys(results: Iterable[Result]) -> Iterator[str]:
    """What stands beside verdicts that are not what one would wish for."""
    for result in sorted(results, key=lambda result: VERBS.index(result.verb)):
        if result.verdict in (*_TOLD, *FAILED):
            yield f"{result.verb}: {result.why}"


_SEPARATOR = " | "


def write_page(ops: int, when: str) -> None:
    """docs/ops.md, of docs/ops.csv."""
    text = markdown(list(written_results()), ops, when)
    (DOCS / "ops.md").write_text(text, encoding="utf-8")


def _when() -> str:
    """The day and the versions of the run that the page speaks of."""
    page = (DOCS / "ops.md").read_text(encoding="utf-8")
    return page.partition("benchmarks/ops.py` ")[2].partition(": ")[0]


def written_results() -> Iterator[Result]:
    """The results that docs/ops.csv holds."""
    with (DOCS / "ops.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            whys = dict(part.split(": ", 1) for part in row["why"].split(_SEPARATOR) if part)
            for verb in VERBS:
                if row[verb]:
                    yield Result(row["case"], verb, row[verb], whys.get(verb, ""))


_MEANINGS = {
    "exact": "the answer is what was measured",
    "holds, broken": "a certificate says so, and shifted inputs agree",
    "undecided": "a certificate says that nothing is proven",
    "bound, unknown": "marked as an upper bound, which it is; unknown: for want of a rule",
    "degenerate": "says too much, but only for whole-number constants as they are (a zero)",
    "refused": "an error that says why; of fold: nothing goes",
    "nothing": "nothing to compare: no elements, no axis that is long enough, no layer that fits",
    "random, does not run, sparse or nested, float8, no input, no samples": "set apart",
    "wrong, bare": "fieldwise is at fault: another answer, or another error",
    "slow, crashed, hung, unchecked": "not done in time, or the check itself failed",
}

_TOLD = ("bound", "unknown", "undecided", "degenerate")
FAILED = ("wrong", "bare", "crashed", "hung", "slow", "unchecked")


def markdown(results: Sequence[Result], ops: int, when: str) -> str:
    """Totals, what failed, and a table of op by verb."""
    lines = [
        "# Every op of torch",
        "",
        f"`python benchmarks/ops.py` {when}: torch's own sample inputs "
        f"for {len({r.op for r in results})} of {ops} ops and modules, "
        f"{len({r.case for r in results})} cases, each held against a measurement of the op itself "
        f"(see `fieldwise.testing`).",
        "",
        "| verdict | meaning |",
        "| --- | --- |",
        *(f"| {verdict} | {meaning} |" for verdict, meaning in _MEANINGS.items()),
        "",
        *_totals(results),
        "",
    ]
    failed = [result for result in results if result.verdict in FAILED]
    if failed:
        lines += [
            "## What failed",
            "",
            "| case | verb | verdict | why |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| {r.case} | {r.verb} | {r.verdict} | {_cell(r.why[:160])} |" for r in failed]
        lines += [""]
    return "\n".join([*lines, "## Op by verb", "", _KINDS, "", *_table(results), ""])


_KINDS = """\
*kinds*: how the op combines what it reads, as its rule claims (see `fieldwise.graph.kinds`);
several where it has operands, results or steps of several kinds."""


def kinds(op: str) -> str:
    """The kinds of what an op reads in torch's first sample of it."""
    from benchmarks.ops_cases import sources
    from fieldwise.capture.torch import capture
    from fieldwise.errors import FieldwiseError

    found: dict[str, None] = {}
    for case in sources()[op](1):
        if case.apart or case.name.endswith((":in-place", ":method")):
            continue
        try:
            graph = capture(case.model, case.inputs)
        except FieldwiseError:
            continue
        reads = (read for node in graph.nodes for result in node.reads for read in result)
        found |= dict.fromkeys(_in_words(read.kind) for read in reads)
    return "; ".join(sorted(found))


def _in_words(kind: Any) -> str:
    """'mean (alike, joins)'."""
    claims = [
        claim for claim in ("alike", "keeps", "joins", "scans", "draws") if getattr(kind, claim)
    ]
    return kind.combines + (f" ({', '.join(claims)})" if claims else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _totals(results: Sequence[Result]) -> list[str]:
    verbs = [verb for verb in VERBS if any(r.verb == verb for r in results)]
    counts = Counter((r.verdict, r.verb) for r in results)
    verdicts = sorted(
        {verdict for verdict, _ in counts}, key=lambda v: -sum(counts[v, verb] for verb in verbs)
    )
    lines = ["| verdict | " + " | ".join(verbs) + " |", "| --- |" + " ---: |" * len(verbs)]
    for verdict in verdicts:
        cells = (str(counts[verdict, verb] or "") for verb in verbs)
        lines.append(f"| {verdict} | " + " | ".join(cells) + " |")
    sums = (str(sum(counts[v, verb] for v in verdicts)) for verb in verbs)
    return [*lines, "| all | " + " | ".join(sums) + " |"]


def _table(results: Sequence[Result]) -> list[str]:
    verbs = [verb for verb in VERBS if any(r.verb == verb for r in results)]
    cells: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for result in results:
        cells[result.op][result.verb][result.verdict] += 1
    lines = ["| op | kinds | " + " | ".join(verbs) + " |", "| --- | --- |" + " --- |" * len(verbs)]
    for op, found in sorted(cells.items()):
        told = (", ".join(f"{v} {n}" for v, n in found[verb].most_common()) for verb in verbs)
        lines.append(f"| {op} | {kinds(op)} | " + " | ".join(told) + " |")
    return lines


def _versions() -> str:
    from importlib.metadata import version

    return ", ".join(f"{package} {version(package)}" for package in ("fieldwise", "torch"))


def main(arguments: Sequence[str]) -> int:
    """Run; a partial run prints its totals and writes no page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("globs", nargs="*", default=["*"])
    parser.add_argument("--verb", default=",".join(VERBS))
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=20, help="of processor time, per answer")
    parser.add_argument("--failures", type=Path, help="a folder for a list of failures per verb")
    parser.add_argument("--results", type=Path, help="a CSV file of all results, to go on with")
    parser.add_argument("--page", action="store_true", help="write the page of docs/ops.csv alone")
    given = parser.parse_args(arguments)
    from benchmarks.ops_cases import sources

    if given.page:
        write_page(len(sources()), _when())
        return 0

    verbs = tuple(given.verb.split(","))
    results = _kept(given.results) if given.results else []
    done = {result.op for result in results}
    ops = [name for name in sources() if any(fnmatchcase(name, glob) for glob in given.globs)]
    random.Random(0).shuffle(ops)
    settings = Settings(verbs, given.samples, given.seconds)
    for found in run([name for name in ops if name not in done], settings, given.workers):
        results += found
        for result in found:
            if result.verdict in FAILED:
                print(f"{result.case} {result.verb} {result.verdict}: {result.why}", flush=True)
        if given.results:
            _save(given.results, results)
        if given.failures:
            _list_failures(given.failures, results, verbs)
    print("\n".join(_totals(results)))
    if given.globs == ["*"] and verbs == VERBS:
        write(results, len(ops))
    return 0


def _kept(path: Path) -> list[Result]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Result(*row[:4], int(row[4])) for row in list(csv.reader(file))[1:]]


def _save(path: Path, results: Sequence[Result]) -> None:
    """Write the file as a whole, or leave what was there: a run may be stopped at any time."""
    new = path.with_suffix(".new")
    with new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Result))
        writer.writerows(astuple(result) for result in results)
    new.replace(path)


def _list_failures(folder: Path, results: Sequence[Result], verbs: Sequence[str]) -> None:
    listed = (*FAILED, "unknown")
    for verb in verbs:
        rows = sorted(
            f"{r.case}\t{r.verdict}\t{r.why}"
            for r in results
            if r.verb == verb and r.verdict in listed
        )
        (folder / f"ops_failures_{verb}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main(sys.argv[1:]))
