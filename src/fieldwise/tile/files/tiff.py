"""TIFF files: read as they lie or tile by tile, written in tiles that lie where they stay.

A file is written uncompressed, so that the place of every tile is known before any is computed,
and as BigTIFF where it would not fit in 4 GiB.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from numpy.typing import NDArray

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.calibration import Calibration
from fieldwise.tile.files.checks import check_chunks, check_kind
from fieldwise.tile.files.disk import OwnFile, file_identity, replacing, reserve
from fieldwise.tile.files.grain import Steps, fitting
from fieldwise.tile.files.in_place import PlacedSink
from fieldwise.tile.files.protocol import DamagedError, PlannedFile
from fieldwise.tile.files.raw import RawArray, reading, write_at
from fieldwise.tile.files.tiff_about import about_tiff
from fieldwise.tile.files.tiff_packed import (
    CODECS,
    PackedTiffSink,
    empty_tiles,
    frame_of,
    table_of,
    widen_counts,
)
from fieldwise.tile.files.tiff_pages import bound_tiles
from fieldwise.tile.files.tiff_written import kept_about as kept_about
from fieldwise.tile.files.tiff_written import options_of, style_of

if TYPE_CHECKING:
    from zarr.types import AnyArray

MULTIPLE = 16
"""Of which the sides of tiles are multiples."""
_TILE = 256
_BIG = (1 << 32) - (1 << 25)
"""Bytes from which on a classic TIFF's offsets may not suffice."""
_LETTERS = {"N": "Q", "D": "Z", "H": "Y", "W": "X", "L": "X", "S": "C"}
"""The TIFF letters of our axes, where they differ."""


def open_source(path: Path) -> TiffSource:
    """The first series of a TIFF file, at its full size; see files.open_source."""
    with _complaints(path), tifffile.TiffFile(path) as file:
        if not file.series:
            raise UsageError(f"{str(path)!r} holds no image; is it a TIFF file?")
        series, note = file.series[0], _note(path, file)
        about, note = _about(path, file, note)
        shape, dtype = tuple(series.shape), series.dtype
        check_kind(path, dtype)
        raw = None
        if series.dataoffset is not None:
            raw = RawArray(shape, dtype.newbyteorder(file.byteorder), series.dataoffset)
            if raw.end > path.stat().st_size:
                raise EOFError("the file ends before its pixels do")
        source = TiffSource(path, shape, dtype, series.axes, raw, note, about)
    if raw is None:
        check_chunks(path, source.tiles.chunks, dtype)
    return source


def try_first(source: TiffSource) -> None:
    """Raise whatever comes up where the first tile cannot be read: its compression, or damage."""
    if source.raw is None:
        source.tiles[(slice(0, 1),) * len(source.shape)]


