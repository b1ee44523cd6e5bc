"""Stand-ins for what of torch is imported late: they say what the modules say, or ask them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.fx.experimental import symbolic_shapes

from fieldwise.cli import late

SOURCE = Path(__file__).parents[2] / "src"
PLAIN = (True, False, 0, 1, 7, (), (2, 3), [2, 3], torch.Size((2, 4)))
START = "from fieldwise.cli.late import import_late; import_late(); import sys, torch; "


@pytest.mark.parametrize("name", sorted(late._SHAPES))
def test_what_is_known_of_plain_values_is_what_torch_says(name):
    real, said = getattr(symbolic_shapes, name, None), 0
    if real is None:
        pytest.skip("this torch has no such function")
    for arguments in (*itertools.product(PLAIN), *itertools.product(PLAIN, PLAIN)):
        try:
            expected = real(*arguments)
        except (AssertionError, TypeError):
            continue
        known = late._SHAPES[name](*arguments)
        assert known == expected, arguments
        said += 1
    assert said


def test_nothing_is_known_of_anything_else():
    symbol = torch.zeros(1)
    known = [late._SHAPES[name](symbol, symbol) for name in sorted(late._SHAPES)]
    assert known == [NotImplemented] * len(late._SHAPES)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("torch._check(True); print('sympy' in sys.modules)", "False"),
        (
            "import torch.fx.experimental.symbolic_shapes as s; print(s.ShapeEnv.__name__); "
            "print(torch.fx.experimental.symbolic_shapes is sys.modules[s.__name__])",
            "ShapeEnv\nTrue",
        ),
        (
            "import torch._dynamo.config as c; print(c is torch._dynamo.config); "
            "print(c is sys.modules[c.__name__], torch._dynamo.config.recompile_limit > 0)",
            "True\nTrue True",
        ),
        (
            "from torch._dynamo.utils import is_compile_supported as ask; "
            "print('torch._dynamo.eval_frame' in sys.modules); print(ask('meta'), "
            "torch._dynamo.eval_frame.__name__)",
            "False\nFalse torch._dynamo.eval_frame",
        ),
        (
            "f = lambda x: x + 1; print(torch.compiler.disable(f)(1)); "
            "print('torch._dynamo.eval_frame' in sys.modules); "
            "print(torch.compile(f, backend='eager')(torch.zeros(1)).item())",
            "2\nFalse\n1.0",
        ),
    ],
)
def test_the_modules_come_when_they_are_needed(program, expected):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", START + program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == (expected, 0), done.stderr
