"""The node tests that come with onnx: one operator each, with inputs and what it gives."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from fieldwise.capture.onnx import OnnxModule, load_onnx
from fieldwise.capture.onnx.tensors import tensor_of

HERE = Path("net.onnx")


@cache
def node_cases() -> Sequence[Any]:
    """Every node test of the installed onnx."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model_tests(kind="node")


@cache
def exceptions() -> dict[str, dict[str, list[str]]]:
    """The node tests that are no ordinary ones: by sort, then by reason."""
    return tomllib.loads(Path(__file__).with_name("node_cases.toml").read_text("utf-8"))


def reasons(sort: str) -> dict[str, str]:
    """The reason for each test of one sort."""
    return {name: why for why, names in exceptions().get(sort, {}).items() for name in names}


def loaded(model: onnx.ModelProto) -> OnnxModule:
    """The module of a model in memory."""
    return load_onnx(HERE, model=model)


def given(case: Any, inputs: Sequence[Any]) -> dict[str, Any]:
    """The inputs of a data set, by name."""
    return {
        one.name: as_torch(value) for one, value in zip(case.model.graph.input, inputs, strict=True)
    }


def as_torch(value: Any) -> Any:
    """A value of a data set as torch has it."""
    if isinstance(value, TensorProto):
        return tensor_of(value, Path())
    if isinstance(value, np.ndarray | np.generic):
        return tensor_of(numpy_helper.from_array(np.asarray(value)), Path())
    return [as_torch(one) for one in value] if isinstance(value, list) else value


def run(module: OnnxModule, inputs: dict[str, Any]) -> tuple[Any, ...]:
    """The outputs of a module."""
    with torch.no_grad():
        found = module(**inputs)
    return found if isinstance(found, tuple) else (found,)


def differs(found: Any, expected: Any, rtol: float, atol: float) -> str | None:
    """How a value differs from what it should be; None where it does not."""
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return "not as many items"
        pairs = zip(found, expected, strict=True)
        return next((why for a, b in pairs if (why := differs(a, b, rtol, atol))), None)
    if expected is None or found is None:
        return None if expected is found else "there and not there"
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{tuple(found.shape)} {found.dtype}, not {tuple(expected.shape)} {expected.dtype}"
    if not (found.is_floating_point() or found.is_complex()):
        return None if torch.equal(found, expected) else "other integers"
    rtol = max(rtol, 2**-6) if found.dtype == torch.bfloat16 else rtol  # as onnx's own runner
    wide = torch.complex128 if found.is_complex() else torch.float64
    found, expected = found.to(wide), expected.to(wide)
    if torch.allclose(found, expected, rtol=rtol, atol=atol, equal_nan=True):
        return None
    return f"off by {float((found - expected).abs().nan_to_num(torch.inf).max()):.3g}"
