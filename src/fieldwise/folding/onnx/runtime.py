"""The file before and after, in ONNX Runtime: what is written, as it will be used."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto
from torch import Tensor, nn

from fieldwise.capture.onnx import OnnxModule
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.errors import said_by
from fieldwise.folding.onnx.realise import file_with_values
from fieldwise.folding.onnx.save import write_model
from fieldwise.folding.report import RuntimeCheck
from fieldwise.folding.verify import DoubleTruth, allowed_error

_ERRORS_ONLY = 3


def compare_in_runtime(before: OnnxModule, after: nn.Module, truth: DoubleTruth) -> RuntimeCheck:
    """Both files on the inputs of a check."""
    assert isinstance(after, OnnxModule)
    try:
        import onnxruntime
    except ImportError:
        return RuntimeCheck(note="it is not installed")
    arrays = [tensor.detach().cpu().numpy() for tensor in _inputs(truth)]
    names = [one.name for one in before.graph.inputs]
    feeds = dict(zip(names, arrays, strict=True))
    folder = before.file.path.parent
    try:
        wanted = _outputs(onnxruntime, file_with_values(before), folder, feeds)
    except Exception as error:  # noqa: BLE001  its errors have no common base
        return RuntimeCheck(note=f"it does not run the file that was read ({said_by(error)})")
    try:
        found = _outputs(onnxruntime, after.file.proto, folder, feeds)
    except Exception as error:  # noqa: BLE001
        return RuntimeCheck(
            passed=False, note=f"it does not run the folded file ({said_by(error)})"
        )
    return _compared(found, wanted, truth)


def runs_in_runtime(
    before: nn.Module, after: nn.Module, inputs: object
) -> tuple[Callable[[], object], Callable[[], object]] | str:
    """Runs of both files, ready to be timed; or why there are none."""
    try:
        import onnxruntime
    except ImportError:
        return "ONNX Runtime is not installed"
    assert isinstance(before, OnnxModule)
    assert isinstance(after, OnnxModule)
    arrays = [tensor.detach().cpu().numpy() for tensor in tensors_in(inputs)]
    feeds = dict(zip([one.name for one in before.graph.inputs], arrays, strict=True))
    folder = before.file.path.parent
    try:
        first = _session(onnxruntime, file_with_values(before), folder)
        second = _session(onnxruntime, after.file.proto, folder)
    except Exception as error:  # noqa: BLE001  its errors have no common base
        return f"ONNX Runtime does not run them ({said_by(error)})"
    return lambda: first.run(None, feeds), lambda: second.run(None, feeds)


def _compared(found: list[Any], wanted: list[Any], truth: DoubleTruth) -> RuntimeCheck:
    pairs = [
        (one, two)
        for one, two in zip(found, wanted, strict=True)
        if isinstance(two, np.ndarray) and two.dtype.kind == "f"
    ]
    if any(one.shape != two.shape for one, two in pairs):
        return RuntimeCheck(passed=False, note="the outputs have other shapes")
    differences = [_difference(one, two) for one, two in pairs]
    if not differences:
        return RuntimeCheck(note="no output is a tensor of real numbers")
    eps = max(float(np.finfo(two.dtype).eps) for _, two in pairs)
    most = max(differences)
    return RuntimeCheck(most, passed=most <= 2 * allowed_error(_own_error(pairs, truth), eps))


def _own_error(pairs: Sequence[tuple[np.ndarray, np.ndarray]], truth: DoubleTruth) -> float:
    """By how much the file that was read is off, in ONNX Runtime or in torch.

    Its functions are rougher than torch's where their values are tiny (a sigmoid far to the left).
    """
    exact = [one.detach().cpu().numpy() for one in truth.exact]
    wanted = [two for _, two in pairs]
    if [one.shape for one in exact] != [two.shape for two in wanted]:
        return truth.unfolded_rel
    own = (_difference(two, one) for one, two in zip(exact, wanted, strict=True))
    return max(truth.unfolded_rel, *own)


def _difference(one: np.ndarray, two: np.ndarray) -> float:
    """The largest, of the numbers that are finite in the second, relative to the largest."""
    known = np.isfinite(two)
    if not known.any():
        return 0.0
    wanted = two[known].astype(np.float64)
    apart = np.abs(one[known].astype(np.float64) - wanted)
    scale = max(float(np.abs(wanted).max()), float(np.finfo(two.dtype).tiny))
    return float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max()) / scale


def _outputs(runtime: Any, model: ModelProto, folder: Path, feeds: dict[str, Any]) -> list[Any]:
    found: list[Any] = _session(runtime, model, folder).run(None, feeds)
    return found


def _session(runtime: Any, model: ModelProto, folder: Path) -> Any:
    """A model whose tensors may lie in files in ``folder``, ready to run."""
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    with tempfile.TemporaryDirectory(prefix="fieldwise-") as own:
        [path, *_] = write_model(model, folder, Path(own) / "model.onnx")
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _inputs(truth: DoubleTruth) -> list[Tensor]:
    return list(tensors_in(truth.inputs))
