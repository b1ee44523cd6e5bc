"""fieldwise and other tools, asked the same questions of the same networks.

    make peers                             in an environment of its own, with all tools
    python benchmarks/peers.py             in any environment that has some of them
    python benchmarks/peers.py streams     one capability: fields, effective, folds, tiles, streams
    python benchmarks/peers.py --only LSTM some networks; prints alone

A module per capability says what is asked and what truth is (`peers_fields` and so on); the frame
with the verdicts is `peers_frame`.  A tool that is not installed is left out of the table, and the
exit code is 1.  It is also 1 where fieldwise is silently wrong.  Writes the tables of
docs/comparison.md between their marks.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from marks import write_between
from peers_frame import SILENTLY_WRONG, VERDICTS, Answer, Capability, ask_all

PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
CAPABILITIES = ("fields", "effective", "folds", "tiles", "streams")

Answers = Mapping[str, Mapping[str, Answer]]
"""By subject and tool."""


def installed(capability: Capability) -> Capability:
    """The same with the tools that are there."""

    def is_there(name: str) -> bool:
        try:
            return bool(capability.tools[name].versions or True)
        except PackageNotFoundError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            return False

    tools = {name: tool for name, tool in capability.tools.items() if is_there(name)}
    return replace(capability, tools=tools)


# ------------------------------------------------------------------------------ the tables


def summary(capability: Capability, answers: Answers) -> list[str]:
    """A row per tool: versions, how often it said what, and the median of its times."""
    met = {answer.verdict for row in answers.values() for answer in row.values()}
    shown = [one for one in VERDICTS if one in met]
    lines = [
        f"| tool | version | {' | '.join(shown)} | time |",
        f"| --- | --- | {' | '.join(['--:'] * len(shown))} | --: |",
    ]
    for name, tool in capability.tools.items():
        given = [row[name] for row in answers.values()]
        counts = [sum(answer.verdict == one for answer in given) for one in shown]
        ratios = [answer.ratio for answer in given if not math.isnan(answer.ratio)]
        time_of = times(statistics.median(ratios)) if ratios else "–"
        cells = " | ".join(str(count or "") for count in counts)
        lines.append(f"| {name} | {tool.versions or '–'} | {cells} | {time_of} |")
    return lines


def details(capability: Capability, answers: Answers) -> list[str]:
    """A row per network, a column per tool."""
    tools = list(capability.tools)
    lines = [f"| network | {' | '.join(tools)} |", f"| --- |{' --- |' * len(tools)}"]
    for subject, row in answers.items():
        lines.append(f"| {subject} | {' | '.join(cell(row[tool]) for tool in tools)} |")
    return lines


def reasons(answers: Answers) -> list[str]:
    """What tools said in place of an answer, each once with the networks."""
    met: dict[tuple[str, str, str], list[str]] = {}
    for subject, row in answers.items():
        for tool, answer in row.items():
            if answer.why:
                met.setdefault((tool, answer.verdict, answer.why), []).append(subject)
    return [
        f"- {tool}, {verdict}: {escaped(why)} ({listed(subjects, len(answers))})"
        for (tool, verdict, why), subjects in met.items()
    ]


def listed(subjects: Sequence[str], total: int) -> str:
    """Names of networks, or how many where they are many."""
    return "; ".join(subjects) if len(subjects) <= 3 else f"{len(subjects)} of {total}"


def cell(answer: Answer) -> str:
    """Verdict, what was measured beside it, and the time."""
    parts = [answer.verdict + (f" ({escaped(answer.note)})" if answer.note else "")]
    if answer.verdict == SILENTLY_WRONG:
        parts[0] = f"**{parts[0]}**"
    if not math.isnan(answer.ratio):
        parts.append(times(answer.ratio))
    return ", ".join(parts)


def times(ratio: float) -> str:
    """How many times as long."""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def escaped(text: str) -> str:
    """What a tool says, without what Markdown or HTML would read in it."""
    return re.sub(r"([|<>*_`\[\]\\])", r"\\\1", text)


def section(capability: Capability, answers: Answers) -> str:
    """What stands between the marks of a capability."""
    return "\n".join(
        [
            *summary(capability, answers),
            "",
            f"Of {len(answers)} networks. Time: CPU, one thread, over that of "
            f"{capability.base_name}, the median.",
            "",
            '<details markdown="1"><summary>Network by network</summary>',
            "",
            *details(capability, answers),
            "",
            *([*said, ""] if (said := reasons(answers)) else []),
            "</details>",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Ask, print, and write the page unless some networks alone are asked about."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("capabilities", nargs="*", choices=[[], *CAPABILITIES])
    parser.add_argument("--only", default="", help="networks whose name holds this")
    given = parser.parse_args(arguments)
    complete = True
    for mark in given.capabilities or CAPABILITIES:
        whole = import_module(f"peers_{mark}").CAPABILITY
        capability = installed(whole)
        subjects = [name for name in capability.subjects if given.only in name]
        if not subjects:
            continue
        start = time.monotonic()
        answers = ask_all(capability, subjects)
        print(
            section(capability, answers),
            f"\n{mark}: {time.monotonic() - start:.0f} s\n",
            flush=True,
        )
        if not given.only:
            write_between(PAGE, mark, section(capability, answers))
        ours = [row[name] for row in answers.values() for name in row if "fieldwise" in name]
        complete &= capability.tools.keys() == whole.tools.keys()
        complete &= all(answer.verdict != SILENTLY_WRONG for answer in ours)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
