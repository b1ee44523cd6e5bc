"""How memory is taken and given back: a process grows by what a plan promises."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from fieldwise.cli import system_memory

tile = import_module("fieldwise.cli.tile_run")
MEASURED = """
import json, re, torch
from torch import nn
from fieldwise.cli.system_memory import give_back_freed
from fieldwise.tile import streamed

def status(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(48, 24, 2, 2),
    nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 2, 1),
).eval()
x = torch.randn(1, 3, 768, 1024)
with torch.inference_mode():
    run = streamed(net, x[..., :64, :64], band=96)
    promised = run.plan(x.shape).peak_bytes
    for _ in streamed(net, x[..., :64, :64], band=16).bands(x[..., :96, :96]):
        pass
    given_back = give_back_freed()
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    for _ in run.bands(x):
        pass
print(json.dumps([given_back, promised, status("VmHWM") - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_grows_by_little_more_than_the_plan_promises():
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    given_back, promised, grown = json.loads(done.stdout.splitlines()[-1])
    assert given_back
    assert promised / 2 < grown < 1.6 * promised


def test_nothing_is_promised_of_another_c_library(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not system_memory.give_back_freed()


class Plan:
    """What of a job decides."""

    def __init__(self, memory, peak):
        self.peak_bytes = peak
        self.memory = memory
        self.device = SimpleNamespace(type="cpu")
        self.plan = self.request = self.model = self.call = self


@pytest.mark.parametrize(
    ("memory", "given_back"), [(None, False), (2_500, False), (2_400, True), (1_000, True)]
)
def test_it_is_given_back_where_the_plan_takes_most_of_the_memory(
    memory, given_back, monkeypatch, capsys
):
    asked = []
    monkeypatch.setattr(tile, "give_back_freed", lambda: asked.append(1) or True)
    tile._keep_to_memory(Plan(memory, 1_000))
    assert bool(asked) == given_back == ("to keep to --memory" in capsys.readouterr().err)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such pages")
def test_torch_is_asked_for_large_pages_by_the_name_that_it_knows(monkeypatch):
    name = system_memory._LARGE_PAGES
    library = Path(find_spec("torch").origin).parent / "lib" / "libc10.so"
    assert name.encode() in library.read_bytes()
    monkeypatch.delenv(name, raising=False)
    system_memory.take_large_pages()
    assert os.environ[name] == "1"
    monkeypatch.setenv(name, "0")
    system_memory.take_large_pages()
    assert os.environ[name] == "0"


ASKED = """
import importlib, os, sys
module = importlib.import_module("fieldwise.cli.app")
module.app = lambda: print(os.environ["{}"], "torch" in sys.modules)
module.main()
"""


def test_every_command_asks_for_them_before_torch_is_there():
    name = system_memory._LARGE_PAGES
    env = {key: value for key, value in os.environ.items() if key != name}
    command = [sys.executable, "-c", ASKED.format(name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == ["1", "False"]
