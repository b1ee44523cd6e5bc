"""Weights of a model: read from safetensors files, never pickles, and told apart by a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fieldwise.capture.pickles import PICKLES
from fieldwise.capture.torch.tree import named_state
from fieldwise.errors import UsageError, said_by


def load_weights(model: nn.Module, path: Path) -> None:
    """Give the model the weights in a safetensors file, which must have all of them.

    Raises UsageError where it cannot be read, or does not fit (with the first names that differ).
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UsageError(
            "Reading weights needs safetensors; install it with pip install 'fieldwise[tile]'."
        ) from error
    if not path.is_file():
        raise UsageError(f"There is no file {str(path)!r}; check the path.")
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        if _is_pickle(path):
            raise UsageError(
                f"{str(path)!r} is a pickle, which can run any code when it is loaded, and "
                "fieldwise never loads one; if you trust it, write its weights again: "
                f"safetensors.torch.save_file(torch.load({str(path)!r}), "
                f"{str(path.with_suffix('.safetensors'))!r})."
            ) from error
        raise UsageError(
            f"{str(path)!r} is no readable safetensors file ({said_by(error)}); write the weights "
            "with safetensors.torch.save_model."
        ) from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for what, names in (
        ("lacks", [name for name in wanted if name not in given]),
        ("has the unknown", [name for name in given if name not in wanted]),
        ("has other shapes for", [n for n in wanted if n in given and wanted[n] != given[n]]),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UsageError(
                f"{str(path)!r} {what} {', '.join(names[:3])}{more}; give this model's weights."
            )
    model.load_state_dict(state)


def _is_pickle(path: Path) -> bool:
    """Whether a file that is no safetensors file is a pickle, by its name or by its beginning."""
    if path.suffix.lower() in PICKLES:
        return True
    with path.open("rb") as file:
        head = file.read(4)
    return path.suffix.lower() != ".pt2" and head.startswith((b"PK\x03\x04", b"\x80"))


def digest_of_state(model: nn.Module) -> str:
    """A digest of the parameters and buffers: names, types, shapes, values."""
    digest = hashlib.sha256()
    for name, tensor in named_state(model):
        digest.update(f"{name} ".encode())
        add_tensor(digest.update, tensor)
    return digest.hexdigest()


def add_tensor(add: Callable[[bytes | memoryview], None], tensor: Tensor) -> None:
    """Give a digest the type, shape and values of a tensor."""
    add(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    if tensor.is_meta:
        return
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    add(flat.view(torch.uint8).numpy().data)