def grain_of(
    shape: tuple[int, ...], axes: str, steps: Steps, side: int | None = None
) -> tuple[int, ...]:
    """Its tiles, of at most this side.

    Raises UsageError where rows and columns are not the last axes but channels, for a single
    column, and for steps that are no multiple of 16, as the sides of a tile must be.

    >>> grain_of((3, 4000, 100), "CHW", [None] * 3), grain_of((4000, 900, 3), "HWC", [96, 96, None])
    ((1, 256, 112), (96, 96, 3))
    """
    letters = _letters(axes)
    if not letters.removesuffix("C").endswith("YX"):
        raise UsageError(
            f"A TIFF file holds images, with axes such as CHW or HWC, not {axes}; write zarr."
        )
    if shape[letters.index("X")] == 1:
        raise UsageError(
            "An image of a single column is read back from a TIFF file as one of single rows; "
            "write zarr or .npy."
        )
    most = _TILE if side is None else side
    if most % MULTIPLE:
        raise UsageError(
            f"The sides of a TIFF file's tiles are multiples of {MULTIPLE}; give --chunks "
            f"{-(-most // MULTIPLE) * MULTIPLE} in place of {most}."
        )
    sides = [
        1
        if letter not in "YX"
        else fitting(min(most, -(-n // MULTIPLE) * MULTIPLE), step, n, multiple=MULTIPLE)
        for letter, n, step in zip(letters, shape, steps, strict=True)
    ]
    if None in sides:
        raise UsageError(
            f"The sides of a TIFF file's tiles are multiples of {MULTIPLE}, and results come "
            f"in steps of {steps[sides.index(None)]}; choose another --tile or --strip, or write "
            "zarr."
        )
    found = tuple(side or 1 for side in sides)
    return found if letters.endswith("X") else (*found[:-1], shape[-1])


def create(file: PlannedFile) -> TiffSink | PackedTiffSink | PlacedSink:
    """A new file with its space reserved, of empty tiles.  Raises OSError where there is none.

    ImageJ reads no tiles: a file of its own lies in one piece.
    """
    if file.dtype.kind == "b":
        raise UsageError(f"A TIFF file holds numbers, not {file.dtype}; write zarr or .npy.")
    letters, shape = _letters(file.axes), file.shape
    columns = letters.index("X")
    if letters.endswith("C") and shape[-1] == 1:
        letters, shape = letters[:-1], shape[:-1]
    planes, style = None, style_of(file)
    if letters.endswith("C"):
        letters, planes = f"{letters[:-1]}S", "contig"
    elif style == "geotiff" and letters == "CYX":
        letters, planes = "SYX", "separate"
    counts = [-(-n // g) for n, g in zip(file.shape, file.grain, strict=True)]
    tile_bytes = prod(file.grain) * file.dtype.itemsize
    options, tiles = options_of(file, letters), None
    if style != "imagej":
        options["tile"] = file.grain[columns - 1 : columns + 1]
    if file.compression in CODECS:
        options["compression"] = CODECS[file.compression][0]
        tiles = empty_tiles(file.compression, tile_bytes, prod(counts))
    with replacing(file.path) as handle:
        tifffile.imwrite(
            handle,
            tiles,
            shape=shape,
            dtype=file.dtype.newbyteorder("<"),
            byteorder="<",
            bigtiff=style != "imagej"
            and prod(counts) * tile_bytes > (_BIG if tiles is None else _BIG // 4),
            photometric="minisblack",
            planarconfig=planes,
            **options,
        )
        if tiles is not None:
            widen_counts(handle)
        else:
            reserve(handle, handle.seek(0, os.SEEK_END))
    return reopen(file, writable=True)


def check_compression(name: str) -> None:
    """Raise UsageError for one that is not written here."""
    if name not in (*CODECS, "none"):
        raise UsageError(f"A TIFF file is written in {', '.join(CODECS)} or none, not in {name}.")


def reopen(file: PlannedFile, *, writable: bool) -> TiffSink | PackedTiffSink | PlacedSink:
    """A file that ``create`` has made.  Raises UsageError where its tiles are others."""
    with tifffile.TiffFile(file.path) as tiff:
        if tiff.is_imagej and tiff.series[0].dataoffset is not None:
            raw = RawArray(file.shape, file.dtype.newbyteorder("<"), tiff.series[0].dataoffset)
            return PlacedSink(OwnFile(file.path, writable=writable), raw)
        counts = [-(-n // g) for n, g in zip(file.shape, file.grain, strict=True)]
        packed = _packing(tiff)
        if packed is not None:
            table, frame = table_of(tiff.pages, counts), frame_of(tiff.pages)
        offsets = [offset for page in tiff.series[0].pages if page for offset in page.dataoffsets]
    dtype = file.dtype.newbyteorder("<")
    if packed is not None:
        if table is None:
            raise file.not_begun("its tiles differ")
        own = OwnFile(file.path, writable=writable)
        return PackedTiffSink(own, dtype, file.grain, table, packed, frame)
    if len(offsets) != prod(counts):
        raise file.not_begun("its tiles differ")
    places = np.array(offsets, dtype=np.int64).reshape(counts)
    own = OwnFile(file.path, writable=writable)
    return TiffSink(own, dtype, file.grain, places)


def _packing(tiff: tifffile.TiffFile) -> str | None:
    """What the tiles of a file that was made are compressed by."""
    number = int(tiff.pages.first.compression)
    return next((name for name, codec in CODECS.items() if codec[0] == number), None)


@dataclass(frozen=True)
class TiffSource:
    """A TIFF file to read from (see protocol.Source).

    raw:   where its pixels are, if they lie in one piece
    note:  see protocol.Source
    about: see calibration.Calibrated
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axes: str | None
    raw: RawArray | None
    note: str | None = None
    about: Calibration | None = None

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Its tiles or strips, where they do not lie in one piece."""
        return tuple(self.tiles.chunks) if self.raw is None else None

    @cached_property
    def tiles(self) -> AnyArray:
        """The file as an array that reads the tiles it is asked for."""
        import zarr

        with tifffile.TiffFile(self.path) as file:
            series = file.series[0].levels[0]
            bound_tiles(series.keyframe)
            return zarr.open_array(series.aszarr(level=0), mode="r")

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]:
        if self.raw is not None:
            with reading(self.path) as handle:
                return self.raw.read(handle, index)
        try:
            return np.asarray(self.tiles[index])
        except Exception as error:
            raise UsageError(
                f"A tile of {str(self.path)!r} cannot be read ({said_by(error)}); write the "
                "file again."
            ) from error

    def __reduce__(self) -> tuple[object, ...]:
        return open_source, (self.path,)

    def identity(self) -> str:
        """Its size, its time of change and a digest of its ends."""
        return file_identity(self.path)


@dataclass(frozen=True, slots=True)
class TiffSink:
    """A tiled TIFF file to write to (see protocol.Sink); offsets: where each tile lies."""

    file: OwnFile
    dtype: np.dtype[np.generic]
    grain: tuple[int, ...]
    offsets: NDArray[np.int64]

    @property
    def path(self) -> Path:
        """See protocol.Sink."""
        return self.file.path

    def write(self, start: Sequence[int], block: NDArray[np.generic]) -> None:
        """See protocol.Sink."""
        for offset, place in self._tiles(start, block.shape):
            part = block[place]
            whole = np.zeros(self.grain, self.dtype)
            whole[tuple(slice(n) for n in part.shape)] = part
            write_at(self.file.handle, whole.tobytes(), offset)

    def flush(self) -> None:
        """See protocol.Sink."""
        self.file.sync()

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
        """See protocol.Sink."""
        block = np.empty([hi - lo for lo, hi in zip(start, stop, strict=True)], self.dtype)
        for offset, place in self._tiles(start, block.shape):
            data = os.pread(self.file.handle, self._tile_bytes, offset)
            if len(data) < self._tile_bytes:
                raise DamagedError(f"the file ends within the tile at byte {offset}")
            part = block[place]
            whole = np.frombuffer(data, self.dtype).reshape(self.grain)
            part[...] = whole[tuple(slice(n) for n in part.shape)]
        return block

    def frame(self) -> str:
        """See protocol.Sink: all that is between its tiles."""
        digest, size, at = hashlib.sha256(), os.fstat(self.file.handle).st_size, 0
        for offset in (*sorted(map(int, self.offsets.flat)), size):
            digest.update(os.pread(self.file.handle, max(offset - at, 0), at))
            at = offset + self._tile_bytes
        return digest.hexdigest()

    @property
    def _tile_bytes(self) -> int:
        return prod(self.grain) * self.dtype.itemsize

    def _tiles(
        self, start: Sequence[int], shape: Sequence[int]
    ) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """The tiles of a block: where each lies in the file, and in the block."""
        counts = [range(-(-n // g)) for n, g in zip(shape, self.grain, strict=True)]
        for place in product(*counts):
            at = [n * g for n, g in zip(place, self.grain, strict=True)]
            tile = tuple((s + n) // g for s, n, g in zip(start, at, self.grain, strict=True))
            inside = tuple(slice(n, n + g) for n, g in zip(at, self.grain, strict=True))
            yield int(self.offsets[tile]), inside


def _about(
    path: Path, file: tifffile.TiffFile, note: str | None
) -> tuple[Calibration | None, str | None]:
    """What a file says beside values, and the note, where that cannot be read."""
    try:
        return about_tiff(file), note
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        said = f"its calibration is left out, since it cannot be read: {said_by(error)}"
        return None, f"{note}; {said}" if note else f"{str(path)!r}: {said}"


def _note(path: Path, file: tifffile.TiffFile) -> str | None:
    notes = []
    if len(file.series) > 1:
        notes.append(f"holds {len(file.series)} images, of which the first is read")
    meaning = _meaning(file.series[0].keyframe)
    if meaning:
        notes.append(f"{meaning}, and its numbers are read as they are stored")
    return f"{str(path)!r} {' and '.join(notes)}" if notes else None


def _meaning(page: tifffile.TiffPage) -> str:
    """What its numbers mean, where that is neither brightness nor red, green and blue; else ''."""
    kind, packed = page.photometric, page.compression
    if packed == tifffile.COMPRESSION.APERIO_JP2000_YCBC:
        kind = tifffile.PHOTOMETRIC.YCBCR
    elif kind == tifffile.PHOTOMETRIC.YCBCR and packed in _AS_RGB:
        return ""
    return _MEANING.get(kind, "")


_MEANING: dict[int, str] = {
    tifffile.PHOTOMETRIC.MINISWHITE: "means white by 0 (MinIsWhite)",
    tifffile.PHOTOMETRIC.PALETTE: "has a palette",
    tifffile.PHOTOMETRIC.SEPARATED: "holds amounts of ink (CMYK)",
    tifffile.PHOTOMETRIC.YCBCR: "holds brightness and two differences of colour (YCbCr)",
    tifffile.PHOTOMETRIC.CIELAB: "holds lightness and colour (CIELAB)",
}
_AS_RGB = frozenset(
    {
        tifffile.COMPRESSION.OJPEG,
        tifffile.COMPRESSION.JPEG,
        tifffile.COMPRESSION.ALT_JPEG,
        tifffile.COMPRESSION.JPEG_LOSSY,
    }
)
"""By what YCbCr becomes red, green and blue as it is unpacked."""


def _letters(axes: str) -> str:
    return "".join(_LETTERS.get(letter, letter) for letter in axes)


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is said."""
        self.messages.append(record.getMessage())


@contextmanager
def _complaints(path: Path) -> Iterator[None]:
    """Raise UsageError where tifffile logs an error: it goes on with what is left of the file."""
    complaints, logger = _Complaints(), tifffile.logger()
    logger.addHandler(complaints)
    try:
        yield
    finally:
        logger.removeHandler(complaints)
    if complaints.messages:
        said = said_by(ValueError(complaints.messages[0]))
        raise UsageError(f"{str(path)!r} is damaged ({said}); write the file again.")
