"""Which codecs of a zarr array are read, and the array with each of them bounded.

A codec that a file names is run only if it is one of these: they give numbers, as many as the array
declares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.abc.codec import BytesBytesCodec

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.unpacking import UNPACKING, Config, unpacked, unpacked_limit

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer
    from zarr.core.common import JSON
    from zarr.types import AnyArray

_KEEPING = frozenset(
    "bytes endian transpose sharding_indexed shuffle delta fixedscaleoffset astype bitround "
    "quantize packbits crc32 crc32c adler32 fletcher32 jenkins_lookup3".split()
)
"""Codecs that give as much as they are given, but for the width of an element or a checksum."""


def bounded(path: Path, array: AnyArray) -> AnyArray:
    """The array just opened, made to unpack chunks only as far as they are of their size.

    Raises UsageError where it names a codec that is not read, or has too many chunks per shard.
    """
    try:
        return _bounded(array)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {said_by(error)}.") from error


def _bounded(array: AnyArray) -> AnyArray:
    metadata, inner = array.metadata, array._async_array
    pipeline: Any = inner.codec_pipeline
    if metadata.zarr_format == 2:
        limit = unpacked_limit(prod(array.chunks) * np.dtype(array.dtype).itemsize)
        filters = tuple(_bounded_v2(one, limit) for one in metadata.filters or ())
        compressor = _bounded_v2(metadata.compressor, limit) if metadata.compressor else None
        codecs: Iterable[Any] = (
            replace(pipeline.array_bytes_codec, filters=filters or None, compressor=compressor),
        )
    else:
        _check_shards(array)
        codecs = tuple(_bounded_all(metadata.codecs))
    object.__setattr__(inner, "codec_pipeline", type(pipeline).from_codecs(codecs))
    return array


def _check_shards(array: AnyArray) -> None:
    if array.shards is not None:
        count = prod(-(-n // m) for n, m in zip(array.shards, array.chunks, strict=True))
        if count > _CHUNKS:
            raise ValueError(
                f"its shards hold {count} chunks each and at most {_CHUNKS} can be read; write it "
                "in smaller ones"
            )


def _checked(name: str, settings: Config) -> dict[str, Any]:
    """A codec's settings and 'id'.  Raises ValueError for one that is not read."""
    config = {**settings, "id": name.removeprefix("numcodecs.")}
    if config["id"] not in UNPACKING | _KEEPING:
        raise ValueError(f"it is written with {config['id']!r}; write it with zstd, blosc or gzip")
    for name in ("dtype", "astype", "encode_dtype", "decode_dtype"):
        if name in config and np.dtype(config[name]).kind not in "biufc":
            raise ValueError(f"its codec {config['id']!r} holds no numbers; write it without")
    return config


# -------------------------------------------------------------------- version 2


def _bounded_v2(codec: Any, limit: int) -> Any:
    config = dict(codec.get_config())
    config = _checked(config.pop("id"), config)
    return _BoundedNumcodec(codec, config, limit) if config["id"] in UNPACKING else codec


@dataclass(frozen=True)
class _BoundedNumcodec:
    """A codec of ``numcodecs``, its configuration, and what it may give."""

    codec: Any
    config: Config
    limit: int

    def encode(self, buf: Any) -> object:
        """As the codec does."""
        return self.codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> object:
        """As the codec does.  Raises ValueError where there would be too much."""
        found = unpacked(self.config, buf, self.limit)
        return self.codec.decode(buf, out) if found is None else found


# -------------------------------------------------------------------- version 3


def _bounded_all(codecs: Iterable[Any]) -> Iterator[Any]:
    for codec in codecs:
        about = codec.to_dict()
        config = _checked(about["name"], about.get("configuration", {}))
        if config["id"] == "sharding_indexed":
            _ = tuple(_bounded_all(codec.index_codecs))
            yield replace(codec, codecs=tuple(_bounded_all(codec.codecs)))
        elif config["id"] in UNPACKING:
            yield _Bounded(codec, tuple(config.items()))
        else:
            yield codec


@dataclass(frozen=True)
class _Bounded(BytesBytesCodec):
    """A codec of bytes, and its configuration."""

    codec: BytesBytesCodec
    config: tuple[tuple[str, Any], ...]
    is_fixed_size = False

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Any:
        nbytes = prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        data, limit = chunk_bytes.as_numpy_array(), unpacked_limit(nbytes)
        found = await asyncio.to_thread(unpacked, dict(self.config), data, limit)
        if found is not None:
            return chunk_spec.prototype.buffer.from_bytes(found)
        return next(iter(await self.codec.decode([(chunk_bytes, chunk_spec)])))

    async def _encode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer | None:
        return next(iter(await self.codec.encode([(chunk_data, chunk_spec)])))

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> _Bounded:
        """With the codec as it is for such an array."""
        return replace(self, codec=self.codec.evolve_from_array_spec(array_spec))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """As the codec does."""
        return self.codec.compute_encoded_size(input_byte_length, chunk_spec)

    def to_dict(self) -> dict[str, JSON]:
        """As the codec does."""
        return self.codec.to_dict()


_CHUNKS = 1 << 22
