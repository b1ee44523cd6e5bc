"""Would the tests notice?  Mutants of the parts that everything rests on.

    python benchmarks/mutation.py [ROOM ...] [--sample N] [--seed S] [--children 2]

One place of a file is changed at a time (an operator, a bound, an argument, a constant, by the
operators of mutmut), and the room's own tests are run until one fails.  Each mutant is a fork of
one warm process that loads the changed source in place of the file; the tree stays as it is.

``--sample`` takes so many mutants of each file, drawn with the seed; ``--again`` tries those that
survived last time.  Rows of the files that were tried are replaced in docs/mutation.csv, and
docs/mutation.md is written from it and from survivors.toml: what was found out about survivors.
"""

from __future__ import annotations

import argparse
import csv
import doctest
import gc
import importlib
import json
import os
import random
import resource
import signal
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.metadata import version
from itertools import accumulate, groupby, islice
from pathlib import Path
from types import CodeType

import libcst as cst
import pytest
from hypothesis import HealthCheck, Phase, settings
from libcst.metadata import MetadataWrapper, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path("src/fieldwise")
PAGE = ROOT / "docs" / "mutation.md"
RESULTS = ROOT / "docs" / "mutation.csv"
REVIEWED = Path(__file__).with_name("survivors.toml")

Reviewed = dict[str, dict[str, str]]
"""Per file, survivors by their change: what was found out."""


@dataclass(frozen=True, slots=True)
class Room:
    """Files that are mutated, and the tests that should notice, quick ones first."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


def room(folder: str, files: str, tests: str) -> Room:
    """A room from the names of its files and tests, in a folder of either."""
    top = Path("tests", folder.split("/")[0])
    return Room(
        tuple(f"{folder}/{name}.py" for name in files.split()),
        tuple(
            str(top / name.with_name(f"test_{name.name}.py")) for name in map(Path, tests.split())
        ),
    )


ROOMS = {
    "axes": room(
        "axes",
        "axis_map borders digits index_set lattice region table",
        "axis_map borders digits index_set lattice region table against_isl",
    ),
    "field": room(
        "field", "pull transfer", "pull transfer known_numbers guards pieces masks agreement"
    ),
    "shift": room(
        "shift/proof",
        "sweep step signal layout combine rules/contraction guards windows reads",
        "proof/signal proof/reasons proof/singles proof/odd proof/certificate"
        " proof/undecided proof/flat proof/constants proof/spectra proof/treatment"
        " proof/complex proof/windows proof/layout proof/witness proof/known proof/pairs",
    ),
    "fold": room("folding", "affine weights", "affine weights merging passing micro_suite"),
    "tile": room(
        "tile/bands",
        "schedule statistics reductions moments",
        "bands/schedule bands/passes bands/partitions bands/kernels bands/networks",
    ),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed place.

    line:     where the change begins
    before:   the changed lines as they stand, and
    after:    as they read in the mutant
    made:     how many mutants of the file there are
    verdict:  'killed' (a test failed), 'timeout' (no end), 'survived', or '' before the tests ran
    """

    file: str
    line: int
    before: str
    after: str
    made: int = 0
    verdict: str = ""

    @property
    def change(self) -> str:
        return f"{self.before} → {self.after}"


