"""Which format a file is of: its first bytes say so, and its suffix where they do not.

A file that holds several arrays is named with the one that is meant behind a colon, as
``scan.h5:/entry/data`` or ``scan.npz:image``.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from fieldwise.errors import UsageError


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format, and what tells it.

    module:   in this room, that reads it and, where ``writes``, makes it
    name:     for people
    suffixes: of files that are made
    begins:   per kind of file, the bytes that stand at some places of it
    extra:    what installs the packages that it needs
    staged:   whether results are collected in a .npy file beside it, until they are whole
    instead:  of a format that is only read, why it is not written, and what is to be
    """

    module: str
    name: str
    suffixes: tuple[str, ...]
    begins: tuple[dict[int, bytes], ...] = ()
    extra: str = "tile"
    staged: bool = False
    instead: str = ""

    @property
    def writes(self) -> bool:
        """Whether results can be written in it."""
        return not self.instead

    def holds(self, head: bytes) -> bool:
        """Whether a file that begins like this is of it."""
        return any(
            all(head[at : at + len(found)] == found for at, found in kind.items())
            for kind in self.begins
        )


_LOSSY = "what is read from it is not what was computed; write .png or .tif"
_AT_ONCE = "it is compressed as a whole, and results are written piece by piece"
FORMATS = (
    FileFormat("npy", "npy", (".npy",), ({0: b"\x93NUMPY"},)),
    FileFormat("zarr_array", "zarr", (".zarr",)),
    FileFormat(
        "tiff", "tiff", (".tif", ".tiff", ".gtiff", ".btf", ".tf8", ".tf2"),
        ({0: b"II*\0"}, {0: b"MM\0*"}, {0: b"II+\0"}, {0: b"MM\0+"}),
    ),
    FileFormat("png", "PNG", (".png",), ({0: b"\x89PNG\r\n\x1a\n"},), "files", staged=True),
    FileFormat(
        "picture", "a picture", (".jpg", ".jpeg", ".webp", ".bmp"),
        ({0: b"\xff\xd8\xff"}, {0: b"RIFF", 8: b"WEBP"}, {0: b"BM", 6: b"\0\0\0\0"}), "files",
        instead=_LOSSY,
    ),
    FileFormat(
        "nifti", "NIfTI", (".nii",),
        ({344: b"n+1\0"}, {4: b"n+2\0\r\n\x1a\n"}), "files",
    ),
    FileFormat(
        "nifti", "NIfTI", (".nii.gz",), (), "files", instead=f"{_AT_ONCE}; write .nii",
    ),
    FileFormat("hdf5", "HDF5", (".h5", ".hdf5"), ({0: b"\x89HDF\r\n\x1a\n"},), "files"),
    FileFormat(
        "npz", "npz", (".npz",), ({0: b"PK\x03\x04"},), instead=f"{_AT_ONCE}; write .npy",
    ),
    FileFormat(
        "sound", "sound", (".wav",), ({0: b"RIFF", 8: b"WAVE"}, {0: b"RF64", 8: b"WAVE"}), "files",
        staged=True,
    ),
    FileFormat(
        "sound", "sound", (".flac", ".ogg", ".aiff"),
        ({0: b"fLaC"}, {0: b"OggS"}, {0: b"FORM", 8: b"AIFF"}), "files",
        instead="it holds samples from -1 to 1, and results may lie beyond; write .wav",
    ),
    FileFormat(
        "bare", "bare numbers", (".raw", ".bin", ".dat"),
        instead="nothing in it says what it holds; write .npy",
    ),
)  # fmt: skip
"""Every format has its module here, with ``open_source`` and, where it is written, ``grain_of`` and
``reopen``, as in ``formats``; also ``create``, or ``finish`` where it is staged.  One whose files
hold a calibration has ``kept_about`` too: of a planned file, what of ``about`` will be written, and
in sentences what will not; and ``UNSAID`` where it says something also without a calibration."""


def split_name(path: Path) -> tuple[Path, str]:
    """The file or folder that a name means, and what of it; '' where that is all.

    >>> split_name(Path("no_such.h5"))
    (PosixPath('no_such.h5'), '')
    """
    if path.exists():
        return path, ""
    text = str(path)
    at = text.find(":")
    while at >= 0:
        if Path(text[:at]).is_file():
            return Path(text[:at]), text[at + 1 :]
        at = text.find(":", at + 1)
    return path, ""


def format_of(path: Path) -> tuple[FileFormat, str | None]:
    """The format of a file that is there, and a sentence where its suffix says another.

    Raises UsageError where nothing tells it, or nothing is there.
    """
    file, inner = split_name(path)
    named = _named(file)
    if not file.exists():
        raise UsageError(f"There is no file {str(path)!r}; check the path.")
    if not file.is_file():
        return _format("zarr_array"), None
    found = next((one for one in FORMATS if one.holds(_head(file))), None)
    if inner and (found is None or found.module not in _CONTAINERS):
        return _format("bare"), None
    if found is None:
        if named is None:
            raise UsageError(
                f"{str(path)!r} begins like no format that is read, and its suffix names none; "
                f"bare numbers are read as {path.name}:uint16:1024x1024."
            )
        return named, None
    if named is None or named.module == found.module:
        return found, None
    return found, f"is named {file.suffix} and holds {found.name}, as which it is read"


def format_to_write(path: Path) -> FileFormat:
    """The format of a file that is to be made: its suffix says so.

    >>> format_to_write(Path("cells.TIF")).module, format_to_write(Path("scan.zarr/0")).module
    ('tiff', 'zarr_array')

    Raises UsageError where it names none, or one that is only read.
    """
    found = _format("zarr_array") if _within_zarr(path) else _named(path)
    if found is None:
        suffixes = ", ".join(one.suffixes[0] for one in FORMATS if one.writes)
        raise UsageError(f"The suffix of {str(path)!r} names no format; use {suffixes}.")
    if found.instead:
        raise UsageError(f"{str(path)!r} is not written: {found.instead}.")
    return found


def _named(path: Path) -> FileFormat | None:
    name = path.name.lower()
    fitting = [one for one in FORMATS if name.endswith(one.suffixes)]
    return fitting[0] if fitting else None


def _within_zarr(path: Path) -> bool:
    return any(part.suffix.lower() == ".zarr" for part in (path, *path.parents))


def _format(module: str) -> FileFormat:
    return next(one for one in FORMATS if one.module == module)


def _head(file: Path) -> bytes:
    """The first bytes of a file; of one that is compressed by gzip, those that it unpacks to."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
            if head[:2] != b"\x1f\x8b":
                return head
            opened.seek(0)
            with gzip.open(opened) as unpacked:
                return unpacked.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return b""


_HEAD = 512
_CONTAINERS = ("npz", "hdf5", "zarr_array")
