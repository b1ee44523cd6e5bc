"""A small network and its input on disk, for the tests of jobs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fieldwise.cli import app
from fieldwise.tile.files import AxisLayout, open_source
from fieldwise.tile.jobs import Job, Request, checkpoint, job_model, plan_job

NETS = """
import torch
from torch import nn

class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3, padding=1)
        self.deep = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.out = nn.Conv2d(4, 2, 3, padding=1)
    def forward(self, x):
        skip = self.inner(x).relu()
        return self.out(skip + self.up(self.deep(nn.functional.max_pool2d(skip, 2)).relu()))

def unet():
    torch.manual_seed(0)
    return UNet()

def other():
    torch.manual_seed(1)
    return UNet()

class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = UNet()
    def forward(self, x):
        half = nn.functional.avg_pool2d(x, 2)
        return {"mask": self.unet(x), "half": half}

def several():
    torch.manual_seed(0)
    return Several()

class Dark(UNet):
    def forward(self, x):
        return super().forward(x).abs().neg().relu()

def dark():
    torch.manual_seed(0)
    return Dark()

class Classes(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = UNet()
    def forward(self, x):
        return self.unet(x).argmax(1)

def classes():
    torch.manual_seed(0)
    return Classes()

def gray():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1))

def pooled():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4))

def volume():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.MaxPool3d(2))

def mono():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 4, 9, padding=4), nn.ReLU(), nn.Conv1d(4, 1, 4, 4))

def gated():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3, padding=1)
    )

class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet, self.norm = UNet(), nn.GroupNorm(1, 2)
    def forward(self, x):
        x = nn.functional.avg_pool2d(x, (10, 6))
        y = self.norm(self.unet(x))
        q = y.flatten(2).transpose(1, 2)
        seen = nn.functional.scaled_dot_product_attention(q, q * 2, q + 1)
        y = y + seen.transpose(1, 2).reshape(y.shape)
        return nn.functional.interpolate(y.sort(2)[0] + y, scale_factor=4.0)

def attends():
    torch.manual_seed(0)
    return Attends()

class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = UNet()
    def forward(self, x):
        maps = self.unet(x)
        return maps, maps.mean((2, 3))

def classifier():
    return Classifier()

def columns():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softmax(2))

def either():
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))

def audio():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 9, padding=4), nn.ReLU(), nn.Conv1d(4, 2, 4, 4))
"""


def write_nets(folder: Path) -> None:
    (folder / "job_nets.py").write_text(NETS)


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder from which the networks are imported."""
    write_nets(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delitem(sys.modules, "job_nets", raising=False)


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def planned(
    source: Path, out: Path, net: str = "unet", *, axes: str = "CHW", **options: Any
) -> Job:
    """A job of a network of the file above; its folder is on sys.path."""
    model = job_model(f"job_nets:{net}", "1x3x8x8", weights=options.pop("weights", None))
    layout = AxisLayout.of(axes, rank=4)
    return plan_job(Request(model, open_source(source), layout, out, **options))


def carried_out(job: Job, *, resume: bool = False, overwrite: bool = False) -> None:
    with job.open(resume=resume, overwrite=overwrite) as journal:
        job.run(journal)


def content(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of all files below a folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def command_line(folder: str, arguments: list[str], together: Any = None) -> None:
    """``fieldwise tile`` in a process of its own: its arguments, run in this folder.

    Where a piece stands is kept at each occasion.  together: a barrier before a result is opened
    """
    checkpoint.LEAST = checkpoint._SHARE = 0.0
    os.chdir(folder)
    sys.path.insert(0, folder)
    torch.set_num_threads(1)
    if together is not None:
        whole = Job.open

        def opened(self: Job, **options: bool) -> Any:
            together.wait()
            return whole(self, **options)

        Job.open = opened  # type: ignore[method-assign]
    app(["tile", *arguments])
