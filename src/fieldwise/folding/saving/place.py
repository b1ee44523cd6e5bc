"""The files that ``-o OUT`` stands for: its suffix decides.

X.onnx         an ONNX file
X.pt2          an exported program
X.safetensors  the weights
X              X.safetensors and X.pt2
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from fieldwise.capture.pickles import PICKLES
from fieldwise.errors import UsageError

FileKind = Literal["onnx", "program", "weights"]
_SUFFIXES: dict[str, FileKind] = {".onnx": "onnx", ".pt2": "program", ".safetensors": "weights"}
_NEEDS = {
    "onnx": (("onnx", "onnxscript"), "fieldwise[onnx]", "ONNX"),
    "program": ((), "", ""),
    "weights": (("safetensors",), "fieldwise[torch]", "weights"),
}


@dataclass(frozen=True, slots=True)
class OutPlace:
    """The files of one OUT, by kind.

    >>> OutPlace.of("nets/folded.pt2").files
    {'program': PosixPath('nets/folded.pt2')}
    >>> [path.name for path in OutPlace.of("net.v2").files.values()]
    ['net.v2.safetensors', 'net.v2.pt2']
    """

    files: dict[FileKind, Path]

    @classmethod
    def of(cls, out: str | Path) -> OutPlace:
        """The files that an OUT stands for.  Raises UsageError for a name that stands for none."""
        out = Path(out)
        if not out.name:
            raise UsageError(f"'{out}' names no file; write for example -o nets/folded.pt2.")
        suffix = out.suffix.lower()
        if suffix in PICKLES:
            raise UsageError(
                f"'{out}' would be a pickle, which fieldwise does not write; write "
                f"-o {out.stem}.safetensors, {out.stem}.pt2 or {out.stem}.onnx."
            )
        kind = _SUFFIXES.get(suffix)
        if kind is not None:
            return cls({kind: out})
        beside = {"weights": ".safetensors", "program": ".pt2"}
        return cls({k: out.with_name(out.name + end) for k, end in beside.items()})  # type: ignore[misc]

    def check(self, *, overwrite: bool) -> None:
        """Raise UsageError where a file cannot be written, or is there and may not be replaced."""
        for kind, path in self.files.items():
            packages, extra, what = _NEEDS[kind]
            for package in packages:
                if find_spec(package) is None:
                    raise UsageError(
                        f"Writing {what} needs {package}; install it with pip install '{extra}'."
                    )
            taken = [one for one in (path, _data(kind, path)) if one is not None and one.exists()]
            if any(one.is_dir() for one in taken):
                raise UsageError(f"'{path}' is a folder; name a file in it.")
            if taken and not overwrite:
                raise UsageError(
                    f"'{taken[0]}' is there already; name another file, or replace it with "
                    "--overwrite, in Python overwrite=True."
                )
        _check_folders(path.parent for path in self.files.values())


def _data(kind: FileKind, path: Path) -> Path | None:
    """What lies beside a file and belongs to it."""
    return path.with_name(f"{path.name}.data") if kind == "onnx" else None


def _check_folders(folders: Iterable[Path]) -> None:
    for folder in folders:
        there = next(one for one in (folder, *folder.parents) if one.exists())
        if not there.is_dir():
            raise UsageError(f"'{there}' is a file, and no folder to write to; name another place.")
