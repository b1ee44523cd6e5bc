"""Tensors of an ONNX file as torch tensors; large ones beside the file are mapped, not copied."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data
from torch import Tensor

from fieldwise.capture.onnx.refusal import UnreadableOnnxError, malformed
from fieldwise.errors import said_by

DTYPES: Mapping[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.COMPLEX64: torch.complex64,
    TensorProto.COMPLEX128: torch.complex128,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
    TensorProto.FLOAT8E8M0: torch.float8_e8m0fnu,
    TensorProto.UINT4: torch.uint8,
    TensorProto.INT4: torch.int8,
    TensorProto.UINT2: torch.uint8,
    TensorProto.INT2: torch.int8,
    TensorProto.FLOAT4E2M1: torch.float8_e4m3fn,
}
"""The torch dtype that holds the values of an ONNX one; 4 and 2 bits are held in 8."""

_SAME_BITS = {
    torch.bfloat16: (np.uint16, torch.uint16),
    torch.float8_e4m3fn: (np.uint8, torch.uint8),
    torch.float8_e4m3fnuz: (np.uint8, torch.uint8),
    torch.float8_e5m2: (np.uint8, torch.uint8),
    torch.float8_e5m2fnuz: (np.uint8, torch.uint8),
    torch.float8_e8m0fnu: (np.uint8, torch.uint8),
}
_NARROW = {
    TensorProto.UINT4,
    TensorProto.INT4,
    TensorProto.UINT2,
    TensorProto.INT2,
    TensorProto.FLOAT4E2M1,
}


_MOST_ELEMENTS = 1 << 31  # of a tensor that is written sparsely


def dtype_of(code: int) -> torch.dtype | None:
    """The torch dtype for an element type of ONNX; None for text and what torch does not have."""
    return DTYPES.get(code)


def tensor_of(proto: TensorProto, folder: Path) -> Tensor:
    """The tensor that is written in a file, or beside it in this folder.

    Raises UnreadableOnnxError for text, for data that does not fit the shape, and for a file that
    is missing or lies outside the folder.
    """
    dtype = dtype_of(proto.data_type)
    if dtype is None:
        kind = TensorProto.DataType.Name(proto.data_type) if _is_type(proto.data_type) else "?"
        raise UnreadableOnnxError(
            f"holds {proto.name!r} of type {kind}, which torch does not have."
        )
    if any(size < 0 for size in proto.dims):
        raise malformed(f"the tensor {proto.name!r} has a negative size")
    try:
        array = (
            _mapped(proto, folder) if uses_external_data(proto) else numpy_helper.to_array(proto)
        )
        return _tensor(array, proto.data_type, dtype)
    except UnreadableOnnxError:
        raise
    except Exception as error:
        raise malformed(f"the tensor {proto.name!r} cannot be read ({said_by(error)})") from error


def dense_of(proto: onnx.SparseTensorProto, folder: Path) -> Tensor:
    """The tensor that is written by its elements that are not zero, with zeros elsewhere.

    Raises UnreadableOnnxError as ``tensor_of`` does, and for elements that are no place in it.
    """
    values, places = tensor_of(proto.values, folder), tensor_of(proto.indices, folder)
    shape, name = tuple(proto.dims), proto.values.name
    if min(shape, default=0) < 0 or math.prod(shape) > _MOST_ELEMENTS:
        raise malformed(f"the sparse tensor {name!r} is too large")
    places = places.reshape(-1, 1) if places.dim() == 1 else places
    sizes = torch.tensor(shape if places.shape[-1:] == (len(shape),) else (math.prod(shape),))
    if places.dtype != torch.int64 or places.shape != (values.numel(), len(sizes)):
        raise malformed(f"the sparse tensor {name!r} does not say where its elements lie")
    if bool(((places < 0) | (places >= sizes)).any()):
        raise malformed(f"the sparse tensor {name!r} has elements outside its shape")
    dense = torch.zeros(tuple(sizes.tolist()), dtype=values.dtype)
    dense[tuple(places.T)] = values.reshape(-1)
    return dense.reshape(shape)


def _tensor(array: np.ndarray, code: int, dtype: torch.dtype) -> Tensor:
    if code == TensorProto.FLOAT4E2M1:
        return _shared(array.astype(np.float32)).to(dtype)
    if code in _NARROW:
        array = array.astype(np.uint8 if dtype == torch.uint8 else np.int8)
    bits = _SAME_BITS.get(dtype)
    if bits is not None:
        return _shared(array.view(bits[0])).view(dtype)
    return _shared(array)


def _shared(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the array is read-only
        return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)


def _mapped(proto: TensorProto, folder: Path) -> np.ndarray:
    """The array of a tensor whose bytes lie in another file, read when they are needed."""
    where = {entry.key: entry.value for entry in proto.external_data}
    location, start = where.get("location", ""), int(where.get("offset", 0))
    place = _inside(folder, location, proto.name)
    helper_type = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type)
    count = int(np.prod(proto.dims, dtype=np.int64))
    if proto.data_type in _NARROW:
        raise UnreadableOnnxError(f"keeps {proto.name!r}, of less than 8 bits, in another file.")
    needed = count * helper_type.itemsize
    fits = int(where.get("length", needed)) == needed and start >= 0
    if not fits or start + needed > place.stat().st_size:
        raise malformed(f"{location!r} does not hold what {proto.name!r} needs")
    if not count:
        return np.empty(tuple(proto.dims), helper_type)
    return np.memmap(place, helper_type, "c", start, tuple(proto.dims) or (1,)).reshape(
        tuple(proto.dims)
    )


def _inside(folder: Path, location: str, name: str) -> Path:
    """A file in the folder of the model; one outside it is refused, by whatever link."""
    home = folder.resolve()
    place = (home / location).resolve()
    if not location or not place.is_relative_to(home):
        raise UnreadableOnnxError(
            f"keeps the data of {name!r} outside its folder ({location[:60]!r}), which is refused."
        )
    if not place.is_file():
        raise UnreadableOnnxError(f"keeps the data of {name!r} in {location!r}, which is missing.")
    return place


def _is_type(code: int) -> bool:
    return code in TensorProto.DataType.values()
