"""Writing a folded model: its state as safetensors, and the model as an exported program."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fieldwise.capture.torch.own_names import NamesItsValues
from fieldwise.errors import UnsuitableError, UsageError, summary_of
from fieldwise.folding.verify import drawn


def save(model: nn.Module, example: object, out: Path) -> tuple[Path, ...]:
    """Write a model; see ``Folded.save``."""
    if out.suffix.lower() == ".onnx":
        return _save_onnx(model, out)
    return _save_torch(model, example, out)


def _save_onnx(model: nn.Module, out: Path) -> tuple[Path, ...]:
    if not isinstance(model, NamesItsValues):
        raise UsageError(
            f"'{out}' is an ONNX file, and only a model that was read from one is written as one; "
            f"write -o {out.stem}, or export the folded model with torch.onnx.export."
        )
    from fieldwise.capture.onnx import OnnxModule
    from fieldwise.folding.onnx.save import save_onnx

    made: object = type(model)
    if made is not OnnxModule:
        raise UsageError(
            f"'{out}' is an ONNX file, and a repaired model is not written as one; write "
            f"-o {out.stem}, which makes {out.stem}.safetensors and {out.stem}.pt2."
        )
    assert isinstance(model, OnnxModule)
    return save_onnx(model, out)


def _save_torch(model: nn.Module, example: object, out: Path) -> tuple[Path, Path]:
    """Write ``out``.safetensors (the state_dict) and ``out``.pt2 (torch.export); their paths.

    Nothing is pickled into the first; tied weights are written once per name.
    Raises UsageError where safetensors is not installed, or where torch.export refuses the model
    (the state is then written already).
    """
    weights = _beside(out, ".safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    _save_state(model, weights)
    program = _beside(out, ".pt2")
    inputs = drawn(model, example, seed=0)
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (_positional(inputs), {})
    try:
        exported = torch.export.export(model, args, kwargs, strict=False)
        torch.export.save(exported, program)
    except Exception as error:
        raise UnsuitableError(
            f"torch.export refuses the model ({summary_of(error)}); its weights are in {weights}."
        ) from error
    return weights, program


def _save_state(model: nn.Module, path: Path) -> None:
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise UsageError(
            "Writing weights needs safetensors; install it with pip install 'fieldwise[torch]'."
        ) from error
    state = model.state_dict()
    tensors = {
        name: value.detach().cpu().clone().contiguous()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    save_file(tensors, path, metadata={"format": "pt"})


def _beside(out: Path, suffix: str) -> Path:
    """``out`` with a suffix; one of our own that is written already is replaced.

    >>> _beside(Path("nets/folded.pt2"), ".safetensors").name
    'folded.safetensors'
    """
    if not out.name:
        raise UsageError(f"'{out}' names no file; write for example -o nets/folded.")
    stem = out.with_suffix("") if out.suffix in (".safetensors", ".pt2") else out
    return stem.with_name(stem.name + suffix)


def _positional(inputs: object) -> tuple[object, ...]:
    return inputs if type(inputs) is tuple else (inputs,)
