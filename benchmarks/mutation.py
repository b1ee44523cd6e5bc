"""Would the tests notice?  Mutants of the parts that everything rests on, by mutmut.

    python benchmarks/mutation.py [ROOM ...] [--sample N] [--seed S] [--children 2]

Each room's files are mutated in a copy of the tree, a mutant at a time (an operator, a bound, an
argument, a constant), and the room's own tests are run until one fails.  ``--sample`` takes so many
mutants of each file, drawn with the seed.  Writes docs/mutation.md: how many were killed, and every
survivor with the line that it changes.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "mutation.md"
CAUGHT = {"killed", "timeout", "segfault", "suspicious"}


@dataclass(frozen=True, slots=True)
class Room:
    """Files that are mutated, in the package, and the tests that should notice, in tests/."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


def room(folder: str, files: str, tests: str) -> Room:
    """A room from the names of its files and tests, in a folder of either."""
    return Room(
        tuple(f"src/fieldwise/{folder}/{name}.py" for name in files.split()),
        tuple(f"tests/{folder.split('/')[0]}/test_{name}.py" for name in tests.split()),
    )


ROOMS = {
    "axes": room("axes", "*", "axis_map borders index_set region table against_isl"),
    "field": room("field", "pull transfer", "agreement known_numbers guards"),
    "shift": room(
        "shift",
        "prove step moving layout combine contract guards pieces reading",
        "prove_singles prove_odd prove_known prove_certificate prove_random",
    ),
    "fold": room("fold", "affine weights", "affine merging micro_suite"),
    "tile": room(
        "tile/stream",
        "schedule statistics",
        "stream_networks stream_random stream_multipass plan",
    ),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutant: its name, the file, mutmut's status, and what it changes (of survivors)."""

    name: str
    file: str
    status: str
    change: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", default=[], metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("--sample", type=int, metavar="N", help="mutants of each file; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--children", type=int, default=2)
    options = parser.parse_args()
    if unknown := [room for room in options.rooms if room not in ROOMS]:
        parser.error(f"There is no room {unknown[0]!r}; rooms are {', '.join(ROOMS)}.")
    found: dict[str, list[Mutant]] = {}
    for name in options.rooms or ROOMS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = mutants_of(ROOMS[name], Path(folder), options)
        print(name, dict(Counter(mutant.status for mutant in found[name])), flush=True)
    if not options.rooms:
        PAGE.write_text(page(found, options.sample, options.seed))


def mutants_of(room: Room, copy: Path, options: argparse.Namespace) -> list[Mutant]:
    """The mutants of a room after its tests have met them, in a copy of the tree."""
    lay_out(room, copy)
    run(copy, ["--max-children", "1", "no.such.mutant"])
    drawn = random.Random(options.seed)
    chosen = []
    for _, names in sorted(by_file(copy).items()):
        count = min(len(names), options.sample or len(names))
        chosen += drawn.sample(sorted(names), count)
    run(copy, ["--max-children", str(options.children), *chosen])
    statuses = by_file(copy)
    return [
        with_change(Mutant(name, file, status_by_exit_code[statuses[file][name]]), copy)
        for file in sorted(statuses)
        for name in sorted(set(statuses[file]).intersection(chosen))
    ]


def lay_out(room: Room, copy: Path) -> None:
    """The tracked files of the tree, and what mutmut is to do there."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    told = {
        "source_paths": ["src"],
        "only_mutate": list(room.files),
        "also_copy": ["conftest.py", "benchmarks", "docs"],
        "track_dependencies": False,
        "pytest_add_cli_args_test_selection": [*room.tests, "-m", "not slow"],
    }
    with (copy / "pyproject.toml").open("a") as config:
        config.write("\n[tool.mutmut]\n")
        config.writelines(f"{key} = {json.dumps(value)}\n" for key, value in told.items())


def run(copy: Path, arguments: Sequence[str]) -> None:
    with (copy / "mutmut.log").open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "mutmut", "run", *arguments],
            cwd=copy, stdout=log, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip


def by_file(copy: Path) -> dict[str, dict[str, int | None]]:
    """Per mutated file, its mutants and the exit codes of their tests."""
    found = {}
    for meta in (copy / "mutants" / "src").rglob("*.py.meta"):
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            found[str(meta.relative_to(copy / "mutants" / "src" / "fieldwise"))[:-5]] = codes
    return found


def with_change(mutant: Mutant, copy: Path) -> Mutant:
    """A survivor with the line that it changes, before → after."""
    if mutant.status in CAUGHT:
        return mutant
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", mutant.name],
        cwd=copy, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    changed = [line for line in shown if line[:1] in "+-" and line[:3] not in ("---", "+++")]
    before = " ".join(line[1:].strip() for line in changed if line[0] == "-")
    after = " ".join(line[1:].strip() for line in changed if line[0] == "+")
    return replace(mutant, change=f"{before} → {after}")


def page(found: dict[str, list[Mutant]], sample: int | None, seed: int) -> str:
    drawn = f"{sample} mutants of each file, drawn with seed {seed}" if sample else "all mutants"
    return "\n".join(
        [
            "# Mutants",
            "",
            f"`python benchmarks/mutation.py` on {date.today()}, mutmut {version('mutmut')}:",
            f"{drawn}.",
            "Killed: a test of the room fails, or does not end. A function that is decorated (a",
            "cached one, say) is not mutated by mutmut.",
            "",
            "| file | mutants | killed | score |",
            "| --- | --- | --- | --- |",
            *score_rows(found),
            "",
            "## Survivors",
            "",
            *survivor_rows(found),
            "",
        ]
    )


def score_rows(found: dict[str, list[Mutant]]) -> Iterator[str]:
    everything = [mutant for mutants in found.values() for mutant in mutants]
    for file in dict.fromkeys(mutant.file for mutant in everything):
        yield score_row(f"`{file}`", [mutant for mutant in everything if mutant.file == file])
    yield score_row("**all**", everything)


def score_row(what: str, mutants: Sequence[Mutant]) -> str:
    killed = sum(mutant.status in CAUGHT for mutant in mutants)
    score = f"{100 * killed / len(mutants):.0f} %" if mutants else "none made"
    return f"| {what} | {len(mutants)} | {killed} | {score} |"


def survivor_rows(found: dict[str, list[Mutant]]) -> Iterator[str]:
    for mutants in found.values():
        for mutant in mutants:
            if mutant.status not in CAUGHT:
                name = (
                    mutant.name.split(".")[-1]
                    .replace("\u01c1", ".")
                    .removeprefix("x.")
                    .lstrip("x_")
                )
                yield f"- `{mutant.file}` {name} ({mutant.status}): `{mutant.change}`"


if __name__ == "__main__":
    main()
