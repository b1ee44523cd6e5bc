"""Folded weights in a safetensors file, and the model of the user's class that takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import check_model
from fieldwise.errors import UsageError, said_by
from fieldwise.folding.saving.structure import Structure, carry_out, check_same
from fieldwise.folding.verify import copied

_KEY = "fieldwise.fold"
_INSTALL = "needs safetensors; install it with pip install 'fieldwise[torch]'."


def save_state(model: nn.Module, path: Path, structure: Structure | None) -> None:
    """Write the state of a model, each name once, and what folding did to its modules."""
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise UsageError(f"Writing weights {_INSTALL}") from error
    tensors = {
        name: value.detach().cpu().clone().contiguous()
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    metadata = {"format": "pt"}
    if structure is not None:
        metadata[_KEY] = json.dumps(structure.to_data())
    save_file(tensors, path, metadata=metadata)


def load_folded(model: nn.Module, file: str | Path) -> nn.Module:
    """A copy of a model with what a folded one of its class was saved with, in eval mode.

    model: as it was before folding, with any weights; it is not changed
    file:  a .safetensors file that ``fold(...).save`` wrote

    The copy is folded as the saved model was: the same modules make way, the same layers gain a
    bias; then it takes the weights, in their own precision.

    Raises UsageError for a file that is none of these, and for a model that is not built as the
    one that was folded.

    >>> import tempfile
    >>> from fieldwise import fold
    >>> def build():
    ...     return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> folded, image = fold(build().eval(), (1, 3, 8, 8)), torch.randn(1, 3, 8, 8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = folded.save(f"{folder}/net.safetensors")
    ...     again = load_folded(build(), f"{folder}/net.safetensors")
    >>> torch.equal(again(image), folded.model(image))
    True
    """
    check_model(model)
    structure, tensors = _read(Path(file))
    check_same(structure, model)
    made = copied(model).eval()
    carry_out(structure, made)
    _take(made, tensors, file)
    return made


def _read(path: Path) -> tuple[Structure, dict[str, Tensor]]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise UsageError(f"Reading weights {_INSTALL}") from error
    if not path.is_file():
        raise UsageError(f"There is no file '{path}'; check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise UsageError(f"'{path}' is no safetensors file ({said_by(error)}).") from error
    if _KEY not in metadata:
        raise UsageError(
            f"'{path}' holds weights that fold did not write; load them with load_state_dict, or "
            "fold the model and save it."
        )
    try:
        data: Any = json.loads(metadata[_KEY])
    except ValueError as error:
        raise UsageError(f"'{path}' does not say how its model was folded.") from error
    return Structure.of_data(data), tensors


def _take(model: nn.Module, tensors: dict[str, Tensor], file: str | Path) -> None:
    """Give a model its state, in the shapes and the precision of the file; ties stay.

    Tensors are copied: those of a file may be aligned otherwise, and kernels then round otherwise.
    """
    state = {
        name: value for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }  # fmt: skip
    missing, more = sorted(state.keys() - tensors), sorted(tensors.keys() - state)
    if missing or more:
        what = f"has no '{missing[0]}'" if missing else f"has '{more[0]}', which the model has not"
        raise UsageError(f"'{file}' {what}; build the model as it was when it was folded.")
    for name, value in state.items():
        given = tensors[name]
        if value.numel() and value.shape != given.shape:
            raise UsageError(
                f"'{name}' is of {tuple(value.shape)} and was of {tuple(given.shape)} when the "
                "model was folded; build the model as it was then."
            )
    with torch.no_grad():
        for name, value in state.items():
            if not value.is_meta:
                value.data = tensors[name].to(value.device, copy=True)
    if any(value.is_meta for value in state.values()):
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        model.load_state_dict(copies, assign=True)
