"""Files whose loading as a model may run any code; fieldwise loads none as such."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile, ZipFile

from fieldwise.errors import UsageError

PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".tar"}
"""Their usual suffixes."""


def refusal_of_pickle(spec: str) -> UsageError:
    """What to say of such a file where a model is named: how it can be used instead."""
    path = Path(spec)
    if not path.is_file():
        return UsageError(f"There is no file {spec!r}; check the path.")
    if is_torchscript(path):
        return UsageError(
            f"{spec!r} is a TorchScript program, which is code and may write files; fieldwise runs "
            f"none by itself. Where you trust it, name 'script:{spec}': that runs the program in "
            "the file, like a module of your own."
        )
    return UsageError(
        f"{spec!r} is a pickle, which can run any code when it is loaded, and fieldwise loads none "
        "as a model. If it holds weights, name the model and give it these by --weights; write a "
        "whole model with torch.export.save to a .pt2 file, or name the code that builds it."
    )


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of TorchScript; its directory is looked at and nothing else."""
    try:
        with ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (BadZipFile, OSError, ValueError):
        return False
