"""Sound, WAV and FLAC: read through soundfile, as samples from -1 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.disk import file_identity

_WIDE = frozenset({"PCM_32", "DOUBLE"})
"""Subtypes whose samples float32 does not hold."""


def open_source(path: Path) -> SoundSource:
    """A recording, as length and channels; a single channel has no axis."""
    about = soundfile.info(str(path))
    dtype = np.dtype(np.float64 if about.subtype in _WIDE else np.float32)
    single = about.channels == 1
    shape = (about.frames,) if single else (about.frames, about.channels)
    return SoundSource(path, shape, dtype, "L" if single else "LC")


@dataclass(frozen=True, slots=True)
class SoundSource:
    """A recording (see protocol.Source)."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axes: str
    chunks: tuple[int, ...] | None = None
    note: str | None = None

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.generic]:
        lo, hi, step = index[0].indices(self.shape[0])
        try:
            with soundfile.SoundFile(str(self.path)) as file:
                file.seek(lo)
                found: NDArray[np.generic] = file.read(max(hi - lo, 0), dtype=self.dtype.name)
        except (soundfile.SoundFileError, OSError) as error:
            raise UsageError(
                f"{str(self.path)!r} cannot be read ({said_by(error)}); write the file again."
            ) from error
        if len(found) < hi - lo:
            raise UsageError(f"{str(self.path)!r} ends before its samples do; write it again.")
        return found[(slice(None, None, step), *index[1:])]

    def identity(self) -> str:
        """Its size, its time of change and a digest of its ends."""
        return file_identity(self.path)
