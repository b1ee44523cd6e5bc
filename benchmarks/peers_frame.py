"""One frame for all questions that are put to fieldwise and to other tools; see peers.py.

A capability has subjects (networks), tools, and a judge that holds what a tool found against a
truth which is not fieldwise's answer.  Every question has a process of its own and a time limit.
A verdict is one of `VERDICTS`, and is always computed:

    right                 as the truth
    right, called a bound as the truth, and the tool does not know that it is
    a bound               more than the truth, and the tool says that it may be
    right but the border  as the truth, but for samples at the border, of which the tool speaks
    differs, as said      another result, and the tool says so before it runs
    refuses               an error
    no answer             the tool says that it does not know, or has no end within the limit
    silently wrong        another answer than the truth, without a word
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

SECONDS = 240
ROUNDS = 3
LONG, TOO_LONG = 0.5, 4.0
"""CPU seconds above which work is timed once when warm, and not again at all."""
WORKERS = 2
VERDICTS = (
    "right",
    "right, called a bound",
    "a bound",
    "right but the border",
    "differs, as said",
    "refuses",
    "no answer",
    "silently wrong",
)
SILENTLY_WRONG = VERDICTS[-1]

Run = Callable[[], Any]
"""A tool's work on a subject, which is timed; everything that it needs is made before."""


class NoAnswerError(Exception):
    """A tool says that it does not know."""


@dataclass(frozen=True, slots=True)
class Tool:
    """How a tool is asked.

    prepare:  of a subject the work to be timed; what it returns goes to the judge
    packages: whose versions are named
    """

    prepare: Callable[[Any], Run]
    packages: tuple[str, ...]

    @property
    def versions(self) -> str:
        """Names and versions of its packages, as pip takes them."""
        return ", ".join(f"{name}=={version(name)}" for name in self.packages)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool said of one subject.

    note:    what was measured beside the verdict: '3 left', 'by 1.2'
    why:     the tool's own words where it has no answer
    seconds: of CPU time; ratio: over the time of the capability's base
    """

    verdict: str
    note: str = ""
    why: str = ""
    seconds: float = math.nan
    ratio: float = math.nan


@dataclass(frozen=True, slots=True)
class Capability:
    """A question.

    module:   that holds it as CAPABILITY, for the processes that answer
    judge:    (subject, what the tool found) to (verdict, note)
    base:     the work whose time is 1, and what it is called
    subjects: by name; a subject is whatever the tools of this capability take
    """

    module: str
    subjects: Mapping[str, Any]
    tools: Mapping[str, Tool]
    judge: Callable[[Any, Any], tuple[str, str]]
    base: Callable[[Any], Run]
    base_name: str = "fieldwise"

    @property
    def mark(self) -> str:
        """Its name on the page."""
        return self.module.removeprefix("peers_")


def asked(capability: Capability, subject: str, tool: str) -> Answer:
    """What a tool says, in this process."""
    given = capability.subjects[subject]
    try:
        run = capability.tools[tool].prepare(given)
        start = _cpu()
        found = run()
        first = _cpu() - start
    except NoAnswerError as error:
        return Answer("no answer", why=str(error))
    except Exception as error:  # noqa: BLE001  (whatever a tool raises is its refusal)
        return Answer("refuses", why=line_of(error))
    verdict, note = capability.judge(given, found)
    seconds, ratio = _times(run, lambda: capability.base(given), first)
    return Answer(verdict, note, "", seconds, ratio)


def _times(run: Run, base: Callable[[], Run], first: float) -> tuple[float, float]:
    """Median CPU seconds of warm runs, and their ratio to the base's; in turns where short."""
    ours = first if first > TOO_LONG else _spent(run)
    try:
        reference = base()
        reference()
        theirs = _spent(reference)
    except Exception:  # noqa: BLE001  (nothing to compare with)
        return ours, math.nan
    if max(ours, theirs) < LONG:
        turns = [(_spent(run), _spent(reference)) for _ in range(ROUNDS)]
        ours, theirs = map(statistics.median, zip(*turns, strict=True))
    return ours, ours / theirs


def _spent(work: Run) -> float:
    """CPU seconds of one run."""
    start = _cpu()
    work()
    return _cpu() - start


def _cpu() -> float:
    """CPU seconds of this process and of those that it waited for (compilers)."""
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited.ru_utime + waited.ru_stime


def line_of(error: BaseException) -> str:
    """The kind of error and its first sentence."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[0].split('. ')[0].strip().rstrip(':')[:160]}"


# ------------------------------------------------------------------------------ processes


def ask(capability: Capability, subject: str, tool: str) -> Answer:
    """What a tool says, in a process of its own; what it prints is dropped."""
    script = Path(__file__).with_name("peers_answer.py")
    command = [sys.executable, str(script), capability.module, subject, tool]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except subprocess.TimeoutExpired:
        return Answer("no answer", why=f"nothing within {SECONDS} s")
    except subprocess.CalledProcessError as error:
        return Answer("refuses", why=f"its process ended with {error.returncode}")
    return Answer(**json.loads(done.stdout.splitlines()[-1]))


def ask_all(capability: Capability, subjects: Sequence[str]) -> dict[str, dict[str, Answer]]:
    """By subject and tool, two questions at a time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        found = {
            subject: {
                tool: pool.submit(ask, capability, subject, tool) for tool in capability.tools
            }
            for subject in subjects
        }
        return {
            subject: {tool: future.result() for tool, future in row.items()}
            for subject, row in found.items()
        }
