"""Arrays in .npz files, ``file.npz:name``: read as a whole; nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.tile.files.detect import split_name
from fieldwise.tile.files.whole import WholeSource


def open_source(path: Path) -> WholeSource:
    """The array of this name, or the only one."""
    file, inner = split_name(path)
    with zipfile.ZipFile(file) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        name = inner or (names[0] if len(names) == 1 else "")
        if name not in names:
            said = ", ".join(f"{file}:{one}" for one in names[:4]) or "it holds none"
            raise UsageError(f"{str(path)!r} names no array of the file; name one of them: {said}.")
        with archive.open(f"{name}.npy") as member:
            shape, fortran, dtype = _header(member)

    def decode() -> NDArray[np.generic]:
        with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
            _header(member)
            found = np.empty(shape[::-1] if fortran else shape, dtype)
            into = found.reshape(-1).view(np.uint8).data
            while into:
                count = member.readinto(into)  # type: ignore[attr-defined]
                if not count:
                    raise EOFError("it ends before its numbers do")
                into = into[count:]
        return found.transpose() if fortran else found

    return WholeSource(path, shape, dtype, None, decode)


def _header(member: object) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether the first index moves fastest, and type."""
    form = np.lib.format
    read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    version = form.read_magic(member)  # type: ignore[arg-type]
    if version not in read:
        raise ValueError(f"its arrays are of version {version}")
    found: tuple[tuple[int, ...], bool, np.dtype[np.generic]] = read[version](member)  # type: ignore[arg-type]
    return found
