"""A small network and its input on disk, for the tests of jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

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
    torch.set_num_threads(1)
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

def pooled():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4))

def volume():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.MaxPool3d(2))

def audio():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 9, padding=4), nn.ReLU(), nn.Conv1d(4, 2, 4, 4))
"""

SOURCE = Path(__file__).parents[2] / "src"


def write_nets(folder: Path) -> None:
    (folder / "job_nets.py").write_text(NETS)


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """``fieldwise tile`` as a process of its own."""
    path = os.pathsep.join([str(SOURCE), str(folder)])
    return subprocess.Popen(
        [sys.executable, "-m", "fieldwise", "tile", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