Changed = tuple[Mutant, str]
"""A mutant and its source."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", default=[], metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("--sample", type=int, metavar="N", help="mutants of each file; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=100, help="drawn by a Hypothesis test")
    parser.add_argument("--again", action="store_true", help="only those that survived last time")
    parser.add_argument("--children", type=int, default=2)
    options = parser.parse_args()
    if unknown := [room for room in options.rooms if room not in ROOMS]:
        parser.error(f"There is no room {unknown[0]!r}; rooms are {', '.join(ROOMS)}.")
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT / "src"))
    settings.register_profile("mutants", max_examples=options.examples, **QUICK)
    for name in options.rooms or ROOMS:
        print(f"{name}: the tests take {warm_up(ROOMS[name]):.0f} s", flush=True)
        for file in ROOMS[name].files:
            mutants = all_mutants(file)
            if options.again:
                killed, mutants = tried_before(file, mutants)
            else:
                killed, mutants = [], drawn(mutants, f"{options.seed} {file}")[: options.sample]
            found = [*killed, *judged(ROOMS[name], mutants, options.children)]
            print(file, dict(Counter(mutant.verdict for mutant in found)), flush=True)
            write_results(file, found)
    write_page()


# ---------------------------------------------------------------------------- making mutants


class Changes(cst.CSTVisitor):
    """Every node that is changed, and to what.

    Left alone: annotations and decorators, imports, docstrings, the type in ``isinstance`` and the
    ``strict`` of ``zip``, which is an assertion of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if is_left_alone(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.found += [(node, new) for new in operator(node) if not is_unstrict(node, new)]
        return True


def is_left_alone(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Arg):
        return is_strict(node)
    if isinstance(node, cst.Call):
        return isinstance(node.func, cst.Name) and node.func.value in ("isinstance", "cast")
    return isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom)


def is_strict(argument: cst.Arg) -> bool:
    return argument.keyword is not None and argument.keyword.value == "strict"


