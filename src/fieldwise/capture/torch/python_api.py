"""What torch answers in Python, before any op runs: where a tensor lives, and its values.

The recorder sees ops only.  Tensors that derive from the input live on the meta device; the model
must not notice, or it would make its own tensors there, where they have no values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from fieldwise.capture.torch.blame import ask_torch
from fieldwise.capture.torch.recorder import Recorder
from fieldwise.graph.ir import Args, Kwargs


class PythonApi(TorchFunctionMode):
    """Tensors say that they live where the model does, and refuse to give their values."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self._kind = recorder.constants.home.type

    def __torch_function__(
        self, func: object, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        if torch.is_autocast_enabled(self._kind):
            with self.recorder.autocast():
                return self._answered(func, args, kwargs or {})
        if func in _ANSWERS:
            return self._answered(func, args, kwargs or {})
        return ask_torch(func, args, kwargs or {})

    def _answered(self, func: object, args: Args, kwargs: Kwargs) -> object:
        if func in _ANSWERS:
            return _ANSWERS[func](self.recorder, func, *args, **kwargs)
        return ask_torch(func, args, kwargs)


def _device(recorder: Recorder, func: object, tensor: Tensor) -> torch.device:
    device = ask_torch(func, (tensor,), {})
    return recorder.constants.home if device.type == "meta" else device


def _is_on(kind: str) -> Callable[..., bool]:
    def answer(recorder: Recorder, func: object, tensor: Tensor) -> bool:
        return _device(recorder, Tensor.device.__get__, tensor).type == kind

    return answer


def _new_tensor(
    recorder: Recorder, func: object, tensor: Tensor, data: object, **options: object
) -> Tensor:
    options.setdefault("dtype", tensor.dtype)
    options.setdefault("device", _device(recorder, Tensor.device.__get__, tensor))
    return ask_torch(torch.tensor, (data,), options)


def _set_data(recorder: Recorder, func: Any, tensor: Tensor, data: Tensor) -> None:
    with _disable_current_modes():
        recorder.rebind(func, tensor, data)


def _values(recorder: Recorder, func: Any, tensor: Tensor, *args: Any, **options: object) -> object:
    if recorder.memory.entry(tensor) is not None:
        raise recorder.refuse_data(func.__name__)
    return ask_torch(func, (tensor, *args), options)


def _indexed(
    recorder: Recorder, func: object, tensor: Tensor, index: Any, *value: object
) -> object:
    """Lists of indices keep their values: torch would make tensors of them where the operand is.

    A constant mask becomes the indices where it is true, as torch has it, whose number is known.
    """
    several = _stands_for_a_tuple(index)
    plain: list[object] = []
    for item in map(_as_tensor, index if several else (index,)):
        if isinstance(item, Tensor) and item.dtype is torch.bool and item.dim():
            known = recorder.memory.entry(item) is None and not item.is_meta
            plain += item.nonzero(as_tuple=True) if known else (item,)
        else:
            plain.append(item)
    single = len(plain) == 1 and not several
    return ask_torch(func, (tensor, plain[0] if single else tuple(plain), *value), {})


def _stands_for_a_tuple(index: object) -> bool:
    """As torch decides: a tuple, or a short list that holds more than numbers (x[[[0], [1]]])."""
    if not isinstance(index, list):
        return isinstance(index, tuple)
    holds = (Tensor, list, tuple, range, slice, type(None), type(...))
    return len(index) < _SHORT and any(isinstance(item, holds) for item in index)


def _as_tensor(index: object) -> object:
    if not isinstance(index, (list, tuple, range)) or not _is_numbers(index):
        return index
    dtype = None if len(index) else torch.long
    return ask_torch(torch.tensor, (index,), {"dtype": dtype})


def _is_numbers(index: object) -> bool:
    if isinstance(index, (list, tuple, range)):
        return all(map(_is_numbers, index))
    if isinstance(index, Tensor):
        return not index.dim() and not index.is_meta
    return isinstance(index, (int, np.integer, np.bool_))


_SHORT = 32


_Tensor: Any = Tensor  # whose attributes torch hands over as the functions that get and set them
_ANSWERS: dict[object, Callable[..., object]] = {
    _Tensor.device.__get__: _device,
    _Tensor.is_cpu.__get__: _is_on("cpu"),
    _Tensor.is_cuda.__get__: _is_on("cuda"),
    _Tensor.is_meta.__get__: _is_on("meta"),
    _Tensor.data.__set__: _set_data,
    Tensor.__getitem__: _indexed,
    Tensor.__setitem__: _indexed,
    Tensor.new_tensor: _new_tensor,
    Tensor.tolist: _values,
    Tensor.numpy: _values,
    Tensor.data_ptr: _values,
    Tensor.__array__: _values,
    Tensor.__format__: _values,
    Tensor.__dlpack__: _values,
}
