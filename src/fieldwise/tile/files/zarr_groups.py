"""Which array a path to a zarr store means, and what the groups around it say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from fieldwise.errors import UsageError
from fieldwise.tile.files.calibration import Calibration
from fieldwise.tile.files.ome_zarr import OmeImage, collection_of
from fieldwise.tile.files.store import Folder
from fieldwise.tile.files.zarr_about import about_array, letters_of

if TYPE_CHECKING:
    from zarr.types import AnyArray


@dataclass(frozen=True, slots=True)
class FoundArray:
    """An array, the folder in which it lies, its axes, and what is said of it."""

    array: AnyArray
    folder: Path
    axes: str | None
    about: Calibration | None
    note: str | None = None


def find_array(path: Path) -> FoundArray:
    """The array that a path means: itself, level 0 of an OME-Zarr image, the only one of a group.

    Raises UsageError, which names what is in it, for a group of several.
    """
    node = zarr.open(Folder(path, read_only=True), mode="r")
    if not isinstance(node, zarr.Group):
        return _described(node, path, *_image_around(path))
    attributes = dict(node.attrs)
    image = _image_of(path, attributes)
    if image is not None:
        return _level(path, image, image.levels[0])
    groups = sorted(name for name, _ in node.groups())
    held = collection_of(attributes, groups)
    if held is not None:
        what, names = held
        if len(names) == 1 and what == _ONE_FILE:
            return find_array(path / names[0])
        said = ", ".join(str(path / name) for name in names[:_FEW]) or "none is there"
        more = f", … ({len(names)} in all)" if len(names) > _FEW else ""
        raise UsageError(f"{str(path)!r} {what}; name one of them: {said}{more}.")
    arrays = dict(node.arrays())
    if len(arrays) != 1:
        inside = [*sorted(arrays), *groups]
        said = ", ".join(str(path / name) for name in inside[:_FEW]) or "none is there"
        raise UsageError(f"{str(path)!r} is a group of zarr arrays; name one of them: {said}.")
    ((name, array),) = arrays.items()
    return _described(array, path / name)


def level_path(path: Path, number: int) -> Path:
    """The path of a level of the OME-Zarr image in a group.

    Raises UsageError where it has no such level, or is no such image.
    """
    image = None
    if path.is_dir():
        node = zarr.open(Folder(path, read_only=True), mode="r")
        image = _image_of(path, dict(node.attrs)) if isinstance(node, zarr.Group) else None
    if image is None:
        raise UsageError(f"--level names a level of an OME-Zarr image, and {str(path)!r} is none.")
    if not 0 <= number < len(image.levels):
        raise UsageError(
            f"{str(path)!r} has levels 0 to {len(image.levels) - 1}, and --level is {number}."
        )
    return path / image.levels[number]


def _level(path: Path, image: OmeImage, level: str) -> FoundArray:
    array = zarr.open(Folder(path / level, read_only=True), mode="r")
    if isinstance(array, zarr.Group):
        raise UsageError(f"{str(path / level)!r} is no array, and its image says that it is one.")
    note = None
    if len(image.levels) > 1:
        note = (
            f"{str(path)!r} is an image of {len(image.levels)} levels, of which {level!r} is read; "
            f"--level 1 is the next one"
        )
    return _described(array, path / level, image, level, note)


def _described(
    array: AnyArray,
    folder: Path,
    image: OmeImage | None = None,
    level: str = "",
    note: str | None = None,
) -> FoundArray:
    """An array with what it and its image say of it."""
    attributes = dict(array.attrs)
    own = getattr(array.metadata, "dimension_names", None)
    said: Any = own or attributes.get("_ARRAY_DIMENSIONS")
    said = said if isinstance(said, (list, tuple)) else []
    names = [None if name is None else str(name) for name in said]
    about = about_array(attributes, names) if len(names) in (0, array.ndim) else None
    axes = letters_of(names) if len(names) == array.ndim else None
    if image is not None and len(image.axes) == array.ndim:
        try:
            about, axes = image.about(level), image.letters
        except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
            said = f"{str(folder)!r}: its calibration is left out, since it cannot be read: {error}"
            note = said if note is None else f"{note}; {said}"
    return FoundArray(array, folder, axes, about, note)


def _image_around(path: Path) -> tuple[OmeImage | None, str]:
    """The image of which the array at a path is a level, and what that calls it."""
    for outer in path.parents[:_DEEP]:
        if not any((outer / name).is_file() for name in ("zarr.json", ".zattrs")):
            continue
        group: Any = zarr.open(Folder(outer, read_only=True), mode="r")
        image = _image_of(outer, dict(group.attrs)) if isinstance(group, zarr.Group) else None
        level = path.relative_to(outer).as_posix()
        if image is not None and level in image.levels:
            return image, level
    return None, ""


def _image_of(path: Path, attributes: dict[str, Any]) -> OmeImage | None:
    try:
        return OmeImage.of(attributes)
    except ValueError as error:
        raise UsageError(f"{str(path)!r} cannot be read as OME-Zarr: {error}.") from error


_ONE_FILE, _FEW, _DEEP = "holds images of one file", 4, 3
