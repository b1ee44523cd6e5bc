"""TorchScript archives, loaded where the user says that the program in the file may run."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from fieldwise.capture.pickles import is_torchscript
from fieldwise.errors import UsageError, said_by


def load_scripted(path: str) -> nn.Module:
    """The module of a TorchScript archive, in eval mode, on the processor.

    Loading it runs code of the archive, as importing a module does.

    Raises UsageError for a file that is not there, is no such archive or cannot be loaded.
    """
    if not Path(path).is_file():
        raise UsageError(f"There is no file {path!r}; check the path.")
    if not is_torchscript(Path(path)):
        raise UsageError(
            f"{path!r} is no TorchScript archive, as torch.jit.save writes; name the code that "
            "builds the model, and give it the file by --weights."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated
            module: nn.Module = torch.jit.load(path, map_location="cpu")
    except Exception as error:
        raise UsageError(
            f"{path!r} cannot be loaded ({said_by(error)}); save it again with torch.jit.save."
        ) from error
    return module.eval()