def is_unstrict(old: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Whether a call lost nothing but the word of ``strict``."""
    if not (isinstance(old, cst.Call) and isinstance(new, cst.Call)):
        return False
    lost = [argument for argument in old.args if argument not in new.args]
    return len(lost) == 1 and is_strict(lost[0])


def all_mutants(file: str) -> list[Changed]:
    """Every mutant of a file that compiles, each with its source, in the order of the file."""
    source = (SOURCE / file).read_text()
    wrapper = MetadataWrapper(cst.parse_module(source))
    places = wrapper.resolve(WhitespaceInclusivePositionProvider)
    starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
    changes = Changes()
    wrapper.module.visit(changes)
    made: dict[Mutant, str] = {}
    for old, new in changes.found:
        start, stop = (
            starts[at.line - 1] + at.column for at in (places[old].start, places[old].end)
        )
        changed = source[:start] + wrapper.module.code_for_node(new) + source[stop:]
        if changed != source and compiles(changed):
            made.setdefault(as_mutant(file, source, changed), changed)
    return [
        (replace(mutant, made=len(made)), changed)
        for mutant, changed in sorted(made.items(), key=lambda item: place(item[0]))
    ]


def place(mutant: Mutant) -> tuple[str, int, str]:
    return mutant.file, mutant.line, mutant.change


def compiles(source: str) -> bool:
    try:
        compile(source, "<mutant>", "exec")
    except SyntaxError:
        return False
    return True


def as_mutant(file: str, source: str, changed: str) -> Mutant:
    """What differs between two sources, as lines without their indentation."""
    old, new = source.splitlines(), changed.splitlines()
    start = common(old, new)
    stop = min(common(old[::-1], new[::-1]), len(old) - start, len(new) - start)
    before, after = old[start : len(old) - stop], new[start : len(new) - stop]
    return Mutant(
        file, start + 1, " ".join(map(str.strip, before)), " ".join(map(str.strip, after))
    )


def common(one: Sequence[str], two: Sequence[str]) -> int:
    """How many lines are the same at the beginning."""
    return next((at for at, pair in enumerate(zip(one, two)) if pair[0] != pair[1]), len(one))  # noqa: B905


# ---------------------------------------------------------------------------- running them

QUICK = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "phases": (Phase.explicit, Phase.generate),
    "suppress_health_check": tuple(HealthCheck),
}
"""How Hypothesis draws for mutants: the same for each, and a failure is not made smaller."""
OPTIONS = [
    *["-x", "-q", "-m", "not slow", "--assert=plain", "--hypothesis-profile=mutants"],
    *["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:unraisableexception"],
]
SECONDS = 20
"""Processor time for one test, and a twentieth of the time that it may wait."""
MEMORY = 16 << 30
"""More address space than this, and a mutant fails."""
UNREAD = 99
"""How a child ends whose tests never loaded the changed file."""


def drawn(mutants: Sequence[Changed], seed: str) -> list[Changed]:
    """The mutants in an order of chance, the same for the same seed."""
    return random.Random(seed).sample(mutants, len(mutants))


def tried_before(file: str, mutants: Sequence[Changed]) -> tuple[list[Mutant], list[Changed]]:
    """Of the mutants that were tried last time, those that need not be tried again, and the rest.

    Those survived that nobody has found to be equivalent.  Exits where the file has changed since,
    so that some of them cannot be tried again.
    """
    before, reviewed = [one for one in read_results() if one.file == file], read_reviewed()
    if not {place(one) for one in before} <= {place(mutant) for mutant, _ in mutants}:
        raise SystemExit(f"{file} has changed since its mutants were tried; leave out --again.")
    is_settled = {
        place(one): one.verdict != "survived" or is_equivalent(one, reviewed) for one in before
    }
    return (
        [one for one in before if is_settled[place(one)]],
        [pair for pair in mutants if not is_settled.get(place(pair[0]), True)],
    )


def judged(room: Room, mutants: Sequence[Changed], children: int) -> Iterator[Mutant]:
    """The mutants after the tests of the room have met them, as many at a time as children."""
    waiting = iter(mutants)
    running: dict[int, Mutant] = {}
    while True:
        for mutant, source in islice(waiting, children - len(running)):
            running[in_child(partial(tested, room, mutant.file, source))] = mutant
        if not running:
            return
        child, status = os.wait()
        mutant = replace(running.pop(child), verdict=verdict(status))
        print(mutant.verdict, f"{mutant.file}:{mutant.line}", mutant.change, flush=True)
        yield mutant


def warm_up(room: Room) -> float:
    """CPU seconds that the tests take without a mutant; loads here what they load from others."""
    reading, writing = os.pipe()

    def run() -> int:
        code = tested(room, "", "")
        mine = ("fieldwise", "tests", "conftest", "_pytest", "__main__")
        loaded = [name for name in sys.modules if name.split(".")[0] not in mine]
        os.write(writing, json.dumps(loaded).encode())
        return code

    child = in_child(run)
    os.close(writing)
    with open(reading) as pipe:
        written = pipe.read()
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit("The tests fail without a mutant; run them first.")
    for name in json.loads(written):
        with suppress(Exception):  # it is loaded by the children, then
            importlib.import_module(name)
    gc.freeze()
    return usage.ru_utime + usage.ru_stime


def in_child(run: Callable[[], int]) -> int:
    """The id of a new process that runs this, in silence, and ends with its exit code."""
    if child := os.fork():
        return child
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    code = 3
    try:
        code = run()
    finally:
        os._exit(code)


class Clock:
    """A plugin of pytest's: a test that takes longer than ``SECONDS`` ends the process."""

    @staticmethod
    def pytest_runtest_logstart() -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(20 * SECONDS)


def tested(room: Room, file: str, source: str) -> int:
    """Pytest's exit code, with this source in place of the file's (of none where it is '').

    The doctests of the file come first, then the tests of its name, then the others.
    """
    changed, was_read = str(ROOT / SOURCE / file), not file
    get_code = SourceFileLoader.get_code

    def get_changed(loader: SourceFileLoader, name: str) -> CodeType | None:
        nonlocal was_read
        if loader.path != changed:
            return get_code(loader, name)
        was_read = True
        return compile(source, changed, "exec")

    Clock.pytest_runtest_logstart()
    SourceFileLoader.get_code = get_changed  # type: ignore[method-assign]
    if any(has_failing_examples(each) for each in room.files if each == file or not file):
        return 1
    tests = sorted(room.tests, key=lambda test: Path(test).name != f"test_{Path(file).name}")
    code = int(pytest.main([*OPTIONS, *tests], plugins=[Clock()]))
    return code if was_read else UNREAD


def has_failing_examples(file: str) -> bool:
    module = importlib.import_module(f"fieldwise.{file[:-3].replace('/', '.')}")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST
    return doctest.testmod(module, optionflags=flags).failed > 0


def verdict(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == UNREAD:
        raise SystemExit("The tests of this room do not load the file that is mutated.")
    if code in (-signal.SIGPROF, -signal.SIGALRM):
        return "timeout"
    return "killed" if code else "survived"


# ---------------------------------------------------------------------------- results and page


def write_results(file: str, found: Sequence[Mutant]) -> None:
    """These rows in place of the ones of this file."""
    others = [mutant for mutant in read_results() if mutant.file != file]
    with RESULTS.open("w", newline="") as written:
        names = [field.name for field in fields(Mutant)]
        writer = csv.DictWriter(written, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, sorted([*others, *found], key=place)))


def read_results() -> list[Mutant]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return [
            Mutant(**{**row, "line": int(row["line"]), "made": int(row["made"])})
            for row in csv.DictReader(file)
        ]


def write_page() -> None:
    PAGE.write_text(page(read_results(), read_reviewed()))


def read_reviewed() -> Reviewed:
    return tomllib.loads(REVIEWED.read_text())


def page(mutants: Sequence[Mutant], reviewed: Reviewed) -> str:
    """What was killed, file by file, and every survivor with what was found out about it."""
    by_room = {
        name: [mutant for mutant in mutants if mutant.file in room.files]
        for name, room in ROOMS.items()
    }
    parts = [INTRODUCTION.format(version=version("mutmut"))]
    parts += ["| file | mutants | tried | killed | score | equivalent |", "| --- " * 6 + "|"]
    for name, inside in by_room.items():
        for file, of_file in groupby(inside, key=lambda mutant: mutant.file):
            parts.append(score_row(f"`{file}`", list(of_file), reviewed))
        if inside:
            parts.append(score_row(f"**{name}**", inside, reviewed))
    parts += ["", "## Survivors", ""]
    for name, inside in by_room.items():
        parts += [f"### {name}", "", *survivor_rows(inside, reviewed), ""] if inside else []
    return "\n".join(parts)


INTRODUCTION = """\
# Mutants

Would the tests notice? One place of a file is changed (an operator, a bound, an argument, a
constant: the operators of mutmut {version}), and the tests of its room are run until one fails.
`python benchmarks/mutation.py` does so and writes this page; the mutants of a sample are drawn with
a fixed seed, and each stands in [mutation.csv](mutation.csv).

- *Killed*: a test failed, or did not end.
- *Equivalent*: nobody can tell the mutant from the original by what it answers. Such mutants count
  as survivors in the score.
- A survivor for want of a test gets one, and is tried again (`--again`): the score is that of a
  sample that was worked on. A run with another `--seed` tries mutants that nobody has seen.
- Left alone are imports, annotations, decorators, docstrings, and the `strict=` of `zip`, which is
  an assertion of its own.
"""


def score_row(what: str, mutants: Sequence[Mutant], reviewed: Reviewed) -> str:
    """Of one file or one room; ``made`` is the same for all mutants of a file."""
    made = sum({mutant.file: mutant.made for mutant in mutants}.values())
    survivors = [mutant for mutant in mutants if mutant.verdict == "survived"]
    killed = len(mutants) - len(survivors)
    equivalent = sum(is_equivalent(one, reviewed) for one in survivors)
    score = f"{100 * killed / len(mutants):.0f} %"
    return f"| {what} | {made} | {len(mutants)} | {killed} | {score} | {equivalent} |"


def survivor_rows(mutants: Sequence[Mutant], reviewed: Reviewed) -> Iterator[str]:
    for mutant in mutants:
        if mutant.verdict == "survived":
            yield (
                f"- `{mutant.file}` {mutant.line}: `{mutant.before}` → `{mutant.after}`: "
                f"{found_out(mutant, reviewed)}"
            )


def found_out(survivor: Mutant, reviewed: Reviewed) -> str:
    return reviewed.get(survivor.file, {}).get(survivor.change, "not looked at")


def is_equivalent(survivor: Mutant, reviewed: Reviewed) -> bool:
    return found_out(survivor, reviewed).startswith("equivalent")


if __name__ == "__main__":
    main()
