"""In a terminal of 80 columns, and of 60, no line is longer and no number is broken."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
import typer
from rich.cells import cell_len

from fieldwise.cli import app

CHAIN = "layers:conv3p1 relu conv3/2p1 relu conv3/2p1 globalpool"
WHOLE = ("--input", "1x1x640x640")
COMMANDS = {
    "field": ["field", CHAIN, *WHOLE, "--unit", "0,0"],
    "field of every layer": ["field", "torchvision:densenet121", "--layer", "*denselayer1.*"],
    "field, local": ["field", "timm:efficientnet_b0", "--ignore-global", "--layer", "blocks.*"],
    "fold": ["fold", "torchvision:densenet121", "--input", "1x3x64x64", "--check", "0"],
    "shift": ["shift", CHAIN, *WHOLE, "--layer", "*"],
    "shift, measured": ["shift", CHAIN, "--input", "1x1x32x32", "--measure"],
    "summary": ["summary", "torchvision:densenet121"],
    "compare": ["compare", "torchvision:resnet34", "torchvision:resnet50"],
    "stream": ["stream", "layers:conv9 relu conv9/2", "--rate", "44100/7"],
    "erf": ["erf", CHAIN, "--input", "1x1x32x32", "--noise", "1", "--layer", "relu"],
    "diagram": ["diagram", "layers:conv3/2 conv3", "-o", "a.svg"],
    "view": ["view", "layers:conv3/2 conv3", "-o", "a.html"],
    "tile": ["tile", "layers:conv3p1 relu", "in.npy", "out.npy", "--input", "1x1x64x64", "--plan"],
}
NUMBER = re.compile(r"(?<![\w.])[-≤]?\d[\d,.x/e+-]*\d|\d")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(monkeypatch, width: int, words: list[str]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    torch.manual_seed(0)  # of weights that are drawn
    terminal = Terminal()
    with redirect_stdout(terminal):
        app(words, standalone_mode=False)
    return terminal.getvalue().splitlines()


@pytest.mark.parametrize("case", COMMANDS)
def test_no_line_is_too_long_and_no_number_is_broken(case, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", np.zeros((1, 64, 64), np.float32))
    words = COMMANDS[case]
    whole = set(NUMBER.findall("\n".join(printed(monkeypatch, 10_000, words))))
    for width in (80, 60):
        lines = printed(monkeypatch, width, words)
        assert max(map(cell_len, lines)) <= width
        names = re.compile(r"\S*…\S*")  # whose middles are gone
        broken = {n for line in lines for n in NUMBER.findall(names.sub("", line))} - whole
        assert not broken, lines


def test_every_command_is_looked_at():
    assert {words[0] for words in COMMANDS.values()} == set(typer.main.get_command(app).commands)
