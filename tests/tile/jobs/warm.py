"""Imported by a fork server: a small job, so that its children have all imports behind them."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import fieldwise.tile.files.tiff
import fieldwise.tile.files.zarr_array  # noqa: F401
from tests.tile.jobs.cases import carried_out, image, planned, write_nets

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    write_nets(Path(folder))
    sys.path.insert(0, folder)
    np.save(Path(folder) / "in.npy", image(3, 64, 8))
    carried_out(planned(Path(folder) / "in.npy", Path(folder) / "out.npy"))
    sys.path.remove(folder)
    del sys.modules["job_nets"]
