"""Sound, read through soundfile as samples from -1 to 1; WAV files of floats hold any result."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from fieldwise.errors import UsageError, said_by
from fieldwise.tile.files.calibration import Calibration, SampleStep, axis_letter
from fieldwise.tile.files.disk import file_identity, replacing
from fieldwise.tile.files.grain import Steps
from fieldwise.tile.files.in_place import any_grain
from fieldwise.tile.files.protocol import PlannedFile
from fieldwise.tile.files.whole import (
    MAX_WHOLE,
    FinishedSink,
    channel_count,
    channels_back,
    channels_last,
)

_SUBTYPES = {"float32": "FLOAT", "float64": "DOUBLE"}
_MOST_CHANNELS, _RATE, _HEAD = 1024, 16_000, 256
UNSAID = (f"rate: none is known in whole samples per second, so {_RATE} are written",)
"""What is said of a file unless ``kept_about`` is asked."""
_WIDE = frozenset({"PCM_32", "DOUBLE"})
"""Subtypes whose samples float32 does not hold."""


def open_source(path: Path) -> SoundSource:
    """A recording, as length and channels; a single channel has no axis."""
    about = soundfile.info(str(path))
    dtype = np.dtype(np.float64 if about.subtype in _WIDE else np.float32)
    single = about.channels == 1
    shape = (about.frames,) if single else (about.frames, about.channels)
    step = SampleStep(Fraction(1, about.samplerate), "second")
    said = Calibration({axis_letter("L"): step}, style="sound")
    return SoundSource(path, shape, dtype, "L" if single else "LC", about=said)


def grain_of(shape: tuple[int, ...], axes: str, steps: Steps) -> tuple[int, ...]:  # noqa: ARG001
    """Any block can be written to the file in which it waits.

    Raises UsageError for what is no signal.
    """
    if len(_signals(axes)) != 1 or channel_count(shape, axes) > _MOST_CHANNELS:
        size = "x".join(map(str, shape))
        raise UsageError(
            f"A WAV file holds one signal of at most {_MOST_CHANNELS} channels, not {size} "
            f"({axes}); write .npy or zarr."
        )
    if np.prod(shape) > MAX_WHOLE:
        raise UsageError("A WAV file is written as a whole, and this is too large; write .npy.")
    return any_grain(shape)


def check_type(dtype: np.dtype[np.generic], shape: tuple[int, ...], axes: str) -> None:  # noqa: ARG001
    """Raise UsageError for samples that are not written as sound."""
    if dtype.name not in _SUBTYPES:
        raise UsageError(
            f"A WAV file holds {' or '.join(_SUBTYPES)} here, not {dtype}; leave --out-dtype out, "
            "or write .npy."
        )


def kept_about(file: PlannedFile) -> tuple[Calibration, tuple[str, ...]]:
    """What of its ``about`` a file will say, which is a whole number of samples per second."""
    about = file.about or Calibration()
    steps = {
        letter: SampleStep(step.size, step.unit)
        for letter, step in about.steps.items()
        if letter in _signals(file.axes)
        and step.unit == "second"
        and (1 / step.size).denominator == 1
    }
    kept = Calibration(steps, style="sound")
    said = {*kept.parts()}
    lost = [f"{part}: a WAV file has a rate alone" for part in about.parts() if part not in said]
    return kept, (*lost, *(() if steps else UNSAID))


def finish(file: PlannedFile, waiting: Path) -> None:
    """Write what has been collected, which takes its memory.  Raises OSError."""
    values = channels_last(np.load(waiting, allow_pickle=False), file.axes)
    steps = file.about.steps if file.about is not None else {}
    rate = next((int(1 / step.size) for step in steps.values()), _RATE)
    with replacing(file.path) as handle:
        soundfile.write(handle, values, rate, _SUBTYPES[values.dtype.name], format="WAV")
        _forget_time(handle)


def _signals(axes: str) -> list[str]:
    """The letters of the axes but for channels, under which their steps are kept."""
    return [axis_letter(letter) for letter in axes if letter not in "CS"]


def _forget_time(handle: BinaryIO) -> None:
    """Leave out when the file was written, which a chunk says: the same result, the same bytes."""
    handle.seek(0)
    at = handle.read(_HEAD).find(b"PEAK")
    if at >= 0:
        handle.seek(at + len(b"PEAK") + 8)  # behind the chunk's size and version
        handle.write(bytes(4))


def reopen(file: PlannedFile) -> FinishedSink:
    """A file that was finished, to be read back."""
    found, _ = soundfile.read(str(file.path), dtype=file.dtype.name, always_2d=True)
    values = channels_back(found if "C" in file.axes else found[:, 0], file.axes)
    if values.shape != file.shape:
        raise file.not_begun("its shape differs")
    return FinishedSink(file.path, values)


@dataclass(frozen=True, slots=True)
class SoundSource:
    """A recording (see protocol.Source)."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axes: str
    chunks: tuple[int, ...] | None = None
    note: str | None = None
    about: Calibration | None = None

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
