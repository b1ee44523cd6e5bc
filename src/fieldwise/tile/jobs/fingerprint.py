"""What must stay the same for an interrupted job to go on: digests of model, input and plan."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldwise.capture.torch.devices import described
from fieldwise.capture.torch.weights import add_tensor, digest_of_state
from fieldwise.graph.ir import Call, Node, Ref
from fieldwise.tile.files import NewFile
from fieldwise.tile.jobs.cuts import Cut
from fieldwise.tile.jobs.request import Request
from fieldwise.tile.jobs.work import JobPlan, Work
from fieldwise.version import __version__


@dataclass(frozen=True, slots=True)
class Identity:
    """Digests of what decides the bytes of a job's results.

    model: names, types and values of the weights; code: the ops that the model runs on this input
    input: see Source.identity; plan: see JobPlan.fingerprint
    settings: by option, what was asked for, as text
    """

    model: str
    code: str
    input: str
    plan: str
    settings: Mapping[str, str]

    def changed(self, before: Mapping[str, Any], cut: Cut | None = None) -> tuple[str, ...]:
        """What is different from an earlier job, for people; empty where nothing is.

        cut: how this job is cut into pieces

        What follows from something else is named only where it alone differs: the plan, the code
        and the blocks of a file from an input, and the weights from the type that they are cast to.
        """
        differing = {key for key, value in asdict(self).items() if before.get(key) != value}
        asked = [key for key, one in self.settings.items() if before["settings"].get(key) != one]
        options = [key for key in asked if key != _BLOCKS]
        if "input" in differing:
            options = [key for key in options if key not in _OF_INPUT]
        causes = [key for key in ("model", "input") if key in differing]
        if "--dtype" in options:
            causes = [key for key in causes if key != "model"]
        named = [*(_NAMES[key] for key in causes), *options]
        if not named and "plan" in differing and cut is not None:
            named = cut.changed(Cut.parse(before.get("cut")))
        return tuple(
            named or [_NAMES[key] for key in ("code", "plan") if key in differing][:1] or asked
        )


def identity_of(asked: Request, work: Work, files: Sequence[NewFile]) -> Identity:
    """What decides the bytes of these files."""
    return Identity(
        model=digest_of_state(asked.model.call.model),
        code=digest_of_code(work.nodes),
        input=asked.source.identity(),
        plan=digest_of_plan(work.plan),
        settings={name: json.dumps(one) for name, one in _settings(asked, files).items()},
    )


def digest_of_code(nodes: Iterable[Node]) -> str:
    """A digest of the recorded calls with their literals, wiring and constant tensors."""
    digest = hashlib.sha256()
    for node in nodes:
        digest.update(f"{node.op} {node.operands} {node.results} ".encode())
        if node.source is not None:
            _add_call(digest.update, node.source)
    return digest.hexdigest()


def digest_of_plan(plan: JobPlan) -> str:
    """A digest of what the plan says about the bytes of the results."""
    return digest_of_data(plan.fingerprint())


def digest_of_data(data: object) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def environment(device: torch.device) -> dict[str, str]:
    """What may change the last bits of a result although the job is the same.

    device: where it is computed
    """
    return {
        "fieldwise": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": str(torch.get_num_threads()),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "device": described(device),
    }


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What of an environment is different, for people; empty where nothing is."""
    changed = [key for key in now if before.get(key) != now[key]]
    return ", ".join(f"{key} {before.get(key)} → {now[key]}" for key in changed)


def _settings(asked: Request, files: Sequence[NewFile]) -> dict[str, object]:
    """By option, what decides the bytes of the results beside model, input and plan."""
    layout, ending = asked.layout, asked.model.ending
    mask = None if asked.mask is None else asked.mask.identity()
    return {
        "--layout": [layout.axes, layout.dims],
        "--channels": layout.channels,
        "--dtype": str(asked.model.dtype),
        "--autocast": asked.model.autocast,
        "--scale": asked.scale,
        _NORMALISATION: [asked.mean, asked.std],
        "--mask": mask,
        "--nodata": None if asked.nodata is None else str(asked.nodata),
        "--fill": str(asked.fill),
        "--out": str(ending),
        "--out-dtype": ending.dtype,
        "--compression": asked.compression,
        "--chunks": asked.chunks,
        "--pyramid": asked.pyramid,
        "--runtime": [asked.runtime, asked.providers],
        "the format of OUT": [file.path.suffix for file in files],
        _BLOCKS: [[file.grain, file.axes] for file in files],
    }


Add = Callable[[bytes | memoryview], None]


def _add_call(add: Add, call: Call) -> None:
    add(_named(call.target).encode())
    for value in (*call.args, *(item for pair in sorted(call.kwargs.items()) for item in pair)):
        _add_value(add, value)


def _add_value(add: Add, value: object) -> None:
    if isinstance(value, Tensor):
        add_tensor(add, value)
    elif isinstance(value, (list, tuple)):
        add(f"[{len(value)} ".encode())
        for item in value:
            _add_value(add, item)
    elif isinstance(value, Ref):
        add(f"operand {value.operand} ".encode())
    else:
        add(f"{_named(value)} ".encode())


def _named(value: object) -> str:
    """A text without addresses, the same in every process."""
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


_NAMES = {
    "model": "the model (its weights)",
    "code": "the model (what it computes)",
    "input": "the input",
    "plan": "the plan",
}
_NORMALISATION = "the normalisation (--mean and --std, --normalize or --percentiles)"
_BLOCKS = "the blocks of OUT"
_OF_INPUT = frozenset({"--layout", _NORMALISATION})
"""What another input may change by itself."""
