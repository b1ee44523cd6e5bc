"""The weights and constants of an archive: raw bytes, and how tensors look at them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.exported.archive import Archive
from fieldwise.capture.torch.exported.fields import Field
from fieldwise.capture.torch.exported.refusal import UnreadableError, malformed

DTYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    9: torch.complex32,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
    28: torch.uint16,
    29: torch.float8_e4m3fn,
    30: torch.float8_e5m2,
    31: torch.float8_e4m3fnuz,
    32: torch.float8_e5m2fnuz,
    34: torch.uint32,
    35: torch.uint64,
}
STRIDED = 7
RANKS = 64
_CONFIGS = {
    "data/weights/model_weights_config.json": ("data/weights/", r"weight_\d{1,9}"),
    "data/constants/model_constants_config.json": ("data/constants/", r"tensor_\d{1,9}"),
}
CONFIGS = tuple(_CONFIGS)
_CONFIG = 64 << 20  # bytes
_MOST = 50_000


def read_tensors(archive: Archive) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights (parameters and buffers) and the constants, by their names.

    Names of one tensor get one tensor, and tensors that share memory share it.
    Raises UnreadableError for pickles, and where a tensor would look outside its bytes.
    """
    weights, constants = (_Storages(archive, *_CONFIGS[name]).tensors(name) for name in CONFIGS)
    return weights, constants


class _Storages:
    """What tensors look at, each read once."""

    def __init__(self, archive: Archive, folder: str, pattern: str) -> None:
        self._archive = archive
        self._folder = folder
        self._pattern = pattern
        self._storages: dict[str, torch.UntypedStorage] = {}
        self._tensors: dict[object, Tensor] = {}

    def tensors(self, config: str) -> dict[str, Tensor]:
        entries = Field.parse(self._archive.read(config, _CONFIG), config)["config"]
        named = list(entries.members())
        if len(named) > _MOST:
            raise malformed(f"{len(named):,} tensors")
        return {name: self._tensor(name, entry) for name, entry in named}

    def _tensor(self, name: str, entry: Field) -> Tensor:
        path = entry["path_name"].text()
        if entry["use_pickle"].flag() or re.fullmatch(self._pattern, path, re.ASCII) is None:
            raise UnreadableError(
                f"stores {name[:60]!r} as a pickle, which fieldwise never loads; "
                "export the model with plain tensors, or name a package.module:factory."
            )
        layout = _Layout.of(entry["tensor_meta"])
        trained = entry["is_param"].flag()
        key = (path, layout, trained)
        if key not in self._tensors:
            known = path in self._storages
            storage = self._storage(path)
            tensor = layout.on(storage, name)
            self._archive.charge(max(layout.nbytes - (0 if known else storage.nbytes()), 0))
            self._tensors[key] = layout.as_parameter(tensor) if trained else tensor
        return self._tensors[key]

    def _storage(self, path: str) -> torch.UntypedStorage:
        if path not in self._storages:
            content = self._archive.read(self._folder + path)
            raw = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0)
            self._storages[path] = raw.untyped_storage()
        return self._storages[path]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a tensor looks at memory."""

    dtype: torch.dtype
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    trained: bool

    @classmethod
    def of(cls, meta: Field) -> _Layout:
        dtype = DTYPES.get(meta["dtype"].integer())
        if dtype is None or meta["layout"].integer() != STRIDED:
            raise malformed(f"{meta.where} is no plain dense tensor")
        sizes, strides = (_integers(meta[name]) for name in ("sizes", "strides"))
        if len(sizes) != len(strides) or len(sizes) > RANKS:
            raise malformed(f"{meta.where} has no such dimensions")
        offset = meta["storage_offset"]["as_int"].integer(0)
        return cls(dtype, sizes, strides, offset, meta["requires_grad"].flag())

    @property
    def nbytes(self) -> int:
        """What a copy of the tensor takes."""
        return math.prod(self.sizes) * self.dtype.itemsize

    def on(self, storage: torch.UntypedStorage, name: str) -> Tensor:
        """A tensor that looks at this memory."""
        if 0 in self.sizes:
            return torch.empty(self.sizes, dtype=self.dtype)
        steps = sum((n - 1) * stride for n, stride in zip(self.sizes, self.strides, strict=True))
        if (self.offset + steps + 1) * self.dtype.itemsize > storage.nbytes():
            raise malformed(f"{name[:60]!r} is larger than its bytes")
        empty = torch.empty(0, dtype=self.dtype)
        return empty.set_(storage, self.offset, self.sizes, self.strides)

    def as_parameter(self, tensor: Tensor) -> nn.Parameter:
        """The tensor as a parameter, trained where its numbers can be."""
        differentiable = tensor.is_floating_point() or tensor.is_complex()
        return nn.Parameter(tensor, requires_grad=self.trained and differentiable)


def _integers(sizes: Field) -> tuple[int, ...]:
    return tuple(size["as_int"].integer(0) for size in sizes.items())
